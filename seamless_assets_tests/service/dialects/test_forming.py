"""A node is followed for the candle that forms while somebody asks, and let be where its stream fails."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from types import SimpleNamespace
from typing import cast

import httpx
import pytest
from service.dialects.conftest import NOW
from support.dialects import Rig, running
from support.live import LiveMarket

import seamless_assets as sa
from seamless_assets.core.live.feed.update import Streamed
from seamless_assets.core.node import NodeId
from seamless_assets.core.sharing.policy import FeedMode
from seamless_assets.errors import ExchangeUnavailable
from seamless_assets.flows.live.feeds import Feeds
from seamless_assets.flows.live.served.candles import StreamedCandle
from seamless_assets.flows.ports import CandleStream, Ports
from seamless_assets.sandbox.server import Sandbox
from seamless_assets.service.dialects.live.forming import BACK_OFF_S, IDLE_S, FormingBars, streamed_by
from seamless_assets.service.dialects.streams.channels import Listener
from seamless_assets.testing import run_on_virtual_time

NODE = NodeId.parse("ohlcv:binance:BTC/USDT:1m")
FORMING = StreamedCandle(60, 120, (1.0, 1.0, 1.0, 1.0, 1.0), is_closed=False)
ERROR = ExchangeUnavailable("gone", status=None)


class Followed:
    """A channel that notes who follows."""

    def __init__(self) -> None:
        self.listeners: list[Listener] = []
        self.begun = 0

    def follow(self, node: NodeId, listener: Listener) -> None:
        self.listeners.append(listener)
        self.begun += 1

    def leave(self, node: NodeId, listener: Listener) -> None:
        self.listeners.remove(listener)


async def always(node: NodeId) -> bool:
    return True


def test_a_node_that_fails_is_begun_once_per_back_off_whatever_is_asked() -> None:
    channel = Followed()

    async def fail() -> None:
        bars = FormingBars(channel, always)
        for number in range(1, 6):
            for _ in range(20):
                assert await bars.at(NODE, 70) is None
                for listener in list(channel.listeners):
                    listener(FORMING)
                    listener(ERROR)
                assert not channel.listeners, "who was told of an error has left"
                assert channel.begun == number
            await asyncio.sleep(BACK_OFF_S + 1)
        await bars.at(NODE, 70)
        channel.listeners[0](FORMING)
        assert await bars.at(NODE, 70) == FORMING
        # The timers of those that failed end nothing of it.
        for _ in range(3):
            await asyncio.sleep(IDLE_S * 0.9)
            assert await bars.at(NODE, 70) == FORMING
        await asyncio.sleep(IDLE_S + 1)
        assert not channel.listeners

    run_on_virtual_time(fail)


@pytest.fixture(scope="module")
def polled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    """A service that shows candles that form, of an exchange that ccxt follows no candles of."""
    exchange, folder = Sandbox(now=NOW), tmp_path_factory.mktemp("polled")
    symbols = {"coinbase": ("BTC/USD",)}
    with (
        exchange.running(),
        running(folder, exchange, symbols, "2025-01-10", ("1m",), "auto", forming_bars=True) as rig,
    ):
        yield rig


def test_where_nothing_is_streamed_nothing_is_followed(polled: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[NodeId] = []
    monkeypatch.setattr(FormingBars, "_begin", lambda _, node: begun.append(node))
    path = "/coinbase/api/v3/brokerage/market/products/BTC-USD/candles?granularity=ONE_MINUTE"
    answer = httpx.get(f"{polled.url}{path}&start={NOW - 600}&end={NOW}")
    assert answer.status_code == 200 and len(answer.json()["candles"]) > 3
    assert not begun


class Streaming:
    """Streams of an exchange that has candles, trades or nothing."""

    def __init__(self, streamed: Streamed | None) -> None:
        self._streamed = streamed

    async def streamed(self, exchange: str) -> Streamed | None:
        return self._streamed


@pytest.mark.parametrize(
    ("mode", "streamed", "expected"),
    [
        ("polling", "candles", False),
        ("auto", "candles", True),
        ("auto", "trades", False),
        ("auto", None, False),
        ("websocket", "candles", True),
        ("websocket", "trades", True),
        ("websocket", None, False),
    ],
)
@pytest.mark.parametrize("is_derived", [False, True])
async def test_what_is_streamed_goes_by_the_settings_and_the_exchange(
    mode: FeedMode, streamed: Streamed | None, expected: bool, is_derived: bool
) -> None:
    ports = LiveMarket().process(feeds=Feeds(cast(CandleStream, Streaming(streamed))))
    ports = replace(ports, policy=replace(ports.policy, feeds={"binance": mode}))

    async def do(work: Callable[[Ports], Awaitable[bool]]) -> bool:
        return await work(ports)

    pipeline = SimpleNamespace(
        settings=SimpleNamespace(recipes={NODE: None} if is_derived else {}),
        aio=SimpleNamespace(portal=SimpleNamespace(do=do)),
    )
    assert await streamed_by(cast(sa.Seamless, pipeline))(NODE) is (expected and not is_derived)
