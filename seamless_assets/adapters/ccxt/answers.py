"""What an exchange really answered, beneath what ccxt makes of it.

ccxt turns some failures into empty lists and names the same failure differently from exchange to
exchange; the HTTP answer decides first, ccxt's exception second.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit

import ccxt

from seamless_assets.errors import ExchangeError, ExchangeRefused, ExchangeUnavailable, RateLimited, masked

RATE_LIMIT_STATUSES = frozenset({418, 429})
UNREADABLE = (TypeError, ValueError, LookupError, AttributeError, ArithmeticError)
"""What ccxt stumbles over where an answer is JSON of another shape than it knows."""


@dataclass(frozen=True, slots=True)
class Answer:
    """One HTTP answer; `is_readable` says whether its body was JSON."""

    url: str
    status: int
    headers: Mapping[str, str]
    is_readable: bool

    @property
    def retry_after(self) -> float | None:
        """Seconds to wait as the exchange asks, or None."""
        told = next((value for name, value in self.headers.items() if name.lower() == "retry-after"), None)
        if told is None:
            return None
        try:
            seconds = float(told)
        except ValueError:
            return _seconds_until(told)
        return None if math.isnan(seconds) else max(0.0, seconds)


answers: ContextVar[list[Answer] | None] = ContextVar("answers", default=None)
"""Answers of the call under way in this task; None outside of one."""


def judge(heard: list[Answer], what: str) -> None:
    """Raise the typed error of the last answer where it is no usable one, though ccxt raised nothing."""
    if heard and not heard[-1].is_readable:
        raise ExchangeUnavailable(
            f"{what}: the answer (HTTP {heard[-1].status}) is not JSON; maintenance or a broken proxy?",
            status=heard[-1].status,
        )


def typed(
    error: ccxt.BaseError, heard: list[Answer], what: str, secrets: Sequence[str] = ()
) -> ExchangeError:
    """The project's error for a ccxt exception; none of `secrets` is in its message."""
    last = heard[-1] if heard else None
    status = last.status if last else None
    message = f"{what}: {type(error).__name__}: {_short(error, secrets)}"
    if error.__cause__ is not None:
        # ccxt names the request alone; what went wrong with it stands in the error beneath.
        message += f" ({type(error.__cause__).__name__}: {_short(error.__cause__, secrets)})"
    if status in RATE_LIMIT_STATUSES or isinstance(error, ccxt.DDoSProtection | ccxt.RateLimitExceeded):
        return RateLimited(message, status=status, retry_after=last.retry_after if last else None)
    # A connection that breaks in the middle of an answer is a bare ExchangeError, and no answer was heard.
    is_broken = last is None and type(error) is ccxt.ExchangeError
    is_unusable = last is not None and (last.status >= 500 or not last.is_readable)
    if is_broken or is_unusable or isinstance(error, ccxt.NetworkError):
        return ExchangeUnavailable(message, status=status)
    return ExchangeRefused(message, status=status)


def unreadable(error: Exception, heard: list[Answer], what: str) -> ExchangeUnavailable:
    """The project's error for an answer that ccxt could not take apart."""
    return ExchangeUnavailable(
        f"{what}: the answer (HTTP {heard[-1].status}) is not what {urlsplit(heard[-1].url).path} gives: "
        f"{type(error).__name__}; maintenance, or an API that ccxt does not know yet?",
        status=heard[-1].status,
    )


def _short(error: BaseException, secrets: Sequence[str]) -> str:
    text = masked(" ".join(str(error).split()), secrets)
    return text if len(text) <= 200 else f"{text[:197]}..."


def _seconds_until(told: str) -> float | None:
    """Seconds until an HTTP date, which is UTC whatever zone it leaves out."""
    try:
        moment = parsedate_to_datetime(told)
    except (ValueError, OverflowError):
        return None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return max(0.0, (moment - datetime.now(UTC)).total_seconds())
