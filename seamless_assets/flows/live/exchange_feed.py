"""What feeds have in common in this process: of one exchange how stable its stream is, and its clock."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace

from seamless_assets.aio.priority import Slots, on_its_own
from seamless_assets.aio.shield import shielded
from seamless_assets.aio.single_flight import SingleFlight
from seamless_assets.aio.timing import monotonic
from seamless_assets.core.calendar.segment import Segment
from seamless_assets.core.calendar.timeframe import Timeframe
from seamless_assets.core.live.feed.finality import FinalCandle
from seamless_assets.core.live.feed.stability import Stability
from seamless_assets.core.live.schedule import LONGEST_WAIT_S
from seamless_assets.core.sharing.events import StreamEvent
from seamless_assets.errors import BudgetUnavailable, ExchangeError, SeamlessError
from seamless_assets.flows.live.burst import Burst
from seamless_assets.flows.live.passing import is_passing
from seamless_assets.flows.ports import Ports
from seamless_assets.flows.sharing.quota import LeaseQuota

CLOCK_AGE_S = 2.0
"""How long an exchange's clock is reckoned on from the last time it was asked."""
DOUBTED_CLOCK_AGE_S = 0.2
"""The same where something came that it says cannot be."""

ASKED_TOGETHER_S = 10.0
"""An answer that takes longer is waited for by nobody else."""
CLOCK_SLACK_S = 0.02
"""What lies so little ahead of the exchange's clock does not: its answer was on its way for as long."""
MAX_CLOCK_SLACK_S = 0.2
"""The same where it was known to be on its way for longer, at most."""
CLOCK_BEFORE_CLOSE_S = 1.0
"""The exchange's clock is asked so long before a bar closes, so that its mark waits for no answer."""
CLOCK_AGE_BEFORE_CLOSE_S = 0.5
"""An answer that is older by then is too old when the mark comes."""


STORED_AT_ONCE = 128
"""Bars of one exchange that are stored at once: each round of them waits for the stores a few times."""


class FeedQuota(LeaseQuota):
    """Leases of feeds are held for as long as somebody follows them, beside those of fills."""

    longest_wait_s = 10.0

    def slots(self, key: str) -> Slots:
        """As many as there are feeds."""
        return Slots(1, 0)


class StoringQuota(LeaseQuota):
    """Leases under which feeds store what closes: of many nodes in one moment, and fills keep their own."""

    def __init__(self) -> None:
        super().__init__()
        self._storing = Slots(STORED_AT_ONCE, 0)

    def slots(self, key: str) -> Slots:
        """The same for all that is stored."""
        return self._storing


@dataclass(frozen=True, slots=True)
class FeedListener:
    """What is called when a feed has brought bars, at each word of its stream, and before a bar is stored.

    The first takes the range that was stored, whole, None where there is more to know. The last says whether
    anybody tells of the bar, which is then stored when no more of them come.
    """

    on_bars: Callable[[Segment | None], None]
    on_update: Callable[[], None]
    on_proven: Callable[[FinalCandle], bool]


@dataclass
class _Heeded:
    """A timeframe whose closes are heeded: how many feeds do, and the task that asks for all of them.

    `answered` is set when anybody has asked.
    """

    asking: asyncio.Task[None]
    answered: asyncio.Event
    feeds: int = 0


