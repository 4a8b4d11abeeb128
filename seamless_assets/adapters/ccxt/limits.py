"""What requests cost, and how long an exchange that refuses one wants none.

A plain candle request costs one token, and heavier ones in proportion; ccxt counts in units of each
exchange's own limiter (a candle request is 5 on bybit, 0.4 on binance). How long to wait is said by
`Retry-After`, by headers of the exchange's own, or in words.
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from statistics import median_high
from typing import Any

_CANDLES = re.compile(r"kline|candle|ohlc|chart", re.IGNORECASE)

_RETRY_AFTER = re.compile(r"(.*-)?retry-after(-.*)?", re.IGNORECASE)
_RESET = re.compile(
    r"(.*-)?rate-?limit(-.*)?-(reset|expire|allow)(s|ed|at|-at|-after|-time|-timestamp)?"
    r"|x-bapi-limit-reset-timestamp",
    re.IGNORECASE,
)
_IN_MS = re.compile(r"gw-.*|.*-(ms|milliseconds|millis)", re.IGNORECASE)
"""Headers that tell what is left in milliseconds: kucoin's gateway, and those that say so."""
_LEFT = re.compile(r"(?:^|[;,\s])(?:t|reset)=(\d+)")
"""What is left in the one header of the IETF's drafts: `limit=10, remaining=0, reset=5`, `"name";r=0;t=5`."""
_UNTIL = re.compile(r"\buntil\D{0,20}(\d{13}|\d{10})\b")
_WAIT = re.compile(r"""["']wait["']\s*:\s*(\d+(?:\.\d+)?)""")
"""What deribit says in its body: seconds."""
_OLDEST_EPOCH_S, _NEWEST_EPOCH_S = 1e9, 1e10
_UNITS = (1.0, 1e3, 1e6, 1e9)


def pause_asked_for(headers: Mapping[str, str], said: str = "") -> float | None:
    """Seconds without requests that a refusal asks for; None where it does not say.

    `Retry-After` goes before what `said` (its body) tells, and that before headers with the time at which a
    limit is reset: as an epoch in s, ms, us or ns, or as what is left of it. Epochs are of the exchange's
    own clock, which is its `Date`.
    """
    by_name = {name.lower(): value for name, value in headers.items()}
    now = _http_date(by_name.get("date", "")) or time.time()
    if (asked_s := _wait_in_headers(by_name, now)) is not None:
        return asked_s
    if found := _UNTIL.search(said):
        return _until_reset(found[1], now)
    if found := _WAIT.search(said):
        return float(found[1])
    resets = [
        wait / (1000 if _IN_MS.fullmatch(name) else 1)
        for name, value in by_name.items()
        if _RESET.fullmatch(name) and (wait := _until_reset(value, now))
    ]
    resets += [float(left) for left in _LEFT.findall(by_name.get("ratelimit", ""))]
    return min(resets, default=None)


def is_told_to_wait(headers: Mapping[str, str]) -> bool:
    """Whether a `Retry-After` says how long nothing is to be asked, whatever the status beside it."""
    return _wait_in_headers({name.lower(): value for name, value in headers.items()}, time.time()) is not None


def candle_unit(api: Any) -> float:
    """ccxt's cost of a plain candle request: the upper median, as endpoints that are gone often cost less."""
    costs = list(_candle_costs(api, ""))
    return median_high(costs) if costs else 1.0


def tokens(cost: Any, path: str, config: Mapping[str, Any], unit: float) -> float:
    """The tokens of a request that ccxt gives `cost`; a candle endpoint is measured by its own plain cost."""
    plain = _plain(config) if _CANDLES.search(path) else unit
    return max(1.0, float(cost or 0) / plain)


def _candle_costs(node: Any, name: str) -> Iterator[float]:
    if not isinstance(node, Mapping):
        if isinstance(node, int | float) and _CANDLES.search(name):
            yield float(node)
    elif "cost" in node or "byLimit" in node:
        if _CANDLES.search(name):
            yield _plain(node)
    else:
        for inner, below in node.items():
            yield from _candle_costs(below, inner)


def _plain(config: Mapping[str, Any]) -> float:
    by_limit = [float(cost) for _, cost in config.get("byLimit") or ()]
    return min(by_limit, default=float(config.get("cost") or 1)) or 1.0


def _wait_in_headers(by_name: Mapping[str, str], now: float) -> float | None:
    waits = [
        wait / (1000 if _IN_MS.fullmatch(name) else 1)
        for name, value in by_name.items()
        if _RETRY_AFTER.fullmatch(name) and (wait := _retry_after(value, now)) is not None
    ]
    return max(waits, default=None)


def _retry_after(value: str, now: float) -> float | None:
    """Seconds of a `Retry-After`: a number of them, or a date; None for anything else."""
    seconds = _number(value)
    if seconds is None:
        moment = _http_date(value)
        return None if moment is None else max(0.0, moment - now)
    return max(0.0, seconds)


def _until_reset(value: str, now: float) -> float | None:
    """What is left until a time: an epoch in any unit, a date, or the seconds that are left of it."""
    number = _number(value)
    if number is None:
        moment = _http_date(value) or _iso_date(value)
        return None if moment is None else max(0.0, moment - now)
    if number < _OLDEST_EPOCH_S:
        return max(0.0, number)
    return next((max(0.0, number / unit - now) for unit in _UNITS if number / unit < _NEWEST_EPOCH_S), None)


def _number(value: str) -> float | None:
    try:
        number = float(value)
    except ValueError:
        return None
    return None if math.isnan(number) else number


def _http_date(value: str) -> float | None:
    """Epoch seconds of an HTTP date, which is UTC whatever zone it leaves out; None for no date."""
    try:
        moment = parsedate_to_datetime(value)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None


def _iso_date(value: str) -> float | None:
    try:
        moment = datetime.fromisoformat(value)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None
