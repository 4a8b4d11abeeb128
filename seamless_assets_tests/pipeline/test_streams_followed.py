"""Streams through the face: followed where the settings say so, and let go of with the subscription."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import aclosing

import pytest
from support.streams import PATIENCE_S, subscribed, truth

import seamless_assets as sa
from seamless_assets.config.load import Settings
from seamless_assets.errors import ExchangeRefused
from seamless_assets.sandbox.server import Sandbox
from seamless_assets.testing import DAY, START

NOW = START + 10 * DAY
NODE = "ohlcv:binance:BTC/USDT:1m"


async def test_bars_come_while_a_stream_is_followed_and_nothing_is_followed_afterwards(
    settings_for: Callable[..., Settings],
) -> None:
    async with Sandbox(now=NOW + 30) as exchange:
        venue = {
            "base_url": exchange.url,
            "symbols": ["BTC/USDT"],
            "timeframes": ["1m"],
            "start": "2025-01-10",
        }
        with sa.connect(settings_for({"binance": {**venue, "live": "websocket"}})) as s:
            bars: dict[int, list[float]] = {}
            async with (
                asyncio.timeout(PATIENCE_S),
                aclosing(s.aio.subscribe(NODE, since=NOW - 300)) as events,  # type: ignore[type-var]
            ):
                async for event in events:
                    if isinstance(event, sa.CaughtUp) and event.end <= NOW:
                        await subscribed(exchange)
                        exchange.clock.set(NOW + 75)
                    if isinstance(event, sa.Bar):
                        bars[event.ts] = list(event.values)
                    if NOW in bars:
                        break
            async with asyncio.timeout(PATIENCE_S):
                while exchange.topics():  # noqa: ASYNC110
                    await asyncio.sleep(0.001)
        assert {NOW: bars[NOW]} == truth(exchange, "BTC/USDT", "1m", NOW, NOW + 60)


def test_a_stream_that_an_exchange_has_not_is_refused(settings_for: Callable[..., Settings]) -> None:
    venue = {"base_url": "http://127.0.0.1:9", "symbols": ["BTC/AUD"], "timeframes": ["1m"]}
    settings = settings_for({"btcmarkets": {**venue, "live": "websocket"}})
    refused = pytest.raises(ExchangeRefused, match="btcmarkets streams neither candles nor trades")
    with sa.connect(settings) as s, refused:
        next(iter(s.subscribe("ohlcv:btcmarkets:BTC/AUD:1m")))
