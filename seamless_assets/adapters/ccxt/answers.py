"""What an exchange really answered, beneath what ccxt makes of it.

ccxt turns some failures into empty lists and names the same failure differently from exchange to
exchange; the HTTP answer decides first, ccxt's exception second.
"""

from __future__ import annotations

import asyncio
import errno
import math
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import ccxt
import numpy as np
import pyarrow as pa

from seamless_assets.adapters.ccxt.limits import is_told_to_wait, pause_asked_for
from seamless_assets.core.addresses import is_loopback
from seamless_assets.core.bars.table import BARS_SCHEMA, table_of
from seamless_assets.core.calendar.segment import Segment
from seamless_assets.core.coverage.witnesses import Trades
from seamless_assets.core.sharing.token_bucket import LONGEST_COOL_DOWN_S
from seamless_assets.errors import (
    ExchangeError,
    ExchangeRefused,
    ExchangeUnavailable,
    RateLimited,
    SeamlessError,
    mask_causes,
    masked,
)

_COLUMNS = len(BARS_SCHEMA)
_MAX_MS = 2**63
RATE_LIMIT_STATUSES = frozenset({418, 429})
_REFUSALS_THAT_PASS = frozenset({403, 503})
"""Statuses of a ban on some exchanges, and of maintenance, where they say how long it lasts."""
USUAL_PORT = "8080"
"""Of the local exchange, unless it is told another."""
_LASTING = (ccxt.AuthenticationError, ccxt.BadSymbol)
"""What is answered the same the next time: to who may not ask, and about what there is not."""
UNREADABLE = (
    *(TypeError, ValueError, LookupError, AttributeError, ArithmeticError),
    *(RecursionError, AssertionError, UnboundLocalError),
)
"""What ccxt stumbles over where an answer is JSON of another shape than it knows."""


@dataclass(frozen=True, slots=True)
class Answer:
    """One HTTP answer; `is_readable` says whether its body was JSON."""

    url: str
    status: int
    headers: Mapping[str, str]
    is_readable: bool


@dataclass
class Call:
    """One call to ccxt: the answers of all its requests, in the order in which they came, and its tasks.

    ccxt sends some requests side by side and leaves the others alone where one fails.
    """

    answers: list[Answer] = field(default_factory=list)
    tasks: set[asyncio.Task[object]] = field(default_factory=set)

    async def end(self) -> None:
        """End the requests that nobody waits for any more."""
        left = {task for task in self.tasks if task is not asyncio.current_task() and not task.done()}
        # Timers that were set in it, and cancelled, hold its context until their time comes.
        self.tasks.clear()
        for task in left:
            task.cancel()
        if left:
            await asyncio.wait(left)


current_call: ContextVar[Call | None] = ContextVar("current_call", default=None)
"""The call under way in this task and in those that it began; None outside of one."""
answers: ContextVar[list[Answer] | None] = ContextVar("answers", default=None)
"""The answer to the request under way in this task, once it is there; None outside of one."""


@asynccontextmanager
async def calling(what: str, secrets: Sequence[str] = ()) -> AsyncIterator[list[Answer]]:
    """Call ccxt: gives the answers as they come, and raises what goes wrong as errors of this project.

    None of `secrets` is in their messages, and no request of the call outlives it.
    """
    call = Call()
    token = current_call.set(call)
    try:
        yield call.answers
    except ccxt.BaseError as error:
        typed_error = typed(error, answers_to(error, call), what, secrets)
        mask_causes(error, secrets)
        raise typed_error from error
    except UNREADABLE as error:
        if not call.answers or isinstance(error, SeamlessError):
            raise
        raise unreadable(error, call.answers, what) from error
    finally:
        current_call.reset(token)
        await call.end()


def answers_to(error: BaseException, call: Call | None) -> list[Answer]:
    """The answer that an error is about; the last of the call where ccxt found fault with it afterwards."""
    own: list[Answer] | None = getattr(error, "answers", None)
    return own if own is not None else call.answers if call is not None else []


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
    if (place := _silent_place(error.__cause__)) is not None:
        port = place.rpartition(":")[2]
        sandbox = "seamless sandbox" if port == USUAL_PORT else f"seamless sandbox --port {port}"
        return ExchangeUnavailable(
            f"{what}: nothing listens at {place}, the base_url of this exchange; `{sandbox}` starts the "
            "local exchange there, `seamless up` all of it; without base_url the real one is asked",
            status=None,
            silent_place=place,
        )
    last = heard[-1] if heard else None
    status = last.status if last else None
    message = f"{what}: {type(error).__name__}: {_short(error, secrets)}"
    if error.__cause__ is not None:
        # ccxt names the request alone; what went wrong with it stands in the error beneath.
        message += f" ({type(error.__cause__).__name__}: {_short(error.__cause__, secrets)})"
    if _is_limit(error, last):
        pause = pause_asked_for(last.headers if last else {}, str(error))
        # Whoever is told it may hand it on, and no number that is sent is too long for that.
        asked_s = None if pause is None else min(pause, LONGEST_COOL_DOWN_S)
        return RateLimited(message, status=status, retry_after=asked_s)
    # A connection that breaks in the middle of an answer is a bare ExchangeError, and no answer was heard.
    is_broken = last is None and type(error) is ccxt.ExchangeError
    is_unusable = last is not None and (last.status >= 500 or not last.is_readable)
    if is_broken or is_unusable or isinstance(error, ccxt.OperationFailed):
        return ExchangeUnavailable(message, status=status)
    return ExchangeRefused(message, status=status, is_lasting=isinstance(error, _LASTING))


