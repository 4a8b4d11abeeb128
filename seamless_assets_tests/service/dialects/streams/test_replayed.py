"""A clock that runs has each candle told once, and is hardly looked at when it stands."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import numpy as np
import pytest

from seamless_assets.core.calendar.timeframe import Timeframe
from seamless_assets.core.node import NodeId
from seamless_assets.dialects.market_data import CANDLE
from seamless_assets.errors import SeamlessError
from seamless_assets.flows.live.served.candles import StreamedCandle
from seamless_assets.service.dialects.data import DeclaredData
from seamless_assets.service.dialects.streams.replayed import LONGEST_WAIT_S, ReplayedChannel
from seamless_assets.service.dialects.visit import VISIT, Visit
from seamless_assets.testing import run_on_virtual_time

NODE = NodeId.parse("ohlcv:binance:BTC/USDT:1m")
START, BARS, HOUR_S = 6_000.0, 30, 3_600
END = START + 60 * BARS + 7


class Replayed:
    """A world from `START` to `END` at a speed, and how often its clock and its candles are looked at."""

    def __init__(self, speed: float) -> None:
        self.speed, self.looks, self.reads = speed, 0, 0

    async def visit(self) -> Visit:
        self.looks += 1
        return Visit(min(START + asyncio.get_running_loop().time() * self.speed, END), "2025-01-10T00:00:00Z")

    async def candles(self, symbol: str, frame: Timeframe, start: int, end: None) -> tuple[Any, int]:
        self.reads += 1
        closed = frame.floor(int(VISIT.get().now))
        return np.array([(ts, 1, 1, 1, 1, 1) for ts in range(start, closed, 60)], dtype=CANDLE), closed


@pytest.mark.parametrize("speed", [1.0, 60.0, 600.0, 86_400.0])
def test_a_replay_that_is_over_is_looked_at_rarely_and_read_no_more(speed: float) -> None:
    world, told = Replayed(speed), list[StreamedCandle | SeamlessError]()

    async def follow() -> None:
        channel = ReplayedChannel(cast(DeclaredData, world), world.visit, speed)
        channel.follow(NODE, told.append)
        await asyncio.sleep((END - START) / speed + 2 * LONGEST_WAIT_S)
        looked, read = world.looks, world.reads
        await asyncio.sleep(HOUR_S)
        assert world.looks - looked <= HOUR_S / LONGEST_WAIT_S + 1 and world.reads == read <= BARS
        await channel.close()

    run_on_virtual_time(follow)
    opens = [one.ts for one in told if isinstance(one, StreamedCandle)]
    assert opens == [int(START) + 60 * number for number in range(BARS)] and len(told) == BARS
