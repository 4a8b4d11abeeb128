"""The fetch workload: many processes backfill the same nodes while everything goes wrong."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextvars import Context
from functools import partial
from random import Random

from seamless_assets.core.calendar.segment import Segment
from seamless_assets.core.coverage.ledger import Fact
from seamless_assets.core.coverage.plan import chunk_bars
from seamless_assets.core.node import NodeId
from seamless_assets.core.sharing.lease import chunks
from seamless_assets.core.sharing.policy import Policy
from seamless_assets.flows.filling.backfill import backfill, refill
from seamless_assets.flows.filling.prove import BOTH_SIDES
from seamless_assets.flows.ports import Ports
from seamless_assets.testing import DAY, START
from seamless_assets_tests.simulation.cluster import Cluster
from seamless_assets_tests.simulation.disasters import Disasters
from seamless_assets_tests.simulation.faults import FaultInjector, FaultRates, Trace
from seamless_assets_tests.simulation.hot_store import RecordingHotStore
from seamless_assets_tests.simulation.invariants import Backfilled, violations_of
from seamless_assets_tests.simulation.market import BELIEVED_PAGE, Market
from seamless_assets_tests.simulation.process import Process
from seamless_assets_tests.simulation.scheduler import SeededLoop
from seamless_assets_tests.simulation.simulation import Simulation
from seamless_assets_tests.simulation.worker_pool import WorkerPool

NODES = tuple(NodeId.parse(f"ohlcv:binance:C{number}/USDT:1m") for number in range(20))
PROCESSES = 8
NOW = START + 10 * DAY
BARS = 32
HALF = 12
GROWING = 3
"""So many nodes have a window that ends in the future: its last bars form while the processes run."""
SPAN = Segment(NOW - 80 * 60, NOW + 60 * 60)
TROUBLE_S = 400.0
"""So long things go wrong."""
COMPLETE_WITHIN_S = 4 * 3_600.0
"""Liveness: so long after that every process has all bars of all nodes, whatever happened before."""
LONGEST_OUTAGE_S = 60.0
DEADLINE_S = TROUBLE_S + COMPLETE_WITHIN_S
POLICY = Policy(retry_backoff_ms=200, max_attempts=4, jitter_ratio=0.5, window_bars=20, lease_ttl_ms=15_000)

CHUNK = chunk_bars(BELIEVED_PAGE, POLICY.window_bars)


class FetchWorkload(Simulation):
    """One seeded run. Without `rates` the seed draws them; `kept` lines of its trace are kept (None: all)."""

    has_disasters = False

    def __init__(self, seed: int, rates: FaultRates | None = None, kept: int | None = 0) -> None:
        rng = Random(f"fetch {seed}")
        self.violations = []
        self.trace = Trace(kept)
        self.loop = SeededLoop(Random(rng.random()), NOW)
        self.deadline = NOW + DEADLINE_S
        self.rates = rates or drawn_rates(rng)
        self.injector = FaultInjector(self.loop, Random(rng.random()), self.rates, self.trace)
        fate = Random(f"disasters {seed}") if self.has_disasters else None
        self.market = Market(self.loop, Random(rng.random()), NODES, SPAN, disorder=fate)
        self.market.refusing = self.rates.refuse
        self.cluster = Cluster(
            self.loop,
            self.market,
            POLICY,
            budget_fails=rng.random() < 0.3,
            exchange_slowness=rng.choice([1.0, 30.0]),
            hot_stores=fate.choice([1, 2]) if fate else 1,
        )
        for store in self.cluster.hot_stores:
            store.on_fact = self._look_at
        self.disasters = Disasters(self.cluster, fate, self.trace)
        self.injector.expire_lease = self._expire
        self.pool = WorkerPool(
            self.loop,
            Random(rng.random()),
            self.injector,
            self.cluster.machine,
            PROCESSES,
            self._share,
            self.violations,
        )
        self.windows = {node: window_of(node) for node in NODES}
        self._rng = rng

    async def _share(self, process: Process) -> None:
        """Fill all nodes; where bars were lost meanwhile, once more when that is over."""
        ports = self.cluster.ports(process, self.injector)
        await self._fill_all(process, ports)
        if self.disasters.takes_bars:
            await ports.clock.sleep(max(0.0, NOW + TROUBLE_S - self.loop.time()))
            await self._fill_all(process, ports)

    async def _fill_all(self, process: Process, ports: Ports) -> None:
        """Two journeys at once, which share some nodes, so that one process wants the same twice."""
        order = process.rng.sample(NODES, len(NODES))
        halves = order[:HALF], order[-HALF:]

        async def fill(left: list[NodeId]) -> bool:
            while left:
                if not await self._fill(ports, left[-1]):
                    left.insert(0, left.pop())
                    return False
                left.pop()
            return True

        await asyncio.gather(*(self.pool.retry(process, partial(fill, list(half))) for half in halves))

    async def _fill(self, ports: Ports, node: NodeId) -> bool:
        report = await backfill(ports, node, self.windows[node])
        return report.coverage.missing == 0 and report.coverage.expected == BARS

    def check(self) -> None:
        """Check what is left; then, in peace, a new look brings the newest values of what was corrected."""
        self.violations += violations_of(
            Backfilled(self.cluster, self.rates, self.windows, NOW, self.pool.crashed, self.disasters.kinds)
        )
        self.disasters.end()
        self.market.is_revising = False
        corrected = [node for node in NODES if node in self.market.corrected]
        for slot, store in enumerate(self.cluster.hot_stores):
            self.in_peace(lambda inspector: self._refilled(inspector, corrected), DEADLINE_S, slot)
            for node in corrected:
                held, (start, end) = store.bars[node], self.windows[node]
                newest = {ts: row for ts, row in self.market.series[node].items() if start <= ts < end}
                if stale := [ts for ts, row in newest.items() if held.get(ts) != row]:
                    self.violations.append(
                        f"{node}: bars {stale[:3]} were corrected, and a new look did not bring it"
                    )

    async def _refilled(self, inspector: Process, nodes: Sequence[NodeId]) -> None:
        ports = self.cluster.ports(inspector, self.injector)
        for node in nodes:
            await refill(ports, node, self.windows[node], self.windows[node].end)

    def _look_at(self, store: RecordingHotStore, node: NodeId, fact: Fact) -> None:
        """A proof names bars of one page on both sides; those of its chunk must be stored by now.

        Trades tell of a bar before it is closed.
        """
        if fact.evidence != BOTH_SIDES or self.disasters.takes_bars:
            return
        (chunk, *_) = chunks(node.timeframe, Segment(fact.start, fact.end), CHUNK)
        window = self.windows[node].intersect(chunk)
        opens = [ts for ts in self.market.history[node] if window.start <= ts < window.end]
        beside = [ts for ts in opens if ts < fact.start][-1:] + [ts for ts in opens if ts >= fact.end][:1]
        if any(ts not in store.bars.get(node, {}) for ts in beside):
            self.violations.append(f"{node}: {fact} stands without its bars")

    def schedule(self) -> None:
        self.disasters.schedule(TROUBLE_S)
        self.loop.call_later(TROUBLE_S, self._stop, context=Context())
        for _ in range(4):
            self.loop.call_later(self._rng.uniform(0, TROUBLE_S), self.market.revise, context=Context())
        # Most requests go out in the beginning, so there the budget is missed most.
        for latest in (0.0, TROUBLE_S / 4) if self.cluster.budget_fails else ():
            at, seconds = self._rng.uniform(0, latest), self._rng.uniform(0, LONGEST_OUTAGE_S)
            self.loop.call_later(at, self._take_the_budget_away, seconds, context=Context())

    def _expire(self, rng: Random) -> None:
        rng.choice(self.cluster.lease_stores).expire_one(rng)

    def _take_the_budget_away(self, seconds: float) -> None:
        self.cluster.budget.is_away = True
        self.loop.call_later(seconds, setattr, self.cluster.budget, "is_away", False, context=Context())

    def _stop(self) -> None:
        self.injector.stop()
        self.market.refusing = 0.0


class FetchDisastersWorkload(FetchWorkload):
    """The same amid disasters, with pages in any order."""

    has_disasters = True


def window_of(node: NodeId) -> Segment:
    """The window that every process wants of `node`: `BARS` bars."""
    end = NOW + 3 * 60 if node in NODES[:GROWING] else NOW - 4 * 60
    return Segment(end - BARS * 60, end)


def drawn_rates(rng: Random) -> FaultRates:
    """Rates that differ from seed to seed: some runs are calm, some are wild."""
    wildness = rng.choice([0.0, 0.3, 1.0, 3.0])

    def chance() -> float:
        return wildness * rng.choice([0.0, 0.001, 0.004])

    return FaultRates(
        crash=chance() / 2,
        cancel=chance(),
        stall=chance(),
        jump=chance(),
        refuse=chance() * 2,
        lose=chance() * 2,
        expire=chance(),
        freeze=rng.choice([0.0, 0.0, wildness * 0.004]),
        latency=rng.choice([0.01, 0.1, 0.5]),
    )
