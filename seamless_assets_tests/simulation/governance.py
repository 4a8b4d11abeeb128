"""The governance run: many workers publish, release, undo, merge and clean up while everything goes wrong."""

from __future__ import annotations

from contextvars import Context
from dataclasses import replace
from random import Random

from seamless_assets.core.calendar.segment import Segment
from seamless_assets.core.node import NodeId
from seamless_assets.core.releases.release import LOG_FOLDER
from seamless_assets.core.releases.supersession import awaiting, by_path
from seamless_assets.core.sharing.policy import Policy
from seamless_assets.flows.releasing.clean_up import clean_up
from seamless_assets.flows.releasing.govern import unreleased
from seamless_assets.flows.releasing.verify import verify
from seamless_assets.testing.twins import DAY, START
from seamless_assets_tests.simulation.acts import Acts
from seamless_assets_tests.simulation.crew import Crew
from seamless_assets_tests.simulation.exchange import Exchange
from seamless_assets_tests.simulation.fate import Fate, Odds, Trace, Worker
from seamless_assets_tests.simulation.history import Historian
from seamless_assets_tests.simulation.loop import SimLoop
from seamless_assets_tests.simulation.ports import Shared
from seamless_assets_tests.simulation.seeded import SeededRun

NODES = (NodeId.parse("ohlcv:binance:BTC/USDT:1h"), NodeId.parse("ohlcv:okx:ETH/USDT:1h"))
WORKERS = 6
STEPS = 7
SPAN = Segment(START + 29 * DAY, START + 32 * DAY)
"""Two days of January, whose end closes a month that can be merged, and one of February."""
MONTH_END = START + 31 * DAY
LIFE_S = 12 * 3600.0
DEADLINE_S = 30 * DAY
LATENCIES_HELD = 60
POLICY = Policy(retry_backoff_ms=200, partition_units={"1h": "day"})


class GovernanceRun(SeededRun):
    """One seeded run. Without `odds` the seed draws them; `kept` lines of its trace are kept (None: all)."""

    def __init__(self, seed: int, odds: Odds | None = None, kept: int | None = 0) -> None:
        rng = Random(f"governance {seed}")
        self.faults: list[str] = []
        self.trace = Trace(kept)
        self.now = MONTH_END + rng.choice([-4, 6]) * 3600
        self.pause = rng.choice([10.0, 600.0, LIFE_S / STEPS])
        self.loop = SimLoop(Random(rng.random()), self.now)
        self.deadline = self.now + DEADLINE_S
        chosen = odds or drawn_odds(rng)
        self.fate = Fate(self.loop, Random(rng.random()), chosen, self.trace)
        self.exchange = Exchange(self.loop, Random(rng.random()), NODES, SPAN)
        # A lease has to outlast the way to those who grant it.
        ttl = max(POLICY.lease_ttl_ms, LATENCIES_HELD * chosen.latency * 1000)
        self.shared = Shared(self.exchange, replace(POLICY, lease_ttl_ms=ttl), self.loop.time)
        self.historian = Historian(self.shared.objects, NODES, self.faults)
        self.crew = Crew(self.loop, Random(rng.random()), self.fate, WORKERS, self._shift, self.faults)
        self.acts = Acts(SPAN, self.historian, self.faults)
        self._rng = rng

    async def _shift(self, worker: Worker) -> None:
        ports = self.shared.ports(worker, self.fate)
        for _ in range(STEPS):
            act, node = self.acts.drawn(worker.rng), worker.rng.choice(NODES)

            async def do(act: object = act, node: NodeId = node) -> bool:
                await act(ports, node)  # type: ignore[operator]
                return True

            await self.crew.insist(worker, do)
            await ports.clock.sleep(worker.rng.uniform(0, self.pause))

    def schedule(self) -> None:
        for node in NODES:
            self.shared.hot.bars[node] = {}
        for ts in range(SPAN.start, SPAN.end, 3600):
            if ts + 3600 <= self.now:
                self._close_bar(ts)
            else:
                self.loop.call_at(ts + 3600, self._close_bar, ts, context=Context())
        for _ in range(5):
            self.loop.call_later(self._rng.uniform(0, LIFE_S), self._correct, context=Context())
        self.loop.call_later(LIFE_S, self.fate.calm_down, context=Context())

    def _close_bar(self, ts: int) -> None:
        for node in NODES:
            if rows := self.exchange.values(node, ts):
                self.shared.hot.bars[node][ts] = rows[-1]

    def _correct(self) -> None:
        node = self._rng.choice(NODES)
        held = self.shared.hot.bars[node]
        ts = self._rng.choice(list(held))
        o, h, low, c, v = held[ts]
        held[ts] = (o, h, low, c, v + 1.0)
        self.exchange.bars[node][ts].append(held[ts])

    def judge(self) -> None:
        """In peace a last clean-up removes what is useless, every hash is proven, and the log is judged."""
        found = self.in_peace(self._inspected, DAY)
        self.faults += [*found, *self.historian.judged()]

    async def _inspected(self, inspector: Worker) -> list[str]:
        ports = self.shared.ports(inspector, self.fate)
        found: list[str] = []
        for node in NODES:
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


def drawn_odds(rng: Random) -> Odds:
    """Odds that differ from seed to seed: some runs are calm, some are wild."""
    wildness = rng.choice([0.0, 0.3, 1.0, 3.0])

    def chance() -> float:
        return wildness * rng.choice([0.0, 0.01, 0.03])

    return Odds(
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
