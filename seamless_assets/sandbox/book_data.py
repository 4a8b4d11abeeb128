"""The book as dialects ask for it: pages of its candles and trades."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from seamless_assets.core.calendar.timeframe import Timeframe
from seamless_assets.core.wire.listing import Listing
from seamless_assets.sandbox.book import Book
from seamless_assets.sandbox.clock import SandboxClock
from seamless_assets.sandbox.generator import TRADES_IN_MINUTE
from seamless_assets.sandbox.market import Market

SEARCHED = 4
"""So many times the bars of a page are searched for it, where nobody traded in some."""


class BookData:
    """Satisfies the dialects' `MarketData`, over a book."""

    trades_in_candle = TRADES_IN_MINUTE

    def __init__(self, book: Book) -> None:
        self._book = book

    @property
    def clock(self) -> SandboxClock:
        """The exchange's clock."""
        return self._book.clock

    @property
    def markets(self) -> Mapping[str, Market]:
        """All markets by symbol."""
        return self._book.markets

    def is_refused(self, symbol: str) -> bool:
        """Whether not even its past is served any more."""
        return self._book.is_refused(symbol)

    def is_streamed(self, symbol: str, timeframe: Timeframe | None) -> bool:
        """Whether its candles and trades are streamed."""
        return self._book.is_streamed(symbol, timeframe)

    def is_too_old(self, symbol: str, timeframe: Timeframe, start: int) -> bool:
        """Whether a page that begins at `start` is refused for its age."""
        return self._book.is_too_old(symbol, timeframe, start)

    async def listings(self) -> Mapping[str, None]:
        """The symbols that the list of markets names now; what it says of them follows from their terms."""
        return {symbol: None for symbol in self._book.markets if self._book.is_listed(symbol)}

    async def listings_at_hand(self) -> Mapping[str, Listing]:
        """None: what the list says of markets follows from their terms."""
        return {}

    def known(self, symbol: str) -> None:
        """None: what the list says of it follows from its terms."""

    async def candles(
        self, symbol: str, timeframe: Timeframe, start: int, end: int | None
    ) -> tuple[np.ndarray, int]:
        """Candles that open in `[start, end)`; all that opened before that or now are known."""
        reach = self._end(end)
        return self._book.candles(symbol, timeframe, start, reach), reach

    async def first(
        self, symbol: str, timeframe: Timeframe, start: int, end: int | None, count: int
    ) -> np.ndarray:
        """The first `count` candles that open in `[start, end)`."""
        oldest = max(start, self._book.markets[symbol].listed, self._book.kept_from(symbol, timeframe))
        reach = min(self._end(end), timeframe.shift(oldest, SEARCHED * count))
        return self._book.candles(symbol, timeframe, start, reach)[:count]

    async def last(
        self, symbol: str, timeframe: Timeframe, start: int, end: int | None, count: int
    ) -> np.ndarray:
        """The last `count` candles that open in `[start, end)`."""
        reach = self._end(end)
        oldest = max(start, timeframe.shift(min(reach, self._end(None)), -SEARCHED * count))
        return self._book.candles(symbol, timeframe, oldest, reach)[-count:]

    async def newest(self, symbol: str, timeframe: Timeframe, end: int | None, count: int) -> np.ndarray:
        """The candles of the last `count` opens before `end`."""
        return self._book.newest(symbol, timeframe, self._end(end), count)

    async def trades(
        self, symbol: str, start: float, end: float, limit: int
    ) -> list[tuple[float, float, float, str]]:
        """The first `limit` trades in `[start, end)`."""
        return self._book.trades(symbol, start, end, limit)

    def _end(self, end: int | None) -> int:
        """The end of a page that reaches to the bar of now where it is not told."""
        return int(self._book.clock.now()) + 1 if end is None else end