@dataclass
class ExchangeFeed:
    """One exchange's stream. Events in `woken` are set when it begins to cool down."""

    exchange: str
    woken: list[asyncio.Event] = field(default_factory=list)
    told: Burst = field(default_factory=Burst)
    """Where feeds wait that have told a bar before it is stored."""
    storing: StoringQuota = field(default_factory=StoringQuota)
    _stability: Stability = field(default_factory=Stability)
    _is_streaming: bool = False
    _ahead: float | None = None
    """How far its clock is ahead of the one that nobody sets."""
    _asked_at: float = 0.0
    _answered_in: float = 0.0
    _asking: SingleFlight = field(default_factory=lambda: SingleFlight(monotonic, ASKED_TOGETHER_S))
    _heeded: dict[Timeframe, _Heeded] = field(default_factory=dict)

    @property
    def cools_for(self) -> float:
        """Seconds for which the stream is left alone from now on; 0 where it is not."""
        return max(0.0, self._stability.cools_until - monotonic())

    async def now(self, ports: Ports, max_age: float = CLOCK_AGE_S) -> float:
        """The exchange's clock, however ours is set meanwhile, asked within `max_age` seconds.

        Raises `ExchangeError` or `BudgetUnavailable` where it was never told.
        """
        ahead = self._ahead
        if ahead is None or monotonic() - self._asked_at > max_age:
            ahead = await self._asking.do(self.exchange, lambda: self._ask(ports))
        return monotonic() + ahead

    async def _ask(self, ports: Ports) -> float:
        began = monotonic()
        try:
            theirs = await ports.source.exchange_now(self.exchange)
        except SeamlessError as error:
            if self._ahead is None or not is_passing(error):
                raise
        else:
            self._ahead, self._answered_in = theirs - monotonic(), monotonic() - began
        self._asked_at = monotonic()
        for heeded in self._heeded.values():
            heeded.answered.set()
        return self._ahead

    @asynccontextmanager
    async def heeding_closes(self, ports: Ports, frame: Timeframe) -> AsyncGenerator[None, None]:
        """Have the clock asked shortly before each close of a timeframe while the body works.

        Once for all feeds, while none of them does anything: an answer that waits until they have worked is
        taken for a slow clock.
        """
        heeded = self._heeded.get(frame)
        if heeded is None:
            answered, (_, context) = asyncio.Event(), on_its_own(is_urgent=True)
            work = self._ask_before_closes(ports, frame, answered)
            heeded = self._heeded[frame] = _Heeded(asyncio.create_task(work, context=context), answered)
        heeded.feeds += 1
        try:
            yield
        finally:
            heeded.feeds -= 1
            if not heeded.feeds:
                del self._heeded[frame]
                heeded.asking.cancel()
                await shielded(asyncio.ensure_future(asyncio.wait({heeded.asking})))

    async def _ask_before_closes(self, ports: Ports, frame: Timeframe, answered: asyncio.Event) -> None:
        """Ask so that the answer is new at each close. By any other answer that may be at another time."""
        while True:
            try:
                now = await self.now(ports)
                left = _next_before_close(frame, now) - now
                answered.clear()
                with suppress(TimeoutError):
                    async with asyncio.timeout(min(left, LONGEST_WAIT_S)):
                        await answered.wait()
                        continue
                if left <= LONGEST_WAIT_S:
                    await self.now(ports, CLOCK_AGE_BEFORE_CLOSE_S)
            except (BudgetUnavailable, ExchangeError):
                # A feed that needs the clock asks for it itself, and hears why it cannot be had.
                await ports.clock.sleep(LONGEST_WAIT_S)

    def reckoned_now(self, max_age: float = CLOCK_AGE_S) -> float | None:
        """The same where it was asked within `max_age` seconds, else None."""
        now = monotonic()
        return None if self._ahead is None or now - self._asked_at > max_age else now + self._ahead

    @property
    def slack(self) -> float:
        """How far it may be ahead of what is reckoned: the last answer may be as old as it was awaited."""
        return min(max(CLOCK_SLACK_S, self._answered_in), MAX_CLOCK_SLACK_S)

    def streams(self, ports: Ports) -> None:
        """Take note that something came by it."""
        if not self._is_streaming:
            self._is_streaming = True
            ports.observer.notify(StreamEvent("streams", self.exchange))

    def fault(self, ports: Ports, what: str, reason: str = "") -> None:
        """Count a fault; where there are too many, the stream is left alone for a while."""
        ports.observer.notify(StreamEvent("fault", self.exchange, what, reason=reason))
        if not self._stability.fault(monotonic()):
            return
        self._is_streaming = False
        ports.observer.notify(
            StreamEvent("cools", self.exchange, what, seconds=self.cools_for, reason=reason)
        )
        for event in self.woken:
            event.set()


def _next_before_close(frame: Timeframe, now: float) -> float:
    """When the exchange's clock is asked next for the sake of a mark."""
    return frame.ceil(int(now + CLOCK_BEFORE_CLOSE_S) + 1) - CLOCK_BEFORE_CLOSE_S


def with_lease_ttl(ports: Ports, ttl_ms: float) -> Ports:
    """The same with leases that last so long at most."""
    return replace(ports, policy=replace(ports.policy, lease_ttl_ms=min(ports.policy.lease_ttl_ms, ttl_ms)))
