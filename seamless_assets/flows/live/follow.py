"""Following a node: asking for its bars as they close, and telling when there may be news of it."""

from __future__ import annotations

from collections.abc import Callable

from seamless_assets.core.calendar.segment import Segment
from seamless_assets.core.live.schedule import JITTER_S, LOOKS_S, last_look, next_correction, next_look
from seamless_assets.core.node import NodeId
from seamless_assets.errors import (
    ArtifactCorrupt,
    ArtifactMissing,
    ArtifactStoreError,
    BudgetUnavailable,
    ExchangeUnavailable,
    HotStoreError,
    LeaseLost,
    LeaseStoreUnavailable,
    SeamlessError,
)
from seamless_assets.flows.filling.history import coverage
from seamless_assets.flows.live.look import RECENT_BARS, Look, decided_until, look
from seamless_assets.flows.ports import Ports

STEP_BARS = 5_000
"""Bars that are filled before those who follow may have them."""
LONGEST_WAIT_S = 30.0
"""A clock that was set, or a machine that slept, is seen after so many seconds at the latest."""
BEYOND_BARS = 60
"""Bars after the end of a stream in which one is looked for that decides whether its last ones are there."""
PASSING = (ExchangeUnavailable, BudgetUnavailable, HotStoreError, LeaseLost, LeaseStoreUnavailable)
LASTING = (ArtifactMissing, ArtifactCorrupt)


def is_passing(error: SeamlessError) -> bool:
    """Whether it is over by itself: something is away, and the next look finds what was missed."""
    return isinstance(error, (*PASSING, ArtifactStoreError)) and not isinstance(error, LASTING)


class Follower:
    """Fills a node from the open `start` on, for as long as it runs, to `until` and little further.

    Both are in epoch seconds. `on_news` is called when there may be some. `closed` is the end of closed
    time, `decided` that of the bars of which it is known whether there are any, `is_away` whether the last
    look had no answer.
    """

    def __init__(
        self,
        ports: Ports,
        node: NodeId,
        start: int,
        on_news: Callable[[NodeId], None],
        until: int | None = None,
    ) -> None:
        self.node = node
        self._reach = None if until is None else node.timeframe.shift(until, BEYOND_BARS)
        self.closed = self.decided = start
        self.is_away = True
        self._ports, self._on_news = ports, on_news
        self._skew = 0.0
        self._is_known_to_be_served = False
        self._asked_for: int | None = None
        """The end of the newest bar that this process asked for and got."""
        self._next_at = 0.0

    def now(self) -> float:
        """The exchange's clock as far as it was asked, in epoch seconds."""
        return self._ports.clock.now() + self._skew

    async def run(self) -> None:
        """Follow until cancelled. Raises `ExchangeRefused`, and `StoreError` that no waiting mends."""
        while True:
            try:
                await self._ask_clock()
                await self._follow()
                self.is_away = False
            except SeamlessError as error:
                if not is_passing(error):
                    raise
                self.is_away = True
            self._on_news(self.node)
            await self._wait()

    async def _ask_clock(self) -> None:
        source = self._ports.source
        if not self._is_known_to_be_served:
            await source.check_node(self.node)
            self._is_known_to_be_served = True
        theirs = await source.exchange_now(self.node.exchange)
        self._skew = theirs - self._ports.clock.now()
        self.closed = max(self.closed, self.node.timeframe.floor(int(theirs)))

    async def _follow(self) -> None:
        """Fill what has closed, the oldest first; where nothing has, ask for corrections when it is time."""
        reach = self.closed if self._reach is None else min(self.closed, self._reach)
        if self.decided >= reach:
            if self._asked_for == self.closed and self.now() >= self._next_at:
                newest = Segment(self.closed, self.closed)
                await self._look(Look(self.node, newest, self.closed, self._due(), again=True))
            return
        frame, closed = self.node.timeframe, self.closed
        while True:
            before, end = self.decided, min(reach, frame.shift(self.decided, STEP_BARS))
            window = Segment(before, end)
            if await decided_until(self._ports, self.node, window) < end:
                await self._look(Look(self.node, window, closed, self._due()))
            if end == closed:
                self.decided = await decided_until(self._ports, self.node, window)
                await self._explain(Segment(before, self.decided))
                return
            self.decided = end
            self._on_news(self.node)
            if end >= reach:
                return

    async def _explain(self, decided: Segment) -> None:
        """Look into long holes that new bars have followed by now."""
        if not decided.is_empty:
            known = await coverage(self._ports, self.node, decided)
            for gap in known.missing_gaps:
                if self.node.timeframe.count(*gap.segment) >= RECENT_BARS and gap.start == decided.start:
                    await self._look(Look(self.node, gap.segment, self.closed, self._due(), afresh=True))

    async def _look(self, wanted: Look) -> None:
        """Raise `ExchangeUnavailable` where there was no answer."""
        for filled in await look(self._ports, wanted):
            if filled.away is not None:
                raise filled.away
            if filled.asked and wanted.is_newest:
                self._asked_for = self.closed

    def _due(self) -> float:
        """When the look that is due now became so, on our clock."""
        return last_look(self.node.timeframe, self.closed, self.now()) - self._skew

    async def _wait(self) -> None:
        """Wait for the next instant at which there may be something to ask for, or to be told of."""
        frame, now = self.node.timeframe, self.now()
        closed = max(self.closed, frame.floor(int(now)))
        following = next_look if self.decided < closed or self.is_away else next_correction
        self._next_at = following(frame, closed, now)
        jitter = self._ports.rng.random() * JITTER_S
        while (left := self._next_at - self.now()) > 0:
            await self._ports.clock.sleep(min(left + jitter, LONGEST_WAIT_S))
            if self._next_at - self.now() > 0:
                await self._heed_clock()
                if self.decided < self.closed:
                    self._on_news(self.node)

    async def _heed_clock(self) -> None:
        """Ask for the exchange's clock, and wait no longer where a bar has closed by it."""
        before = self.closed
        try:
            await self._ask_clock()
        except SeamlessError as error:
            if not is_passing(error):
                raise
            return
        if self.closed > before:
            self._next_at = max(self.now(), self.closed + LOOKS_S[0])
