"""Following a node: asking for its bars as they close, and telling when there may be news of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import nullcontext

from seamless_assets.aio.priority import urgently
from seamless_assets.core.calendar.segment import Segment
from seamless_assets.core.live.feed.finality import FinalCandle
from seamless_assets.core.live.schedule import (
    JITTER_S,
    LONGEST_WAIT_S,
    LOOKS_S,
    OWN_STREAM_LOOKS_S,
    STREAM_WAIT_S,
    STREAMED_LOOKS_S,
    TOLD_WAIT_S,
    last_look,
    next_correction,
    next_look,
)
from seamless_assets.core.node import NodeId
from seamless_assets.errors import ExchangeRefused, SeamlessError
from seamless_assets.flows.filling.clocks import check_served, refuse_derived
from seamless_assets.flows.filling.history import coverage
from seamless_assets.flows.live.look import RECENT_BARS, Look, decided_until, look
from seamless_assets.flows.live.passing import is_passing
from seamless_assets.flows.ports import Ports

STEP_BARS = 5_000
"""Bars that are filled before those who follow may have them."""
BEYOND_BARS = 60
"""Bars after the end of a stream in which one is looked for that decides whether its last ones are there."""
NO_ANSWER = "no answer"


class Follower:
    """Fills a node from the open `start` on, for as long as it runs, to `until` and little further.

    Both are in epoch seconds. `is_resumed`: bars before `start` were told, and may have been corrected while
    nobody followed; where `until` is over nobody asks. `on_news` is called when there may be some,
    `on_proven` with the next bar where that is about to be stored; it says whether the bar is told then.
    `closed` is the end of closed time, `decided` that of the bars of which it is known whether there are
    any, `is_away` whether the last look had no answer, or a refusal, and `why_away` which of the two.
    """

    def __init__(
        self,
        ports: Ports,
        node: NodeId,
        start: int,
        on_news: Callable[[NodeId], None],
        on_proven: Callable[[NodeId, FinalCandle], bool],
        until: int | None = None,
        *,
        is_resumed: bool = False,
    ) -> None:
        self.node = node
        self._until = until
        self._reach = None if until is None else node.timeframe.shift(until, BEYOND_BARS)
        self.closed = self.decided = start
        self.is_away = True
        self.why_away = NO_ANSWER
        self.has_failed = False
        """Whether the last look was tried and had no answer; not so before the first one has ended."""
        self._ports, self._on_news, self._on_proven = ports, on_news, on_proven
        self._skew = 0.0
        self._is_known_to_be_served = False
        self._asked_for: int | None = None
        """The end of the newest bar that this process asked for and got."""
        self._next_at = 0.0
        self._resumed_at = start if is_resumed else None
        self._followed_until: int | None = None
        """The end of closed time at the last look that was not in vain."""
        self._is_streamed = self._is_looking = False
        self._complete_until = start
        """The end of the newest bar at which all that was missing had been asked for."""
        self._woken = asyncio.Event()
        self._stored: Segment | None = None
        """What the stream brought since the last look, where that is all there is to know."""
        self._told_until: int | None = None
        """The end of the newest bar that was told before it is stored."""

    def now(self) -> float:
        """The exchange's clock as far as it was asked, in epoch seconds."""
        return self._ports.clock.now() + self._skew

    @property
    def is_unheard(self) -> bool:
        """Whether nothing had an answer so far; not so while the first look finds what is missing."""
        return self.is_away and self._followed_until is None and self.decided == self._complete_until

    async def run(self) -> None:
        """Follow until cancelled. Raises `ExchangeRefused` and `StoreError` that no waiting mends."""
        refuse_derived(self._ports, self.node)
        feeds = self._ports.feeds
        self._is_streamed = feeds is not None and await feeds.is_streamed(self._ports, self.node)
        if feeds is None or not self._is_streamed:
            await self._run()
        else:
            async with feeds.following(self._ports, self.node, self._hear, on_proven=self._announce):
                await self._run()

    async def _run(self) -> None:
        while True:
            self._woken.clear()
            if not self._take_stored():
                self._is_looking = True
                await self._look_around()
                self._is_looking = False
            self._on_news(self.node)
            await self._wait()

    def _hear(self, stored: Segment | None) -> None:
        """Take note of what the stream brought; of several things at once nothing is known but that."""
        self._stored = None if self._woken.is_set() else stored
        self._woken.set()

    def _announce(self, candle: FinalCandle) -> bool:
        """Tell of a bar that is about to be stored, where nothing else is known to be new."""
        is_quiet = not (self.is_away or self._is_looking or self._woken.is_set())
        is_next = candle.ts == self.decided and self.closed in (candle.ts, candle.end)
        if not (is_quiet and is_next and self._on_proven(self.node, candle)):
            return False
        self._told_until = candle.end
        return True

    def _take_stored(self) -> bool:
        """Whether all that is new is what the stream has brought, right after what was decided."""
        stored, self._stored = self._stored, None
        if stored is None or self.is_away or not stored.start == self.decided == self.closed:
            return False
        self.closed = self.decided = self._complete_until = self._followed_until = stored.end
        return True

    async def _look_around(self) -> None:
        try:
            await self._ask_clock()
            await self._follow()
            self.is_away = self.has_failed = False
            self._followed_until = self.closed
        except SeamlessError as error:
            if not is_passing(error):
                raise
            self.is_away = self.has_failed = True
            self.why_away = f"refused: {error}" if isinstance(error, ExchangeRefused) else NO_ANSWER

    async def _ask_clock(self) -> None:
        source = self._ports.source
        if not self._is_known_to_be_served:
            await check_served(self._ports, self.node)
            self._is_known_to_be_served = True
        theirs = await source.exchange_now(self.node.exchange)
        self._skew = theirs - self._ports.clock.now()
        self.closed = max(self.closed, self.node.timeframe.floor(int(theirs)))

    async def _follow(self) -> None:
        """Fill what has closed, the oldest first; where nothing has, ask for corrections when it is time."""
        reach = self.closed if self._reach is None else min(self.closed, self._reach)
        if self.decided >= reach:
            # A feed holds the newest bars against REST by itself.
            is_due = self._asked_for == self.closed and self.now() >= self._next_at
            if is_due and not self._has_feed():
                newest = Segment(self.closed, self.closed)
                await self._look(Look(self.node, newest, self.closed, self._due(), again=True))
            return
        frame, closed = self.node.timeframe, self.closed
        if self._has_missed_looks():
            # They would have seen corrections of the last bars before.
            last = Segment(self.decided, self.decided)
            await self._look(Look(self.node, last, last.end, self._due(), again=True))
        while True:
            before, end = self.decided, min(reach, frame.shift(self.decided, STEP_BARS))
            window = Segment(before, end)
            is_decided = await decided_until(self._ports, self.node, window) == end
            is_for_stream = not is_decided and end == closed and self._awaits_stream()
            if not is_decided and not is_for_stream:
                await self._look(Look(self.node, window, closed, self._due()))
            if end == closed:
                if not is_for_stream:
                    self._complete_until = closed
                self.decided = await decided_until(self._ports, self.node, window)
                await self._explain(Segment(before, self.decided))
                return
            self.decided = end
            self._on_news(self.node)
            if end >= reach:
                return

    def _has_missed_looks(self) -> bool:
        """Whether bars closed of which nobody here took note, be it before this process began."""
        since = self._followed_until
        if since is None and (self._until is None or self._until > self.closed):
            since = self._resumed_at
        return since is not None and self.node.timeframe.count(since, self.closed) >= RECENT_BARS

    def _awaits_stream(self) -> bool:
        """Whether the newest bar is still to come by the node's stream, and nothing before it is missing."""
        patience = TOLD_WAIT_S if self._told_until == self.closed else STREAM_WAIT_S
        return (
            self._has_feed()
            and self.node.timeframe.shift(self.closed, -1) <= self._complete_until
            and self.now() < self.closed + patience
        )

    def _looks(self) -> Sequence[float]:
        """Seconds from a close to the looks at its bar."""
        feeds = self._ports.feeds
        if feeds is None or not self._is_streamed:
            return LOOKS_S
        return OWN_STREAM_LOOKS_S if feeds.is_heard_here(self.node) else STREAMED_LOOKS_S

    def _has_feed(self) -> bool:
        """Whether the node's stream is followed, and stable."""
        feeds = self._ports.feeds
        return self._is_streamed and feeds is not None and feeds.is_awaited(self.node)

    async def _explain(self, decided: Segment) -> None:
        """Look into long holes that new bars have followed by now."""
        if not decided.is_empty:
            known = await coverage(self._ports, self.node, decided)
            for gap in known.missing_gaps:
                if self.node.timeframe.count(*gap.segment) >= RECENT_BARS and gap.start == decided.start:
                    await self._look(Look(self.node, gap.segment, self.closed, self._due(), afresh=True))

    async def _look(self, wanted: Look) -> None:
        """Raise `ExchangeUnavailable` where there was no answer."""
        # Those who follow wait for the newest bars, and for years of history nobody does.
        with urgently() if wanted.is_newest else nullcontext():
            found = await look(self._ports, wanted)
        for filled in found:
            if filled.away is not None:
                raise filled.away
            if filled.asked and wanted.window.end >= self.closed:
                self._asked_for = self.closed

    def _due(self) -> float:
        """When the look that is due now became so, on our clock."""
        return last_look(self.node.timeframe, self.closed, self.now()) - self._skew

    async def _wait(self) -> None:
        """Wait for the next instant at which there may be something to ask for, or to be told of."""
        frame, now = self.node.timeframe, self.now()
        closed = max(self.closed, frame.floor(int(now)))
        if self.decided < closed or self.is_away:
            self._next_at = next_look(frame, closed, now, self._looks())
        else:
            self._next_at = next_correction(frame, closed, now, self._looks()[0])
        jitter = self._ports.rng.random() * JITTER_S
        while not self._woken.is_set() and (left := self._next_at - self.now()) > 0:
            await self._sleep(min(left + jitter, LONGEST_WAIT_S))
            if self._next_at - self.now() > 0 and not self._woken.is_set():
                await self._heed_clock()
                if self.decided < self.closed:
                    self._on_news(self.node)

    async def _sleep(self, seconds: float) -> None:
        """Sleep, but no longer than until the stream has brought bars."""
        if not self._is_streamed:
            await self._ports.clock.sleep(seconds)
            return
        ways = [
            asyncio.ensure_future(self._ports.clock.sleep(seconds)),
            asyncio.ensure_future(self._woken.wait()),
        ]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.wait(ways)

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
            self._next_at = max(self.now(), self.closed + self._looks()[0])
