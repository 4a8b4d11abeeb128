"""Looks at the exchange are timed by the clock by which they are recorded, whatever ours says meanwhile."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from support.exchanges import Contradicting

from seamless_assets.core.calendar.segment import Segment
from seamless_assets.core.node import NodeId
from seamless_assets.core.sharing.policy import Policy
from seamless_assets.flows.filling.backfill import backfill, refill
from seamless_assets.flows.filling.history import coverage
from seamless_assets.flows.filling.prove import LASTING_LOOKS
from seamless_assets.flows.ports import Ports
from seamless_assets.testing import DAY, START, InMemoryExchange, ManualClock, in_memory_ports, random_walk

NODE = NodeId.parse("ohlcv:binance:BTC/USDT:1h")
WINDOW = Segment(START, START + 10 * DAY)
HOLE = Segment(START + 5 * DAY, START + 5 * DAY + 4 * 3_600)
POLICY = Policy(retry_backoff_ms=10, lease_ttl_ms=float("inf"))


class World:
    """An exchange that lacks hours and cannot say why, its clock, and ours."""

    def __init__(self) -> None:
        bars = random_walk(*WINDOW, step=3_600)
        sent = {ts: row for ts, row in bars.items() if not HOLE.start <= ts < HOLE.end}
        self.theirs = ManualClock(time=WINDOW.end + DAY)
        self.exchange = InMemoryExchange(sent, self.theirs, trades=[])
        self._ports = in_memory_ports(self.exchange, policy=POLICY)

    def ports(self, ahead: float) -> Ports:
        """Those of a machine whose clock is so many seconds ahead of the exchange's, as that has told it."""
        source: Any = Contradicting(self.exchange, -ahead)
        return replace(self._ports, clock=ManualClock(time=self.theirs.time + ahead), source=source)

    async def asked(self, ahead: float) -> int:
        """Requests of a backfill by such a machine."""
        before = len(self.exchange.asked)
        await backfill(self.ports(ahead), NODE, WINDOW)
        return len(self.exchange.asked) - before


@pytest.mark.parametrize("ahead", [0.0, 3_600.0, 2.0 * DAY, -2.0 * DAY])
async def test_a_hole_is_believed_after_a_day_of_the_exchange(ahead: float) -> None:
    world = World()
    await world.asked(0.0)
    for _ in range(LASTING_LOOKS):
        await refill(world.ports(ahead), NODE, HOLE, WINDOW.end)
        world.theirs.time += 3_600
    assert (await coverage(world.ports(ahead), NODE, WINDOW)).missing == 4
    world.theirs.time += DAY
    await refill(world.ports(ahead), NODE, HOLE, WINDOW.end)
    assert (await coverage(world.ports(ahead), NODE, WINDOW)).missing == 0


@pytest.mark.parametrize("ahead", [3_600.0, 2.0 * DAY, -2.0 * DAY])
async def test_the_next_look_waits_by_the_exchanges_clock(ahead: float) -> None:
    world = World()
    assert await world.asked(0.0) > 0
    assert await world.asked(ahead) == 0
    world.theirs.time += 400 * DAY
    assert await world.asked(ahead) > 0
    assert await world.asked(ahead) == 0