def _silent_place(error: BaseException | None) -> str | None:
    """The address on this machine that refused a connection because nobody listens there, not as a proxy."""
    if not isinstance(error, aiohttp.ClientConnectorError):
        return None
    is_refused = error.os_error.errno == errno.ECONNREFUSED and is_loopback(error.host)
    is_proxy = isinstance(error, aiohttp.ClientProxyConnectionError)
    return f"{error.host}:{error.port}" if is_refused and not is_proxy else None


def _is_limit(error: ccxt.BaseError, last: Answer | None) -> bool:
    """Whether an answer asks for time without requests; maintenance that says until when does so too."""
    if isinstance(error, ccxt.DDoSProtection | ccxt.RateLimitExceeded):
        return True
    if last is None:
        return False
    return last.status in RATE_LIMIT_STATUSES or (
        last.status in _REFUSALS_THAT_PASS and is_told_to_wait(last.headers)
    )


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


def read_rows(sent: Any, what: str) -> tuple[pa.Table, int]:
    """The rows that have a time, as a table whose other cells may be null, and how many rows have none.

    Raises `ExchangeUnavailable` where rows were sent and none of them can be read: no candles look like that.
    """
    rows = list(sent) if isinstance(sent, Sequence) and not isinstance(sent, str | bytes) else None
    if rows is None:
        kind = type(sent).__name__
        raise ExchangeUnavailable(f"{what}: {kind} came in place of a list of candles", status=None)
    if (table := _sound_rows(rows)) is not None:
        return table, 0
    read = [row for row in map(_row, rows) if row is not None]
    if not read:
        raise ExchangeUnavailable(f"{what}: none of {len(rows)} rows is a candle with a time", status=None)
    return table_of(read, BARS_SCHEMA), len(rows) - len(read)


def _sound_rows(rows: list[Any]) -> pa.Table | None:
    """The rows as a table, where all of them are as they should be: nearly always, and this is quick."""
    if any(type(row) is not list or len(row) < _COLUMNS or type(row[0]) is not int for row in rows):
        return None
    try:
        return table_of([row[:_COLUMNS] for row in rows], BARS_SCHEMA)
    except (pa.ArrowException, OverflowError, TypeError, ValueError):
        return None


def read_trades(trades: Iterable[Any], asked: Segment, is_bounded: bool) -> Trades:
    """Trades as they were sent, in the order in which they were made; those without a time say nothing.

    Ids that are numbers order trades of one millisecond.
    """
    names = ("timestamp", "price", "amount")
    rows = [(*(_number(trade.get(name)) for name in names), trade.get("id")) for trade in trades]
    rows = [row for row in rows if row[0] is not None]
    is_numbered = all(isinstance(row[3], str) and row[3].isdecimal() for row in rows)
    rows.sort(key=lambda row: (row[0], int(row[3]) if is_numbered else 0))
    times = np.array([row[0] / 1000 for row in rows])
    if any(row[1] is None or row[2] is None or row[1] <= 0 or row[2] < 0 for row in rows):
        return Trades(asked, times, is_bounded)
    prices, amounts = (np.array([float(row[column]) for row in rows]) for column in (1, 2))
    return Trades(asked, times, is_bounded, prices, amounts)


def _row(row: Any) -> tuple[Any, ...] | None:
    if not isinstance(row, Sequence) or isinstance(row, str | bytes) or not row:
        return None
    at = _number(row[0])
    if at is None or not -_MAX_MS < at < _MAX_MS:
        return None
    cells = [_number(cell) for cell in row[1:_COLUMNS]]
    return (int(at), *cells, *[None] * (_COLUMNS - 1 - len(cells)))


def _number(cell: Any) -> float | int | None:
    """A cell as a finite number; None for all else, so that a null and what is no number are alike."""
    if isinstance(cell, bool) or not isinstance(cell, int | float | str):
        return None
    try:
        number = float(cell) if isinstance(cell, str) else cell
        return number if math.isfinite(number) else None
    except (ValueError, OverflowError):
        return None
