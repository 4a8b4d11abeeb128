"""Closed bars that ccxt.pro makes of the streams equal what the exchange knows."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from support.streams import PATIENCE_S, subscribed, truth

from seamless_assets.core.calendar.timeframe import Timeframe
from seamless_assets.sandbox.server import Sandbox
from seamless_assets.testing import DAY, START

NOW = START + 10 * DAY
HOUR = 3_600
WITH_CANDLES = {"binance": "BTC/USDT"}


async def follow(client: Any, symbol: str, frame: str, until: int) -> dict[int, list[float]]:
    """The latest values of each bar, until one comes that opens at or after `until`."""
    bars: dict[int, list[float]] = {}
    async with asyncio.timeout(PATIENCE_S):
        while max(bars, default=0) < until:
            for row in await client.watch_ohlcv(symbol, frame):
                bars[row[0] // 1000] = row[1:]
    return bars


@pytest.mark.parametrize("frame", ["1m", "1h"])
@pytest.mark.parametrize("name", WITH_CANDLES)
async def test_closed_bars_equal_the_truth(
    exchange: Sandbox, connect: Callable[[str], Any], name: str, frame: str
) -> None:
    client, symbol, end = connect(name), WITH_CANDLES[name], NOW + 3 * HOUR
    following = asyncio.ensure_future(follow(client, symbol, frame, end))
    await subscribed(exchange)
    for instant in (NOW + 61, NOW + 1_000, NOW + HOUR, end, end + 2 * (Timeframe(frame).seconds or 0)):
        exchange.clock.set(instant)
    bars = await following
    expected = truth(exchange, symbol, frame, NOW, end)
    assert len(expected) > 2
    assert {ts: bars[ts] for ts in expected} == expected
