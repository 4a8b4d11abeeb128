"""The streams workload: the live one, with bars that come by a stream which is anything but steady."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextvars import Context
from dataclasses import replace
from random import Random

from seamless_assets.core.live.cursor import read_cursor
from seamless_assets.core.live.events import Bar, Event
from seamless_assets.core.node import NodeId
from seamless_assets.flows.live.feeds import Feeds
from seamless_assets.flows.ports import Ports
from seamless_assets.testing import InMemoryArtifactStore, InMemoryFiles
from seamless_assets_tests.simulation.faults import FaultRates
from seamless_assets_tests.simulation.process import Machine, Process
from seamless_assets_tests.simulation.stream import FaultyStream, StreamRates
from seamless_assets_tests.simulation.workloads.fetch import drawn_rates
from seamless_assets_tests.simulation.workloads.live import Journal, LiveWorkload

LATENCIES = (0.0, 0.0, 0.0, 0.05, 0.3)
AUDITED_S = 300.0
"""Within so long a correction is seen, whatever goes wrong: a feed audits its stream, or another one does."""


class StreamsWorkload(LiveWorkload):
    """One seeded run of it."""

    def __init__(self, seed: int, rates: FaultRates | None = None, kept: int | None = 0) -> None:
        rng = Random(f"streams {seed}")
        rates = rates or replace(drawn_rates(rng), latency=rng.choice(LATENCIES))
        super().__init__(seed, rates, kept)
        self.revising_s = max(0.0, self.scale.closing * 60.0 - AUDITED_S)
        self.stream_rates, self.marks_closed = StreamRates.drawn(rng), rng.random() < 0.5
        self.streams: list[FaultyStream] = []
        self.told_when_proven = frozenset({"binance"} if Random(f"delivery {seed}").random() < 0.5 else ())
        self._luck = rng

    def _ports(self, process: Process) -> Ports:
        luck = Random(self._luck.random())
        stream = FaultyStream(self.market, luck, self.stream_rates, marks_closed=self.marks_closed)
        self.streams.append(stream)
        ports = super()._ports(process)
        policy = replace(ports.policy, feeds={"binance": "auto"}, told_when_proven=self.told_when_proven)
        # Nothing is released here, and no look into an empty log is worth a fault of its own.
        artifacts = InMemoryArtifactStore(InMemoryFiles(Machine(self.loop)))
        return replace(ports, policy=policy, feeds=Feeds(stream), artifacts=artifacts)

    async def _read_on(self, ports: Ports, journal: Journal) -> bool:
        if journal.cursor is not None and self.scale.processes == 1:
            self._correct_unstored(journal.cursor)
        return await super()._read_on(ports, journal)

    def _correct_unstored(self, cursor: str) -> None:
        """Correct what was told and never stored, while nobody follows it: who resumes has to tell it."""
        for name, position in read_cursor(cursor, map(str, self.nodes)).items():
            node = NodeId.parse(name)
            if position.unstored is not None and position.unstored[0] not in self._stored(node):
                self.market.correct(node, position.unstored[0])

    def _wrong_now(self, event: Event) -> Iterator[str]:
        yield from super()._wrong_now(event)
        if not isinstance(event, Bar) or event.ts in self._stored(NodeId.parse(event.node_id)):
            return
        if read_cursor(event.cursor, map(str, self.nodes))[event.node_id].stored_upto > event.ts:
            yield f"{event} is not stored, and its cursor does not say so"

    def _stored(self, node: NodeId) -> Collection[int]:
        return self.cluster.hot(0).bars.get(node, {})

    def schedule(self) -> None:
        super().schedule()
        self.loop.call_later(self.scale.trouble_s, self._steady, context=Context())

    def check(self) -> None:
        super().check()
        if not self.pool.crashed:
            self.violations += [f"{stream.open} are followed still" for stream in self.streams if stream.open]

    def _steady(self) -> None:
        self.market.is_unsteady = False
