"""What dialects share: a route is a path and a function from the query to the answer's JSON."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import numpy as np

from seamless_assets.core.calendar.timeframe import Timeframe
from seamless_assets.dialects.market_data import Market, MarketData

Query = Mapping[str, str]
Handler = Callable[[Query], Any]


@dataclass(frozen=True, slots=True)
class Refusal(Exception):
    """The venue's own way of saying no: HTTP status and JSON body."""

    status: int
    body: Any


@dataclass(frozen=True, slots=True)
class Route:
    """One endpoint. A path may hold `{name}`, which reaches the handler in the query."""

    exchange: str
    path: str
    handler: Handler


def text(value: float) -> str:
    """A number as exchanges write it: all its digits, no exponent, so that reading it gives the same number."""
    return f"{Decimal(repr(float(value))):f}"


def number(query: Query, name: str, default: int) -> int:
    """A whole number of the query."""
    value = query.get(name)
    return int(float(value)) if value not in (None, "") else default


def window(query: Query, start: str, end: str, unit: int, data: MarketData) -> tuple[int | None, int]:
    """Bounds of a query in seconds: start (None where not given) and end, both inclusive as sent."""
    begin = number(query, start, -1)
    finish = number(query, end, int(data.clock.now()) * unit)
    return (None if begin < 0 else -(-begin // unit)), finish // unit


def rows_of(candles: np.ndarray) -> Iterable[tuple[int, float, float, float, float, float]]:
    """Candles as tuples of plain numbers."""
    rows: list[tuple[int, float, float, float, float, float]] = candles.tolist()
    return rows


def spot(data: MarketData) -> list[Market]:
    """The spot markets."""
    return [market for market in data.markets.values() if ":" not in market.symbol]


def swaps(data: MarketData) -> list[Market]:
    """The perpetual swaps."""
    return [market for market in data.markets.values() if market.is_swap]


def futures(data: MarketData) -> list[Market]:
    """The dated futures."""
    return [market for market in data.markets.values() if market.expiry is not None]


def listed(data: MarketData, markets: Mapping[str, Market]) -> dict[str, Market]:
    """Those of the markets that the venue's list names now."""
    return {name: market for name, market in markets.items() if data.is_listed(market.symbol)}


def timeframe_of(names: Mapping[str, str], told: str | None, refusal: Refusal) -> Timeframe:
    """The timeframe that a venue calls `told`; raises `refusal` for one it does not have."""
    if told is None or told not in names:
        raise refusal
    return Timeframe(names[told])
