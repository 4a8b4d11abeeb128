"""What dialects share: a route is a path and a function from the query to the answer's JSON."""

from __future__ import annotations

import math
import re
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Literal

import numpy as np

from seamless_assets.core.calendar.timeframe import Timeframe
from seamless_assets.core.wire.listing import Listing
from seamless_assets.dialects.market_data import Listings, Market, MarketData
from seamless_assets.errors import InvalidInput

MAX_NUMBER = 9e18
"""More than any time in nanoseconds, and still a whole number of 64 bits."""
NUMBER = re.compile(r"[+-]?[0-9]+(\.[0-9]*)?([eE][+-]?[0-9]+)?")
"""A number as clients write one; what Python takes beside it no venue does."""
Query = Mapping[str, str]
Handler = Callable[[Query], Awaitable[Any]]
Reason = Literal["unauthorized", "too_many", "try_later", "bad_request", "given_twice", "not_served"]
"""Why whoever serves a dialect refuses a request, for the venue's words for it."""


@dataclass(frozen=True, slots=True)
class Refusal(Exception):
    """The venue's own way of saying no: HTTP status and JSON body.

    `is_unknown`: a venue that has more markets and timeframes may answer.
    """

    status: int
    body: Any
    is_unknown: bool = False


@dataclass(frozen=True, slots=True)
class Route:
    """One endpoint. A path may hold `{name}`, which reaches the handler in the query."""

    exchange: str
    path: str
    handler: Handler


def text(value: float) -> str:
    """A number as most exchanges write it: the digits that it takes to read the same one, no exponent."""
    written = repr(float(value))
    return f"{Decimal(written):f}" if "e" in written else written.removesuffix(".0")


def padded(value: float, places: int) -> str:
    """The same with so many decimals at least."""
    whole, _, part = text(value).partition(".")
    return f"{whole}.{part:0<{places}}" if part or places else whole


KEPT_ROWS = 8_192
"""Candles of which a venue remembers how it writes them: pages of now are asked for again and again."""


def always(answer: Any) -> Handler:
    """A handler that gives one answer, whatever the query."""

    async def answered(_query: Query) -> Any:
        return answer

    return answered


def real(query: Query, name: str, default: float) -> float:
    """A number of the query. Raises `InvalidInput` for what is none, or larger than any time or count."""
    text = query.get(name, "")
    value = math.nan
    if not text or NUMBER.fullmatch(text):
        value = float(text or default)
    if not abs(value) <= MAX_NUMBER:
        raise InvalidInput(f"{name} is {text[:100]!r}; give a number", value=text)
    return value


def number(query: Query, name: str, default: int) -> int:
    """A whole number of the query, rounded towards zero. Raises `InvalidInput`, as `real` does."""
    return int(real(query, name, default))


def page_size(query: Query, name: str, default: int, cap: int) -> int:
    """Rows that the query asks for, from 1 to `cap`."""
    return max(1, min(number(query, name, default), cap))


def window(query: Query, start: str, end: str, unit: int) -> tuple[int | None, int | None]:
    """Bounds of a query in seconds, None where not given: start, inclusive, and end, exclusive.

    Both are inclusive as sent.
    """
    begin, finish = number(query, start, -1), number(query, end, -1)
    return (None if begin < 0 else -(-begin // unit)), (None if not query.get(end) else finish // unit + 1)


def rows_of(candles: np.ndarray) -> Iterable[tuple[int, float, float, float, float, float]]:
    """Candles as tuples of plain numbers."""
    rows: list[tuple[int, float, float, float, float, float]] = candles.tolist()
    return rows


def spot(data: Listings) -> list[Market]:
    """The spot markets."""
    return [market for market in data.markets.values() if ":" not in market.symbol]


def swaps(data: Listings) -> list[Market]:
    """The perpetual swaps."""
    return [market for market in data.markets.values() if market.is_swap]


def futures(data: Listings) -> list[Market]:
    """The dated futures."""
    return [market for market in data.markets.values() if market.expiry is not None]


@dataclass(frozen=True, slots=True)
class Entry:
    """A market of a list, by its `name` there; `listing` is what the venue itself says of it, if it does."""

    name: str
    market: Market
    listing: Listing | None

    def told(self, made: Mapping[str, Any], where_gone: Mapping[str, Any]) -> dict[str, Any]:
        """What a list says of it: the venue's own words, else those that were made.

        `where_gone` goes before the venue's last words of a market that its list names no more.
        """
        if self.listing is None:
            return dict(made)
        return {**self.listing.entry, **(where_gone if self.listing.is_gone else {})}


async def listed(data: MarketData, markets: Mapping[str, Market]) -> list[Entry]:
    """Those of the markets that the venue's list names now."""
    listings = await data.listings()
    named = (
        (name, market, listings[market.symbol])
        for name, market in markets.items()
        if market.symbol in listings
    )
    return [
        Entry(name if listing is None else listing.name, market, listing) for name, market, listing in named
    ]


async def market_called(data: MarketData, markets: Mapping[str, Market], name: str) -> Market | None:
    """The market of a name: ours of it, or the one that the venue's list has."""
    if name in markets:
        return markets[name]
    listings = await data.listings_at_hand()
    for market in markets.values():
        listing = listings.get(market.symbol)
        if listing is not None and listing.name == name:
            return market
    return None


def by_name(markets: Iterable[Market], name_of: Callable[[Market], str]) -> dict[str, Market]:
    """Markets by a venue's name of them. Raises `InvalidInput` where two would have one name."""
    named: dict[str, Market] = {}
    for market in markets:
        other = named.setdefault(name_of(market), market)
        if other is not market:
            raise InvalidInput(
                f"{other.symbol} and {market.symbol} have one name, {name_of(market)}; leave one of them out",
                value=market.symbol,
            )
    return named


def timeframe_of(names: Mapping[str, str], name: str | None, refusal: Refusal) -> Timeframe:
    """The timeframe that a venue calls `name`; raises `refusal` for one it does not have."""
    if name is None or name not in names:
        raise refusal
    return Timeframe(names[name])
