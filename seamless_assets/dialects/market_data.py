"""What a dialect needs of the market data it puts into words; whoever serves it fits by shape."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Protocol

import numpy as np

from seamless_assets.core.calendar.timeframe import Timeframe


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
    def price(self) -> float:
        """About what one costs, for where a list of markets tells a price."""
        ...

    @property
    def listed(self) -> int:
        """Epoch seconds of the listing."""
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


class MarketData(Protocol):
    """Markets, candles and trades at the venue's clock.

    Candles are a structured array with the fields `ts` (open, int64 epoch seconds), `open`, `high`, `low`,
    `close` and `volume` (float64), in this order, ascending by `ts`.
    """

    @property
    def clock(self) -> Clock:
        """The venue's clock."""
        ...

    @property
    def markets(self) -> Mapping[str, Market]:
        """All markets by symbol."""
        ...

    def is_listed(self, symbol: str) -> bool:
        """Whether the venue's list of markets names a symbol now."""
        ...

    def is_refused(self, symbol: str) -> bool:
        """Whether the venue knows a symbol no more, not even its past."""
        ...

    def candles(self, symbol: str, timeframe: Timeframe, start: int, end: int) -> np.ndarray:
        """Candles that open in `[start, end)`, the forming one of now included."""
        ...

    def newest(self, symbol: str, timeframe: Timeframe, end: int, count: int) -> np.ndarray:
        """At most `count` candles, the last that open before `end`."""
        ...

    def kept_from(self, symbol: str, timeframe: Timeframe) -> int:
        """Open of the oldest candle that the venue still keeps; 0 where it keeps all."""
        ...

    def is_too_old(self, symbol: str, timeframe: Timeframe, start: int) -> bool:
        """Whether the venue refuses a page that begins at `start` for its age."""
        ...

    def trades(
        self, symbol: str, start: float, end: float, limit: int
    ) -> list[tuple[float, float, float, str]]:
        """The first `limit` trades in `[start, end)`: epoch seconds, price, amount, `buy` or `sell`."""
        ...
