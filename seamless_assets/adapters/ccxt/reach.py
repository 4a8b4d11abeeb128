"""Where series begin and end: searched once, remembered for other processes, tested when recalled."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Protocol

from seamless_assets.adapters.ccxt.clock import happened_within
from seamless_assets.adapters.ccxt.listing import (
    HEEDED_BARS,
    first_open,
    first_within,
    kept_opens,
    ladder,
    last_close,
    oldest_allowed,
    opens_of,
    page_before,
)
from seamless_assets.adapters.ccxt.memory import ExchangeMemory
from seamless_assets.core.calendar.instant import OLDEST_MARKET
from seamless_assets.core.calendar.segment import Segment
from seamless_assets.core.calendar.timeframe import Timeframe
from seamless_assets.core.coverage.pages import Page
from seamless_assets.core.coverage.proof import Reach
from seamless_assets.core.node import NodeId
from seamless_assets.errors import ExchangeRefused, MisalignedTimeframe

DAY_S = 86_400.0
LISTED_AGE_S = 30 * DAY_S
REFUSED_AGE_S = DAY_S
MAX_CORRECTIONS = 8


class Series(Protocol):
    """The series that a search goes by."""

    async def fetch_candles(self, node: NodeId, window: Segment) -> Page:
        """One page of candles."""

    async def newest_page(self, node: NodeId, since: int) -> Page:
        """The first page from an open on that the exchange gives where no end is given."""

    def page_size(self, node: NodeId) -> int:
        """The most bars a page is believed to hold."""

    async def exchange_now(self, exchange: str) -> float:
        """The exchange's clock."""

    def frames(self, node: NodeId) -> list[Timeframe]:
        """Timeframes that the exchange says it serves of the symbol, ascending."""

    def coarser(self, node: NodeId) -> tuple[NodeId, ...]:
        """Coarser series that can witness for the node's own."""

    def place(self, exchange: str) -> str:
        """Where what is learned of an exchange is remembered."""


