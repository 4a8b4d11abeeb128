"""The streams workload: the live one, with bars that come by a stream which is anything but steady."""

from __future__ import annotations

from contextvars import Context
from dataclasses import replace
from random import Random

from seamless_assets.flows.live.feeds import Feeds
from seamless_assets.flows.ports import Ports
from seamless_assets_tests.simulation.faults import FaultRates
from seamless_assets_tests.simulation.process import Process
from seamless_assets_tests.simulation.stream import FaultyStream, StreamRates
from seamless_assets_tests.simulation.workloads.live import TROUBLE_S, LiveWorkload


class StreamsWorkload(LiveWorkload):
    """One seeded run of it."""

    def __init__(self, seed: int, rates: FaultRates | None = None, kept: int | None = 0) -> None:
        super().__init__(seed, rates, kept)
        rng = Random(f"streams {seed}")
        self.stream_rates, self.marks_closed = StreamRates.drawn(rng), rng.random() < 0.5
        self.streams: list[FaultyStream] = []
        self._luck = rng

    def _ports(self, process: Process) -> Ports:
        luck = Random(self._luck.random())
        stream = FaultyStream(self.market, luck, self.stream_rates, marks_closed=self.marks_closed)
        self.streams.append(stream)
        ports = super()._ports(process)
        policy = replace(ports.policy, feeds={"binance": "auto"})
        return replace(ports, policy=policy, feeds=Feeds(stream))

    def schedule(self) -> None:
        super().schedule()
        self.loop.call_later(TROUBLE_S, self._steady, context=Context())

    def check(self) -> None:
        super().check()
        if not self.pool.crashed:
            self.violations += [f"{stream.open} are followed still" for stream in self.streams if stream.open]

    def _steady(self) -> None:
        self.market.is_unsteady = False
