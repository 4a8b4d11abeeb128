"""A node on embedded stores with an exchange that can be corrected, for tests of what is released."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from support.ports import embedded_ports

from seamless_assets.adapters.artifacts.store import ArtifactStore
from seamless_assets.core.calendar.segment import Segment
from seamless_assets.core.node import NodeId
from seamless_assets.core.reading.context import ComputeContext
from seamless_assets.core.reading.result import ReadResult
from seamless_assets.core.releases.release import Release
from seamless_assets.flows.filling.backfill import refill
from seamless_assets.flows.ports import Ports
from seamless_assets.flows.reading.read import read_released
from seamless_assets.flows.releasing.materialize import materialize
from seamless_assets.testing import DAY, START, InMemoryExchange, ManualClock, random_walk

NODE = NodeId.parse("ohlcv:binance:BTC/USDT:5m")
FEBRUARY = START + 31 * DAY
JANUARY = Segment(START, FEBRUARY)
END_OF_JANUARY = Segment(FEBRUARY - 3 * DAY, FEBRUARY)


def day(number: int) -> Segment:
    """The day that begins `number` days after the start of January."""
    return Segment(START + number * DAY, START + (number + 1) * DAY)


class World:
    """Bars of `window` and a day on either side; the clock stands an hour after `window`."""

    def __init__(self, folder: Path, window: Segment, store: ArtifactStore | None = None) -> None:
        clock = ManualClock(time=window.end + 3_600)
        self.exchange = InMemoryExchange(random_walk(window.start - DAY, window.end + DAY, step=300), clock)
        made = embedded_ports(folder, self.exchange)
        self.ports: Ports = replace(made, artifacts=store) if store else made

    def correct(self, ts: int) -> None:
        """The exchange mends a bar, and a minute passes."""
        o, h, low, c, v = self.exchange.bars[ts]
        self.exchange.bars[ts] = (o, h * 1.01, low, c, v)
        self.exchange.clock.time += 60

    async def refill(self, window: Segment) -> None:
        """Fetch a window anew into the hot store."""
        await refill(self.ports, NODE, window, window.end)

    async def materialize(self, window: Segment) -> bool:
        """Whether all of it is released then."""
        return (await materialize(self.ports, NODE, window)).released

    async def log(self) -> list[Release]:
        """The release log."""
        return await self.ports.artifacts.list_releases(NODE)

    async def read(self, window: Segment, as_of: str | None = None) -> ReadResult:
        """Released bars."""
        return await read_released(self.ports, NODE, window, ComputeContext(as_of=as_of), columns=None)