class SeriesReach:
    """Where series begin and end. Each side is searched by one task at a time, and then known."""

    def __init__(self, series: Series, memory: ExchangeMemory) -> None:
        self._series, self._memory = series, memory
        self._known: dict[NodeId, Reach] = {}
        self._recalled: dict[NodeId, int] = {}
        self._searched: set[tuple[NodeId, str]] = set()
        self._ends: dict[NodeId, int | None] = {}
        self._unusable: set[NodeId] = set()
        self._locks: defaultdict[tuple[NodeId, str], asyncio.Lock] = defaultdict(asyncio.Lock)

    async def recall(self, node: NodeId) -> None:
        """Recall what other processes found of a node and of the series that a search goes by."""
        if node in self._known:
            return
        place = self._series.place(node.exchange)
        for frame in self._series.frames(node):
            other = NodeId(node.exchange, node.symbol, frame)
            facts = await self._memory.recall(place, str(other))
            refused, listed = facts.get("refused"), facts.get("listed")
            is_other = frame != node.timeframe
            if refused and is_other and happened_within(REFUSED_AGE_S, refused.seen_at, time.time()):
                self._unusable.add(other)
            is_recent = listed and happened_within(LISTED_AGE_S, listed.seen_at, time.time())
            # What was found out meanwhile goes before what is remembered.
            if listed and is_recent and other == node and self.known(node).listed is None:
                self._recalled[node] = listed.value
        self._known.setdefault(node, Reach())

    async def of(self, node: NodeId, window: Segment) -> Reach:
        """What is known and matters for `window`; a date that was recalled is put to the test first."""
        if window.start < self._recalled.get(node, window.start):
            await self.first_listed(node)
        return self.known(node)

    def known(self, node: NodeId) -> Reach:
        """What was found by this process."""
        return self._known.get(node, Reach())

    def usable_frames(self, node: NodeId) -> list[Timeframe]:
        """Timeframes that the exchange serves of the symbol, but for those on another grid or refused."""
        left_out = {
            other.timeframe
            for other in self._unusable
            if other.exchange == node.exchange and other.symbol == node.symbol
        }
        return [frame for frame in self._series.frames(node) if frame not in left_out]

    def leave_out(self, node: NodeId) -> None:
        """Go by a series no more."""
        self._unusable.add(node)

    def markets_changed(self, exchange: str) -> None:
        """A symbol that was no longer traded may be traded again."""
        self._ends = {node: end for node, end in self._ends.items() if node.exchange != exchange}

    async def first_listed(self, node: NodeId) -> int | None:
        """Open of the first bar ever; None where it cannot be found."""
        return await self._find(node, "listed", self._search_listing)

    async def oldest_served(self, node: NodeId) -> int | None:
        """Open of the oldest bar still served, where the exchange keeps less than everything."""
        return await self._find(node, "oldest", self._search_oldest)

    async def last_traded(self, node: NodeId) -> int | None:
        """Close of the last bar the exchange serves; None where it serves none."""
        async with self._locks[node, "end"]:
            # A market list that comes meanwhile begins another table: what is found goes into the old one.
            ends = self._ends
            if node not in ends:
                ends[node] = await self._by_usable(node, self._search_end)
            return ends[node]

    async def forget(self, node: NodeId, side: str) -> None:
        """Search a side (`listed`, `oldest`) anew when it is asked for: it turned out wrong."""
        self._known[node] = replace(self.known(node), **{side: None})
        self._searched.discard((node, side))
        if side == "listed":
            self._recalled.pop(node, None)
            await self._memory.forget(self._series.place(node.exchange), str(node), side)

    async def _find(
        self, node: NodeId, side: str, search: Callable[[NodeId], Awaitable[int | None]]
    ) -> int | None:
        async with self._locks[node, side]:
            found: int | None = getattr(self.known(node), side)
            if found is None and (node, side) not in self._searched:
                found = await self._by_usable(node, search)
                self._searched.add((node, side))
            if found is not None:
                self._known[node] = replace(self.known(node), **{side: found})
        return found

    async def _by_usable(self, node: NodeId, search: Callable[[NodeId], Awaitable[int | None]]) -> int | None:
        """What the search finds, begun anew where a series it goes by turns out to be of no use."""
        while True:
            coarsest, unusable = self._ladder(node)[0], len(self._unusable)
            try:
                return await search(node)
            except MisalignedTimeframe:
                if node in self._unusable or len(self._unusable) == unusable:
                    raise
            except ExchangeRefused:
                # Some exchanges name timeframes that they do not serve.
                if coarsest == node or await self._is_served(coarsest) or not await self._is_served(node):
                    raise
                self.leave_out(coarsest)
                await self._memory.remember(self._series.place(node.exchange), str(coarsest), "refused", 1)

    async def _is_served(self, node: NodeId) -> bool:
        """Whether the exchange gives the newest bars of a series, or says that there are none."""
        now = int(await self._series.exchange_now(node.exchange))
        newest = Segment(node.timeframe.shift(now, 1 - HEEDED_BARS), node.timeframe.shift(now, 1))
        try:
            await self._series.fetch_candles(node, newest)
        except MisalignedTimeframe:
            return True
        except ExchangeRefused:
            return False
        return True

    async def _ask(self, node: NodeId, window: Segment) -> Page:
        """One page of candles, all of them on our grid. Raises `MisalignedTimeframe`."""
        page = await self._series.fetch_candles(node, window)
        if page.off_grid:
            self.leave_out(node)
            raise MisalignedTimeframe(f"bars of {node} open off the grid", node_id=str(node))
        return page

    def _ladder(self, node: NodeId) -> list[NodeId]:
        return ladder(node, map(str, self.usable_frames(node)))

    async def _search_listing(self, node: NodeId) -> int | None:
        if (recalled := self._recalled.pop(node, None)) is not None:
            if await self._is_first(node, recalled):
                return recalled
            await self._memory.forget(self._series.place(node.exchange), str(node), "listed")
        series = self._ladder(node)
        now = int(await self._series.exchange_now(node.exchange))
        found = await first_open(self._ask, series, self._series.page_size(series[0]), now)
        for _ in range(MAX_CORRECTIONS):
            if found is None:
                break
            earlier = await self._earlier(node, series, found)
            if earlier is None:
                place = self._series.place(node.exchange)
                await self._memory.remember(place, str(node), "listed", found)
                return found
            found = earlier
        return None

    async def _earlier(self, node: NodeId, series: list[NodeId], found: int) -> int | None:
        """Open of a bar before the one that was found first, by series that the search did not go by."""
        for witness in (node, *self._series.coarser(node)):
            if witness is not node and witness in series:
                continue
            size = self._series.page_size(witness)
            before = page_before(witness, witness.timeframe.floor(found), size)
            opens = await kept_opens(self._ask, witness, before)
            if len(opens):
                steps = [witness] if witness == node else [witness, node]
                return await first_within(self._ask, steps, int(opens[0]))
        return None

    async def _is_first(self, node: NodeId, listed: int) -> bool:
        """Whether the exchange still shows a bar at a recalled date, and none before."""
        now = int(await self._series.exchange_now(node.exchange))
        if not OLDEST_MARKET <= listed <= now or node.timeframe.floor(listed) != listed:
            return False
        series, size = self._ladder(node), self._series.page_size
        for one in reversed(series):
            frame, opened = one.timeframe, one.timeframe.floor(listed)
            half = size(one) // 2
            near = Segment(frame.shift(opened, -half), frame.shift(opened, half))
            opens = await kept_opens(self._ask, one, near)
            if len(opens):
                # Finer bars that old may no longer be kept.
                longest = series[0]
                before = page_before(longest, longest.timeframe.floor(listed), size(longest))
                return int(opens[0]) == opened and not len(await kept_opens(self._ask, longest, before))
        return False

    async def _search_end(self, node: NodeId) -> int | None:
        series = self._ladder(node)
        now = int(await self._series.exchange_now(node.exchange))
        found = await last_close(self._ask, series, self._series.page_size(series[0]), now)
        if found is None:
            return None
        after = Segment(found, node.timeframe.shift(found, self._series.page_size(node)))
        return None if len(await opens_of(self._ask, node, after)) else found

    async def _search_oldest(self, node: NodeId) -> int | None:
        listed = await self.first_listed(node)
        size = self._series.page_size(node)
        now = int(await self._series.exchange_now(node.exchange))
        try:
            page = await self._series.newest_page(node, listed or OLDEST_MARKET)
        except MisalignedTimeframe:
            raise
        except ExchangeRefused:
            return await oldest_allowed(self._series.fetch_candles, node, listed or OLDEST_MARKET, now)
        opens = [int(ts) for ts in page.opens(node.timeframe)]
        if not opens or listed is None or opens[0] <= listed:
            return None
        # An exchange that ignores `since` shows its newest page whatever is asked, and proves nothing.
        oldest, middle = opens[0], opens[len(opens) // 2]
        asked = Segment(middle, node.timeframe.shift(middle, HEEDED_BARS))
        heeds_since = len(await opens_of(self._ask, node, asked)) > 0
        before = page_before(node, oldest, size)
        return oldest if heeds_since and not len(await opens_of(self._ask, node, before)) else None
