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
SYMBOLS = {
    "binance": "BTC/USDT",
    "bybit": "BTC/USDT",
    "coinbase": "BTC/USD",
    "kraken": "BTC/USD",
    "okx": "BTC/USDT",
}
WITH_CANDLES = sorted(SYMBOLS.keys() - {"coinbase"})


async def follow(client: Any, symbol: str, frame: str, until: int) -> dict[int, list[float]]:
    """The latest values of each bar, until one comes that opens at or after `until`."""
    bars: dict[int, list[float]] = {}
    async with asyncio.timeout(PATIENCE_S):
        while max(bars, default=0) < until:
            for row in await client.watch_ohlcv(symbol, frame):
                bars[row[0] // 1000] = row[1:]
    return bars


@pytest.mark.parametrize(
    ("name", "frame"), [*((name, "1m") for name in WITH_CANDLES), ("binance", "1h"), ("kraken", "1h")]
)
async def test_closed_bars_equal_the_truth(
    exchange: Sandbox, connect: Callable[[str], Any], name: str, frame: str
) -> None:
    client, symbol, end = connect(name), SYMBOLS[name], NOW + 3 * HOUR
    following = asyncio.ensure_future(follow(client, symbol, frame, end))
    await subscribed(exchange)
    for instant in (NOW + 61, NOW + 1_000, NOW + HOUR, end, end + 2 * (Timeframe(frame).seconds or 0)):
        exchange.clock.set(instant)
    bars = await following
    expected = truth(exchange, symbol, frame, NOW, end)
    assert len(expected) > 2
    assert {ts: bars[ts] for ts in expected} == expected


def joined(trades: list[dict[str, Any]]) -> dict[int, list[float]]:
    """Bars of a minute that trades make, each trade counted once."""
    bars: dict[int, list[float]] = {}
    for trade in sorted({trade["id"]: trade for trade in trades}.values(), key=lambda t: t["timestamp"]):
        price, amount, ts = trade["price"], trade["amount"], trade["timestamp"] // 60_000 * 60
        bar = bars.setdefault(ts, [price, price, price, price, 0.0])
        bar[1:] = [max(bar[1], price), min(bar[2], price), price, round(bar[4] + amount, 8)]
    return bars


async def trades_until(client: Any, symbol: str, until: int) -> list[dict[str, Any]]:
    """All trades, until one comes at or after `until`."""
    trades: list[dict[str, Any]] = []
    async with asyncio.timeout(PATIENCE_S):
        while not trades or trades[-1]["timestamp"] < until * 1000:
            trades += await client.watch_trades(symbol)
    return trades


@pytest.mark.parametrize("name", SYMBOLS)
async def test_bars_made_of_trades_equal_the_truth(
    exchange: Sandbox, connect: Callable[[str], Any], name: str
) -> None:
    end = NOW + 3 * HOUR
    watching = asyncio.ensure_future(trades_until(connect(name), SYMBOLS[name], end))
    await subscribed(exchange)
    for instant in (NOW + 61, NOW + 1_000, NOW + HOUR, end, end + 120):
        exchange.clock.set(instant)
    bars, expected = joined(await watching), truth(exchange, SYMBOLS[name], "1m", NOW, end)
    assert len(expected) > 170
    assert {ts: bars[ts] for ts in expected} == expected
