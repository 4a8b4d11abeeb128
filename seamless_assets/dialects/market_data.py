"""What a dialect needs of the market data it puts into words; whoever serves it fits by shape."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Protocol

import numpy as np

from seamless_assets.core.calendar.timeframe import Timeframe
from seamless_assets.core.wire.listing import Listing
from seamless_assets.dialects.terms import Terms

CANDLE = np.dtype(
    [("ts", "i8"), ("open", "f8"), ("high", "f8"), ("low", "f8"), ("close", "f8"), ("volume", "f8")]
)
"""A candle: `ts` is its open in epoch seconds."""


class Clock(Protocol):
    """The venue's clock."""

    def now(self) -> float:
        """Epoch seconds."""
        ...


class Market(Protocol):
    """One symbol that a venue trades or traded."""

    @property
    def symbol(self) -> str:
        """As ccxt writes it, such as `BTC/USDT:USDT`."""
        ...

    @property
    def base(self) -> str:
        """What is traded."""
        ...

    @property
    def quote(self) -> str:
        """What it is priced in."""
        ...

    @property
    def price(self) -> float | None:
        """About what one costs, for where a list of markets tells a price; None where nobody knows."""
        ...

    @property
    def listed(self) -> int:
        """Epoch seconds of the listing."""
        ...

    @property
    def terms(self) -> Terms:
        """Its steps, limits and fees, for where no list of the venue itself says them."""
        ...

    @property
    def is_swap(self) -> bool:
        """Whether it is a perpetual swap."""
        ...

    @property
    def expiry(self) -> datetime | None:
        """When a dated future ends; None for what does not."""
        ...

    def is_halted(self, now: float) -> bool:
        """Whether it is no longer traded at `now`, epoch seconds."""
        ...


class Listings(Protocol):
    """Markets at the venue's clock."""

    @property
    def clock(self) -> Clock:
        """The venue's clock."""
        ...

    @property
    def markets(self) -> Mapping[str, Market]:
        """All markets by symbol."""
        ...

    def known(self, symbol: str) -> Listing | None:
        """What the venue's own list says of a market, as far as it was looked up by now."""
        ...

    def is_refused(self, symbol: str) -> bool:
        """Whether the venue knows a symbol no more, not even its past."""
        ...

    def is_streamed(self, symbol: str, timeframe: Timeframe | None) -> bool:
        """Whether candles of a market's timeframe are streamed; its trades where that is None."""
        ...


class MarketData(Listings, Protocol):
    """Markets, candles and trades at the venue's clock.

    Candles are an array of `CANDLE`, ascending by `ts`. An end of None is now, and the bar that
    forms now is one of them where the venue tells of it.
    """

    @property
    def trades_in_candle(self) -> int:
        """How many trades a candle is said to be made of; 0 where nobody counted."""
        ...

    def is_too_old(self, symbol: str, timeframe: Timeframe, start: int) -> bool:
        """Whether the venue refuses a page that begins at `start` for its age."""
        ...

    async def listings(self) -> Mapping[str, Listing | None]:
        """The symbols that the venue's list of markets names now, and what the venue's own says of each.

        None stands for a market that no such list is known to name.
        """
        ...

    async def listings_at_hand(self) -> Mapping[str, Listing]:
        """What the venue's own list says of markets by symbol, as far as it is known without asking for it."""
        ...

    async def candles(
        self, symbol: str, timeframe: Timeframe, start: int, end: int | None
    ) -> tuple[np.ndarray, int]:
        """Candles that open in `[start, end)`; what opens before the second value and is none, never was."""
        ...

    async def first(
        self, symbol: str, timeframe: Timeframe, start: int, end: int | None, count: int
    ) -> np.ndarray:
        """The first `count` candles that open in `[start, end)`."""
        ...

    async def last(
        self, symbol: str, timeframe: Timeframe, start: int, end: int | None, count: int
    ) -> np.ndarray:
        """The last `count` candles that open in `[start, end)`."""
        ...

    async def newest(self, symbol: str, timeframe: Timeframe, end: int | None, count: int) -> np.ndarray:
        """The candles of the last `count` opens before `end`; fewer where nobody traded."""
        ...

    async def trades(
        self, symbol: str, start: float, end: float, limit: int
    ) -> list[tuple[float, float, float, str]]:
        """The first `limit` trades in `[start, end)`: epoch seconds, price, amount, `buy` or `sell`."""
        ...
