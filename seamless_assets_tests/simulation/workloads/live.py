"""The live workload: processes follow the same nodes while bars close, and everything goes wrong.

What a process reads it writes down, event and cursor at once; after a crash another goes on from there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextvars import Context
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from random import Random
from typing import Any

from seamless_assets.core.calendar.segment import Segment
from seamless_assets.core.live.events import Bar, Event, Filled, Gap, Revised
from seamless_assets.core.live.request import StreamRequest
from seamless_assets.core.node import NodeId
from seamless_assets.core.sharing.policy import Policy
from seamless_assets.flows.live.subscribe import subscribe_in_batches
from seamless_assets.flows.ports import Ports
from seamless_assets.testing import DAY, START
from seamless_assets_tests.simulation.cluster import Cluster
from seamless_assets_tests.simulation.faults import FaultInjector, FaultRates, Trace
from seamless_assets_tests.simulation.invariants import Backfilled, violations_of
from seamless_assets_tests.simulation.market import Market
from seamless_assets_tests.simulation.process import Process
from seamless_assets_tests.simulation.scheduler import SeededLoop
from seamless_assets_tests.simulation.simulation import Simulation
from seamless_assets_tests.simulation.worker_pool import WorkerPool
from seamless_assets_tests.simulation.workloads.fetch import drawn_rates

BEGIN = START + 10 * DAY
NOW = BEGIN + 7
AROUND = 30
"""Bars before and after those that are wanted."""
DEADLINE_S = 40_000.0
POLICY = Policy(
    retry_backoff_ms=200,
    max_attempts=3,
    jitter_ratio=0.5,
    window_bars=20,
    lease_ttl_ms=15_000,
    live_lease_ttl_ms=15_000,
)


@dataclass(frozen=True, slots=True)
class Scale:
    """How much of everything there is: `history` bars have closed, `closing` ones are awaited."""

    nodes: int
    processes: int
    history: int
    closing: int

    @classmethod
    def drawn(cls, rng: Random) -> Scale:
        """A small one: many different runs find more than long ones do."""
        return cls(
            nodes=rng.choice([1, 1, 1, 1, 2]),
            processes=rng.choice([1, 2, 2, 2, 3]),
            history=rng.randint(1, 4),
            closing=rng.choice([2, 2, 3, 3, 4, 6]),
        )

    @property
    def window(self) -> Segment:
        """What all processes want."""
        return Segment(BEGIN - self.history * 60, BEGIN + self.closing * 60)

    @property
    def span(self) -> Segment:
        """Of which there are bars."""
        return Segment(self.window.start - AROUND * 60, self.window.end + AROUND * 60)

    @property
    def names(self) -> tuple[NodeId, ...]:
        """Of which nodes."""
        return tuple(NodeId.parse(f"ohlcv:binance:C{number}/USDT:1m") for number in range(self.nodes))

    @property
    def trouble_s(self) -> float:
        """So long things go wrong."""
        return self.closing * 60.0 - 60.0


@dataclass
class Journal:
    """What one slot has read so far, whichever process it was: it outlives them.

    It is busy with an early bar for `busy_s` before it asks for more, or takes none early.
    """

    busy_s: float
    takes_early: bool
    cursor: str | None = None
    events: list[Event] = field(default_factory=list)


class LiveWorkload(Simulation):
    """One seeded run. Without `rates` the seed draws them; `kept` lines of its trace are kept (None: all)."""

    def __init__(self, seed: int, rates: FaultRates | None = None, kept: int | None = 0) -> None:
        rng = Random(f"live {seed}")
        self.scale = scale = Scale.drawn(rng)
        self.nodes, self.window, self.revising_s = scale.names, scale.window, scale.trouble_s
        self.violations = []
        self.trace = Trace(kept)
        self.loop = SeededLoop(Random(rng.random()), NOW)
        self.deadline = NOW + DEADLINE_S
        self.rates = rates or drawn_rates(rng)
        self.injector = FaultInjector(self.loop, Random(rng.random()), self.rates, self.trace)
        self.market = Market(self.loop, Random(rng.random()), self.nodes, scale.span)
        self.market.refusing = self.rates.refuse
        self.cluster = Cluster(self.loop, self.market, POLICY, budget_fails=rng.random() < 0.2)
        self.injector.expire_lease = self._expire
        self.journals = [Journal(slot % 2, slot != 2) for slot in range(scale.processes)]
        self.pool = WorkerPool(
            self.loop,
            Random(rng.random()),
            self.injector,
            self.cluster.machine,
            scale.processes,
            self._share,
            self.violations,
        )
        self._rng = rng

    def _ports(self, process: Process) -> Ports:
        return self.cluster.ports(process, self.injector)

    async def _share(self, process: Process) -> None:
        ports, journal = self._ports(process), self.journals[process.slot]
        await self.pool.retry(process, partial(self._read_on, ports, journal))

    async def _read_on(self, ports: Ports, journal: Journal) -> bool:
        since: Any = journal.cursor or self.window.start
        request = StreamRequest.parse(self.nodes, since, self.window.end, None, 120.0)
        early: list[Sequence[Event]] = []

        def tell_early(told: Sequence[Event], go_on: Callable[[], None]) -> bool:
            if not journal.takes_early:
                return False
            early.append(told)
            self._write_down(ports, journal, told)
            self.loop.call_later(journal.busy_s, go_on)
            return True

        stream = subscribe_in_batches(ports, request, tell_early=tell_early)
        try:
            async for told in stream:
                if not early:
                    self._write_down(ports, journal, told)
                elif told is not early.pop():
                    self.violations.append(f"{ports.worker}: something else was told after an early bar")
        finally:
            await stream.aclose()
        return True

    def _write_down(self, ports: Ports, journal: Journal, told: Sequence[Event]) -> None:
        for event in told:
            self.violations += [f"{ports.worker}: {what}" for what in self._wrong_now(event)]
            journal.events.append(event)
            journal.cursor = event.cursor

    def _wrong_now(self, event: Event) -> Iterator[str]:
        """What is wrong with an event at the moment at which it is told."""
        now, node = self.loop.time(), NodeId.parse(event.node_id)
        if isinstance(event, Bar | Filled | Revised):
            if event.end > now:
                yield f"{event} was told before it closed"
            if event.values not in self.market.values(node, event.ts):
                yield f"{event} has values that it never had when closed"
        if isinstance(event, Gap):
            opens = self.market.series[node]
            there = [ts for ts in opens if event.start <= ts < event.end]
            if event.reason != "missing" and there:
                yield f"{event} denies the bars {there[:3]}"
            # A bar that forms is a trade, which may prove what was before it.
            following = now - 60 if event.reason == "missing" else now
            if not any(event.end <= ts < following for ts in opens):
                yield f"{event} was told though nothing follows: silence is no proof"

    def check(self) -> None:
        """Check what was left behind, and what each slot has read."""
        windows = dict.fromkeys(self.nodes, self.window)
        self.violations += violations_of(
            Backfilled(self.cluster, self.rates, windows, NOW, self.pool.crashed)
        )
        for slot, journal in enumerate(self.journals):
            for node in self.nodes:
                emitted = [event for event in journal.events if event.node_id == str(node)]
                self.violations += [f"slot {slot}: {what}" for what in self._wrong_in(node, emitted)]
        if self.rates and not any(self.rates.chances.values()):
            self.violations += self._wasted()

    def _wrong_in(self, node: NodeId, emitted: list[Event]) -> Iterator[str]:
        """What is wrong with all that was read of a node."""
        bars: dict[int, Any] = {}
        last = -1
        for event in emitted:
            if isinstance(event, Bar):
                if event.ts <= last:
                    yield f"{event} is out of order"
                last = event.ts
            if isinstance(event, Bar | Filled) and event.ts in bars:
                yield f"{event} was told twice"
            if isinstance(event, Revised) and bars.get(event.ts) != event.before:
                yield f"{event} was told twice, or corrects what was not told"
            if isinstance(event, Bar | Filled | Revised):
                bars[event.ts] = event.values
        window = range(*self.window)
        truth = {ts: row for ts, row in self.market.series[node].items() if ts in window}
        if lost := [ts for ts in truth if ts not in bars]:
            yield f"{node}: bars {lost[:3]} were never told"
        elif stale := [ts for ts in truth if bars[ts] != truth[ts]]:
            yield f"{node}: bars {stale[:3]} were corrected, and that was not told"

    def _wasted(self) -> Iterator[str]:
        """Where nothing went wrong, three processes ask for no more than one would."""
        asked = len(self.market.requests)
        bars = self.nodes[0].timeframe.count(*self.window)
        quiet = sum(self._quiet(node) for node in self.nodes)
        pages = -(-50 // (self.market.page - 2))
        if asked > (pages + 1) * (len(self.nodes) * bars + 6 * quiet):
            yield f"{asked} requests were made although nothing went wrong"

    def _quiet(self, node: NodeId) -> int:
        """Bars without trades: those of the window, and those after it until one tells of its last ones."""
        traded = self.market.series[node]
        following = next(ts for ts in count(self.window.end, 60) if ts in traded)
        return sum(ts not in traded for ts in range(self.window.start, following, 60))

    def schedule(self) -> None:
        self.loop.call_later(self.scale.trouble_s, self._stop, context=Context())
        for _ in range(4):
            after = self._rng.uniform(0, self.revising_s)
            # Where nothing may be corrected so late that nobody looks, nothing is.
            if after < self.revising_s:
                self.loop.call_later(after, self.market.revise, context=Context())

    def _expire(self, rng: Random) -> None:
        rng.choice(self.cluster.lease_stores).expire_one(rng)

    def _stop(self) -> None:
        self.injector.stop()
        self.market.refusing = 0.0
