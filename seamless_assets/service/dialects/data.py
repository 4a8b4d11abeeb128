"""What an exchange's dialect puts into words here: declared candles, at the clock of the world asked."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from seamless_assets.core.calendar.segment import Segment
from seamless_assets.core.calendar.timeframe import Timeframe
from seamless_assets.core.node import NodeId
from seamless_assets.core.wire.listing import Listing
from seamless_assets.dialects.market_data import CANDLE
from seamless_assets.errors import NothingReleased, NotServed
from seamless_assets.pipeline.connect import Seamless
from seamless_assets.service.dialects.listings import KnownListings
from seamless_assets.service.dialects.live.forming import FormingBars
from seamless_assets.service.dialects.markets import DeclaredMarket, declared_markets
from seamless_assets.service.dialects.pages import NO_ROWS, Page, Pages
from seamless_assets.service.dialects.visit import VISIT, VisitClock

FIRST_STEP = 2
"""A page with fewer candles than asked for, as nobody traded, goes on over so many times the bars it has."""


class DeclaredData:
    """Satisfies the dialects' `MarketData`: candles that have closed of the nodes that are declared.

    With `forming` the one that forms follows them, where nothing between is still to come.
    """

    trades_in_candle = 0
    """Nobody counted them: what is kept is open, high, low, close and volume."""

    def __init__(
        self, pipeline: Seamless, exchange: str, pages: Pages, forming: FormingBars | None = None
    ) -> None:
        self._pipeline, self._pages, self._forming = pipeline, pages, forming
        self._starts, self._derived = pipeline.settings.starts, pipeline.settings.recipes.keys()
        self._markets = declared_markets(exchange, self._starts)
        self._listings = KnownListings(pipeline, exchange)
        self._clock = VisitClock()

    @property
    def clock(self) -> VisitClock:
        """The clock of the world that is asked."""
        return self._clock

    @property
    def markets(self) -> Mapping[str, DeclaredMarket]:
        """The declared markets by symbol."""
        return self._markets

    def is_refused(self, symbol: str) -> bool:
        """Never: what is declared is served."""
        return False

    def is_too_old(self, symbol: str, timeframe: Timeframe, start: int) -> bool:
        """Never: what is kept is served."""
        return False

    def is_streamed(self, symbol: str, timeframe: Timeframe | None) -> bool:
        """Whether it is declared: candles are streamed, no trades, and in the live world no derived ones."""
        node = self.node_of(symbol, timeframe)
        return node is not None and (VISIT.get().as_of is not None or node not in self._derived)

    def node_of(self, symbol: str, timeframe: Timeframe | None) -> NodeId | None:
        """The declared node of a symbol's timeframe; None where there is none."""
        return None if timeframe is None else self._markets[symbol].nodes.get(timeframe)

    def known(self, symbol: str) -> Listing | None:
        """What the exchange's list said of a market when it was looked up last, of the live world."""
        return self._listings.newest.get(symbol)

    async def listings(self) -> Mapping[str, Listing | None]:
        """The declared symbols; in a world of the past, those of which any candle was released then.

        Raises `ExchangeUnavailable` where no list is known of what the exchange says of them.
        """
        as_of = VISIT.get().as_of
        named = [
            symbol for symbol in self._markets if as_of is None or await self._has_release(symbol, as_of)
        ]
        said = await self._listings.told(as_of) if named else {}
        return {symbol: said.get(symbol) for symbol in named}

    async def listings_at_hand(self) -> Mapping[str, Listing]:
        """What the exchange's list says of markets in the world that is asked, as far as it is known."""
        return await self._listings.at_hand(VISIT.get().as_of)

    async def look_up(self) -> None:
        """Have what `known` tells."""
        await self._listings.at_hand(None)

    async def close(self) -> None:
        """End what goes on for nobody in particular."""
        await self._listings.close()

    async def _has_release(self, symbol: str, as_of: str) -> bool:
        return any([await self._is_released(node, as_of) for node in self._markets[symbol].nodes.values()])

    async def _is_released(self, node: NodeId, as_of: str) -> bool:
        try:
            await self._pipeline.aio.snapshot(node, as_of)
        except NothingReleased:
            return False
        return True

    async def candles(
        self, symbol: str, timeframe: Timeframe, start: int, end: int | None
    ) -> tuple[np.ndarray, int]:
        """Candles that open in `[start, end)`, and until when all of them are known."""
        node = await self._node(symbol, timeframe)
        begin, open_row = self._start(node, start), await self._open_row(node, start, end)
        page = await self._load(node, begin, self._end(timeframe, end))
        if not len(open_row) or page.until < open_row["ts"][0]:
            return page.rows, page.until
        return np.concatenate([page.rows, open_row]), int(open_row["ts"][0]) + 1

    async def first(
        self, symbol: str, timeframe: Timeframe, start: int, end: int | None, count: int
    ) -> np.ndarray:
        """The first `count` candles that open in `[start, end)`."""
        node, found, step = await self._node(symbol, timeframe), [NO_ROWS], count
        begin, finish, is_open = self._start(node, start), *self._reach(timeframe, end)
        open_row = await self._open_row(node, start, end)
        while (wanted := count - sum(map(len, found))) > 0 and begin < finish:
            page = await self._load(node, begin, min(finish, timeframe.shift(begin, step)))
            found.append(page.rows[:wanted])
            if page.until < min(finish, timeframe.shift(begin, step)):
                break
            begin, step = page.until, step * FIRST_STEP
        VISIT.get().uses_clock |= is_open and wanted > 0
        if wanted > 0 and begin == finish:
            found.append(open_row)
        return np.concatenate(found)

    async def last(
        self, symbol: str, timeframe: Timeframe, start: int, end: int | None, count: int
    ) -> np.ndarray:
        """The last `count` candles that open in `[start, end)`."""
        node, found, step = await self._node(symbol, timeframe), [NO_ROWS], count
        begin, finish = self._start(node, start), self._end(timeframe, end)
        open_row = await self._open_row(node, start, end)
        is_newest = True
        while (wanted := count - sum(map(len, found))) > 0 and begin < finish:
            first = max(begin, timeframe.shift(finish, -step))
            page = await self._load(node, first, finish, is_newest=is_newest)
            if page.until < finish:
                # The newest are late: older ones are told in their place.
                finish, open_row = page.until, NO_ROWS
                continue
            found.append(page.rows[-wanted:])
            is_newest, finish, step = False, first, step * FIRST_STEP
        return np.concatenate([*found[::-1], open_row])[-count:]

    async def newest(self, symbol: str, timeframe: Timeframe, end: int | None, count: int) -> np.ndarray:
        """The candles of the last `count` opens before `end` that are not late."""
        node = await self._node(symbol, timeframe)
        finish = await self._pages.newest_end(VISIT.get(), node, self._end(timeframe, end))
        open_row = await self._open_row(node, finish, end)
        begin = timeframe.shift(finish, len(open_row) - count)
        page = await self._load(node, self._start(node, begin), finish)
        while page.until < finish:
            # The newest are late: older ones are told in their place.
            finish, open_row = page.until, NO_ROWS
            page = await self._load(node, self._start(node, timeframe.shift(finish, -count)), finish)
        return np.concatenate([page.rows, open_row])

    async def trades(
        self, symbol: str, start: float, end: float, limit: int
    ) -> list[tuple[float, float, float, str]]:
        """Raises `NotServed`: candles are kept, and no trades."""
        raise NotServed(f"trades of {symbol} are not kept here; ask for candles")

    async def _open_row(self, node: NodeId, start: int, end: int | None) -> np.ndarray:
        """The candle that forms now, if it opens in `[start, end)` and may be shown; else no row."""
        visit = VISIT.get()
        if self._forming is None or visit.as_of is not None:
            return NO_ROWS
        candle = await self._forming.at(node, visit.now)
        visit.forming.append((node, candle))
        if candle is None or candle.ts < max(start, self._starts[node]):
            return NO_ROWS
        if end is not None and end <= candle.ts:
            return NO_ROWS
        return np.array([(candle.ts, *candle.values)], dtype=CANDLE)

    async def _load(self, node: NodeId, start: int, end: int, *, is_newest: bool = True) -> Page:
        window = Segment(min(start, end), end)
        return await self._pages.load(VISIT.get(), node, window, is_newest=is_newest)

    async def _node(self, symbol: str, timeframe: Timeframe) -> NodeId:
        """The declared node. Raises `NotServed`, and in a world of the past `NothingReleased`."""
        nodes = self._markets[symbol].nodes
        if timeframe not in nodes:
            declared = ", ".join(str(frame) for frame in sorted(nodes))
            raise NotServed(f"{timeframe} of {symbol} is not declared here; {declared} is")
        as_of = VISIT.get().as_of
        if as_of is not None:
            await self._pipeline.aio.snapshot(nodes[timeframe], as_of)
        return nodes[timeframe]

    def _start(self, node: NodeId, start: int) -> int:
        # What no calendar holds lies after now anyway.
        asked = min(start, int(VISIT.get().now) + 1)
        return node.timeframe.ceil(max(asked, self._starts[node]))

    def _end(self, timeframe: Timeframe, end: int | None) -> int:
        """The end of whole bars that open before `end` and have closed by now."""
        finish, is_open = self._reach(timeframe, end)
        VISIT.get().uses_clock |= is_open
        return finish

    def _reach(self, timeframe: Timeframe, end: int | None) -> tuple[int, bool]:
        """The same, and whether a later now would make it later."""
        closed = timeframe.floor(int(VISIT.get().now))
        if end is None or end > closed:
            return closed, True
        return timeframe.ceil(max(end, 0)), False
