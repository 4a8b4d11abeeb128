"""The governance workload: many processes publish, release, undo, merge and clean up."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator
from contextlib import suppress
from contextvars import Context
from dataclasses import replace
from random import Random

from seamless_assets.core.calendar.segment import Segment
from seamless_assets.core.calendar.watermark import watermark
from seamless_assets.core.node import NodeId
from seamless_assets.core.releases.release import LOG_FOLDER
from seamless_assets.core.releases.supersession import awaiting, by_path
from seamless_assets.core.sharing.policy import Policy
from seamless_assets.errors import NothingReleased
from seamless_assets.flows.ports import Ports
from seamless_assets.flows.releasing.clean_up import clean_up
from seamless_assets.flows.releasing.govern import unpin, unreleased
from seamless_assets.flows.releasing.materialize import materialize
from seamless_assets.flows.releasing.verify import verify
from seamless_assets.testing import DAY, START, bars_table
from seamless_assets_tests.simulation.cluster import Cluster
from seamless_assets_tests.simulation.disasters import Disasters
from seamless_assets_tests.simulation.faults import FaultInjector, FaultRates, Trace
from seamless_assets_tests.simulation.market import Market, Row
from seamless_assets_tests.simulation.process import Process
from seamless_assets_tests.simulation.scheduler import SeededLoop
from seamless_assets_tests.simulation.simulation import Simulation
from seamless_assets_tests.simulation.witness import ReleaseWitness
from seamless_assets_tests.simulation.worker_pool import WorkerPool
from seamless_assets_tests.simulation.workloads.operations import Operations

NODES = (NodeId.parse("ohlcv:binance:BTC/USDT:1h"), NodeId.parse("ohlcv:okx:ETH/USDT:1h"))
PROCESSES = 6
STEPS = 7
SPAN = Segment(START + 29 * DAY, START + 32 * DAY)
"""Two days of January, whose end closes a month that can be merged, and one of February."""
MONTH_END = START + 31 * DAY
LIFE_S = 12 * 3600.0
DEADLINE_S = 30 * DAY
LATENCIES_HELD = 60
CORRECTIONS, CORRECTIONS_AMID_DISASTERS = 5, 30
MAX_AHEAD_S = 60.0
"""Where the exchange can be asked, it contradicts a clock that is ahead by more."""
UNSOUND = 0.4
"""Amid disasters, how often the last bar of a day is one that cannot be."""
POLICY = Policy(retry_backoff_ms=200, partition_units={"1h": "day"})


class GovernanceWorkload(Simulation):
    """One seeded run. Without `rates` the seed draws them; `kept` lines of its trace are kept (None: all)."""

    has_disasters = False

    def __init__(self, seed: int, rates: FaultRates | None = None, kept: int | None = 0) -> None:
        rng = Random(f"governance {seed}")
        self.violations = []
        self.trace = Trace(kept)
        self.now = MONTH_END + rng.choice([-4, 6]) * 3600
        self.pause = rng.choice([10.0, 600.0, LIFE_S / STEPS])
        self.loop = SeededLoop(Random(rng.random()), self.now)
        self._life = min(LIFE_S, STEPS * self.pause) if self.has_disasters else LIFE_S
        self.deadline = self.now + DEADLINE_S
        chosen = rates or drawn_rates(rng)
        self.injector = FaultInjector(self.loop, Random(rng.random()), chosen, self.trace)
        self._fate = Random(f"disasters {seed}") if self.has_disasters else None
        self.market = Market(self.loop, Random(rng.random()), NODES, SPAN, disorder=self._fate)
        # A lease has to outlast the way to those who grant it.
        ttl = max(POLICY.lease_ttl_ms, LATENCIES_HELD * chosen.latency * 1000)
        self.cluster = Cluster(
            self.loop,
            self.market,
            replace(POLICY, lease_ttl_ms=ttl),
            hot_stores=self._fate.choice([1, 2]) if self._fate else 1,
        )
        self.disasters = Disasters(self.cluster, self._fate, self.trace)
        self.witness = ReleaseWitness(
            self.cluster.files,
            self.market,
            self.violations,
            MAX_AHEAD_S if chosen.exchange_answers else math.inf,
        )
        self.pool = WorkerPool(
            self.loop,
            Random(rng.random()),
            self.injector,
            self.cluster.machine,
            PROCESSES,
            self._share,
            self.violations,
        )
        self.operations = Operations(SPAN, self.witness, self.violations)
        self._rng = rng

    async def _share(self, process: Process) -> None:
        await self._operate(process, self.cluster.ports(process, self.injector))

    async def _operate(self, process: Process, ports: Ports) -> None:
        for _ in range(STEPS):
            operation, node = self.operations.drawn(process.rng), process.rng.choice(NODES)

            async def do(operation: object = operation, node: NodeId = node) -> bool:
                await operation(ports, node)  # type: ignore[operator]
                return True

            await self.pool.retry(process, do)
            await ports.clock.sleep(process.rng.uniform(0, self.pause))

    def schedule(self) -> None:
        first_day = [ts for ts in self.market.series[NODES[0]] if ts < SPAN.start + DAY]
        if first_day and self._fate and self._fate.random() < UNSOUND:
            self.market.send_unsound(NODES[0], max(first_day))
        for ts in range(SPAN.start, SPAN.end, 3600):
            if ts + 3600 <= self.now:
                self._close_bar(ts)
            else:
                self.loop.call_at(ts + 3600, self._close_bar, ts, context=Context())
        for _ in range(CORRECTIONS_AMID_DISASTERS if self.has_disasters else CORRECTIONS):
            self.loop.call_later(self._rng.uniform(0, self._life), self._correct, context=Context())
        self.disasters.schedule(self._life)
        self.loop.call_later(LIFE_S, self.injector.stop, context=Context())

    def _close_bar(self, ts: int) -> None:
        for node in NODES:
            rows = self.market.values(node, ts)
            if rows and (node, ts) not in self.market.unsound:
                self._write(node, ts, rows[-1])

    def _correct(self) -> None:
        node = self._rng.choice(NODES)
        closed = [ts for ts in self.market.series[node] if ts + 3600 <= self.loop.time()]
        ts = self._rng.choice([ts for ts in closed if (node, ts) not in self.market.unsound])
        self._write(node, ts, self.market.correct(node, ts))

    def _write(self, node: NodeId, ts: int, row: Row) -> None:
        """Somebody fills the first hot store; that of another machine knows what is fetched there alone."""
        self.cluster.hot(0).write(node, bars_table({ts: row}), recorded_at=self.loop.time())

    def check(self) -> None:
        """In peace a last clean-up removes what is useless, every hash is proven, and the log is checked."""
        self.disasters.end()
        found = self.in_peace(self._inspected, 10 * DAY)
        self.violations += [*found, *self.witness.violations()]

    async def _released(self, ports: Ports, node: NodeId) -> AsyncIterator[str]:
        """Liveness: a look in peace releases every day that is over and whose bars can be.

        Hours without trades at the end of a day are known once a bar has followed them.
        """
        with suppress(NothingReleased):
            await unpin(ports, node, "in peace")
        over = watermark(node.timeframe, self.loop.time(), POLICY.stabilization_bars)
        closed = watermark(node.timeframe, self.loop.time(), 0)
        newest = max((ts for ts in self.market.series[node] if ts < closed), default=0)
        for part in (await materialize(ports, node, SPAN)).partitions:
            window = part.partition.window
            is_known = window.end <= min(over, node.timeframe.shift(newest, 1))
            if is_known and self.market.is_sound(node, window) and not part.released:
                yield f"{part.partition.key} of {node} is not released in peace: {part.problems}"

    async def _inspected(self, inspector: Process) -> list[str]:
        ports = self.cluster.ports(inspector, self.injector)
        found: list[str] = []
        for node in NODES:
            found += [problem async for problem in self._released(ports, node)]
            await clean_up(ports, node, grace_s=0.0)
            found += [f"{fault.uri}: {fault.problem}" for fault in (await verify(ports, node)).faults]
            log = await ports.artifacts.list_releases(node)
            newest = await ports.artifacts.load_snapshot(node)
            waiting = awaiting(newest, log, await unreleased(ports, node, log, newest.discarded))
            needed = {path for ref in waiting for path in (ref.file_path, ref.manifest_path)}
            for file in await ports.artifacts.list_files(node):
                if not file.path.startswith(LOG_FOLDER) and file.path not in needed | by_path(log).keys():
                    found.append(f"{file.path} of {node} is of no use, and no clean-up finds it")
        return found


class GovernanceDisastersWorkload(GovernanceWorkload):
    """The same amid disasters, with pages in any order and bars that cannot be."""

    has_disasters = True


def drawn_rates(rng: Random) -> FaultRates:
    """Rates that differ from seed to seed: some runs are calm, some are wild."""
    wildness = rng.choice([0.0, 0.3, 1.0, 3.0])

    def chance() -> float:
        return wildness * rng.choice([0.0, 0.01, 0.03])

    return FaultRates(
        crash=chance(),
        cancel=chance(),
        stall=chance(),
        jump=chance(),
        refuse=chance(),
        lose=chance(),
        freeze=chance(),
        latency=rng.choice([0.05, 5.0, 300.0]),
        longest_stall=rng.choice([60.0, 3 * 3600.0]),
        largest_jump=7200.0,
    )
