"""The fetch run: many workers backfill the same nodes while everything goes wrong; then it is judged."""

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
from seamless_assets.flows.ports import Ports
from seamless_assets.testing.twins import DAY, START
from seamless_assets_tests.simulation.crew import Crew
from seamless_assets_tests.simulation.exchange import BELIEVED_PAGE, Exchange
from seamless_assets_tests.simulation.fate import MOST_LATENCIES, Fate, Odds, Trace, Worker
from seamless_assets_tests.simulation.judging import judged
from seamless_assets_tests.simulation.loop import SimLoop
from seamless_assets_tests.simulation.ports import BUDGET_SLOWNESS, Shared
from seamless_assets_tests.simulation.seeded import SeededRun

NODES = tuple(NodeId.parse(f"ohlcv:binance:C{number}/USDT:1m") for number in range(20))
WORKERS = 8
NOW = START + 10 * DAY
BARS = 32
HALF = 12
GROWING = 3
"""So many nodes have a window that ends in the future: its last bars form while the workers run."""
SPAN = Segment(NOW - 80 * 60, NOW + 60 * 60)
TROUBLE_S = 400.0
LONGEST_OUTAGE_S = 60.0
DEADLINE_S = 40_000.0
POLICY = Policy(retry_backoff_ms=200, max_attempts=4, jitter_ratio=0.5, window_bars=20, lease_ttl_ms=15_000)

CHUNK = chunk_bars(BELIEVED_PAGE, POLICY.window_bars)


class FetchRun(SeededRun):
    """One seeded run. Without `odds` the seed draws them; `kept` lines of its trace are kept (None: all)."""

    def __init__(self, seed: int, odds: Odds | None = None, kept: int | None = 0) -> None:
        rng = Random(f"fetch {seed}")
        self.faults: list[str] = []
        self.trace = Trace(kept)
        self.loop = SimLoop(Random(rng.random()), NOW)
        self.deadline = NOW + DEADLINE_S
        self.odds = odds or drawn_odds(rng)
        self.fate = Fate(self.loop, Random(rng.random()), self.odds, self.trace)
        self.exchange = Exchange(self.loop, Random(rng.random()), NODES, SPAN)
        self.exchange.refusing = self.odds.refuse
        self.shared = Shared(
            self.exchange,
            POLICY,
            self.loop.time,
            budget_fails=rng.random() < 0.3,
            exchange_slowness=rng.choice([1.0, 30.0]),
        )
        self.shared.hot.on_fact = self._look_at
        self.fate.expire_lease = self._expire
        self.crew = Crew(self.loop, Random(rng.random()), self.fate, WORKERS, self._shift, self.faults)
        self.began = float(NOW)
        self.windows = {node: window_of(node) for node in NODES}
        self._rng = rng

    @property
    def is_calm(self) -> bool:
        """Whether nothing goes wrong but slowness."""
        return not any(self.odds.scaled(1.0).values())

    @property
    def slack(self) -> float:
        """How late, in seconds, a request may use its place, or hear of a cool-down."""
        return 4 * BUDGET_SLOWNESS * MOST_LATENCIES * self.odds.latency

    async def _shift(self, worker: Worker) -> None:
        """Two journeys at once, which share some nodes, so that one process wants the same twice."""
        ports = self.shared.ports(worker, self.fate)
        order = worker.rng.sample(NODES, len(NODES))
        halves = order[:HALF], order[-HALF:]

        async def fill_all(left: list[NodeId]) -> bool:
            while left:
                if not await self._fill(ports, left[-1]):
                    left.insert(0, left.pop())
                    return False
                left.pop()
            return True

        await asyncio.gather(*(self.crew.insist(worker, partial(fill_all, list(half))) for half in halves))

    async def _fill(self, ports: Ports, node: NodeId) -> bool:
        report = await backfill(ports, node, self.windows[node])
        return report.coverage.missing == 0 and report.coverage.expected == BARS

    def judge(self) -> None:
        """Judge what is left; then, in peace, a new look brings the newest values of what was corrected."""
        self.faults += judged(self)
        self.exchange.refusing = 0.0
        self.exchange.is_revising = False
        corrected = [node for node in NODES if node in self.exchange.corrected]
        self.in_peace(lambda inspector: self._refilled(inspector, corrected), DEADLINE_S)
        for node in corrected:
            held, (start, end) = self.shared.hot.bars[node], self.windows[node]
            newest = {ts: rows[-1] for ts, rows in self.exchange.bars[node].items() if start <= ts < end}
            if stale := [ts for ts, row in newest.items() if held.get(ts) != row]:
                self.faults.append(
                    f"{node}: bars {stale[:3]} were corrected, and a new look did not bring it"
                )

    async def _refilled(self, inspector: Worker, nodes: Sequence[NodeId]) -> None:
        ports = self.shared.ports(inspector, self.fate)
        for node in nodes:
            await refill(ports, node, self.windows[node], self.windows[node].end)

    def _look_at(self, node: NodeId, fact: Fact) -> None:
        """A proof names bars of one page on both sides; those of its chunk must be stored by now."""
        if fact.reason != "no_trades":
            return
        (chunk, *_) = chunks(node.timeframe, Segment(fact.start, fact.end), CHUNK)
        window = self.windows[node].intersect(chunk)
        opens = [ts for ts in self.exchange.bars[node] if window.start <= ts < window.end]
        beside = [ts for ts in opens if ts < fact.start][-1:] + [ts for ts in opens if ts >= fact.end][:1]
        if any(ts not in self.shared.hot.bars.get(node, {}) for ts in beside):
            self.faults.append(f"{node}: {fact} stands without its bars")

    def schedule(self) -> None:
        self.loop.call_later(TROUBLE_S, self._calm_down, context=Context())
        for _ in range(4):
            self.loop.call_later(self._rng.uniform(0, TROUBLE_S), self.exchange.revise, context=Context())
        # Most requests go out in the beginning, so there the budget is missed most.
        for latest in (0.0, TROUBLE_S / 4) if self.shared.budget_fails else ():
            at, seconds = self._rng.uniform(0, latest), self._rng.uniform(0, LONGEST_OUTAGE_S)
            self.loop.call_later(at, self.shared.budget.leave, seconds, context=Context())

    def _expire(self, rng: Random) -> None:
        rng.choice([self.shared.leases, *self.shared.machine_leases]).expire(rng)

    def _calm_down(self) -> None:
        self.fate.calm_down()
        self.exchange.refusing = 0.0


def window_of(node: NodeId) -> Segment:
    """The window that every worker wants of `node`: `BARS` bars."""
    end = NOW + 3 * 60 if node in NODES[:GROWING] else NOW - 4 * 60
    return Segment(end - BARS * 60, end)


def drawn_odds(rng: Random) -> Odds:
    """Odds that differ from seed to seed: some runs are calm, some are wild."""
    wildness = rng.choice([0.0, 0.3, 1.0, 3.0])

    def chance() -> float:
        return wildness * rng.choice([0.0, 0.001, 0.004])

    return Odds(
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
