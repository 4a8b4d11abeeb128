"""The newest page is given again without being made again, for as long as it would be the same."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any, cast
from urllib.parse import parse_qsl, urlencode

import httpx
import pytest
from support.dialects import SYMBOLS, Rig, running

from seamless_assets.core.calendar.segment import Segment
from seamless_assets.core.node import NodeId
from seamless_assets.flows.live.served.candles import StreamedCandle
from seamless_assets.sandbox.server import Sandbox
from seamless_assets.service.dialects import pages
from seamless_assets.service.dialects.live.clocks import ExchangeClocks
from seamless_assets.service.dialects.live.forming import FormingBars
from seamless_assets.testing import DAY, START, bars_table

NOW = START + 10 * DAY + 12.25
NEWEST = {
    "binance": "/binance/api/v3/klines?symbol=BTCUSDT&interval=1m&limit=1000",
    "bybit": "/bybit/v5/market/kline?category=spot&symbol=BTCUSDT&interval=1&limit=1000",
    "coinbase": "/coinbase/api/v3/brokerage/market/products/BTC-USD/candles?granularity=ONE_MINUTE"
    f"&start={int(NOW) - 300 * 60}",
    "kraken": "/kraken/0/public/OHLC?pair=ADABTC&interval=1",
    "okx": "/okx/api/v5/market/candles?instId=ADA-BTC&bar=1m&limit=300",
}


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    exchange, folder = Sandbox(now=NOW), tmp_path_factory.mktemp("live")
    own = {name: symbols[:1] for name, symbols in SYMBOLS.items()}
    with exchange.running(), running(folder, exchange, own, "2025-01-08", ("1m",)) as rig:
        yield rig


@pytest.fixture
def made(live: Rig, monkeypatch: pytest.MonkeyPatch) -> list[NodeId]:
    """The nodes of which pages are made, each time one is. The clock is known without asking."""
    nodes: list[NodeId] = []
    load = pages.Pages.load

    async def noted(self: Any, visit: Any, node: NodeId, *arguments: Any, **more: Any) -> Any:
        nodes.append(node)
        return await load(self, visit, node, *arguments, **more)

    async def now(_clocks: ExchangeClocks, _exchange: str) -> float:
        return live.exchange.clock.now()

    monkeypatch.setattr(pages.Pages, "load", noted)
    monkeypatch.setattr(ExchangeClocks, "now", now)
    monkeypatch.setattr(ExchangeClocks, "now_at_hand", lambda *_: live.exchange.clock.now())
    live.exchange.clock.set(NOW)
    return nodes


def turned(path: str) -> str:
    """The same question in other words, to which no answer is remembered."""
    own, _, query = path.partition("?")
    return f"{own}?{urlencode(parse_qsl(query)[::-1])}"


@pytest.mark.parametrize("name", sorted(NEWEST))
def test_it_is_made_again_once_anything_of_it_may_be_another(
    live: Rig, made: list[NodeId], name: str
) -> None:
    clock, aio = live.exchange.clock, live.pipeline.aio
    with httpx.Client(base_url=live.url) as http:

        def page(*, again: bool) -> httpx.Response:
            """The page, which is made anew unless `again`, and is then what a page made anew is."""
            made.clear()
            answer = http.get(NEWEST[name])
            assert answer.status_code == 200 and bool(made) is not again
            fresh = http.get(turned(NEWEST[name]))
            assert answer.content == fresh.content
            told = {key: value for key, value in answer.headers.items() if key.startswith("x-seamless")}
            assert told.items() <= fresh.headers.items() and told["x-seamless-verdict"] == "PASS"
            return answer

        # What the first one fetched was written while it was made.
        http.get(NEWEST[name])
        first = page(again=False)
        node = made[0]
        for later in (NOW, NOW + 20.5, NOW + 47.5):
            clock.set(later)
            page(again=True)
        # A bar closes.
        clock.set(NOW + 48)
        http.get(NEWEST[name])
        assert page(again=False).content != first.content
        page(again=True)
        # A clock that was set back shows what was then.
        clock.set(NOW)
        page(again=False)
        page(again=True)
        # A bar is corrected.
        ts = int(NOW) // 60 * 60 - 600
        corrected = bars_table({ts: (7.0, 9.0, 6.0, 8.0, 5.0)})
        write = aio.portal.do(lambda ports: ports.hot.write_bars(node, corrected, [], recorded_at=NOW))
        asyncio.run(_done(write))
        assert "9.0" in page(again=False).text
        page(again=True)
        # One is released.
        assert page(again=True).headers["x-seamless-as-of"] == "none"
        live.pipeline.publish(node, *Segment(START + 9 * DAY, START + 10 * DAY))
        live.pipeline.release(node, reason="by hand")
        assert page(again=False).headers["x-seamless-as-of"] != "none"
        page(again=True)


async def _done(work: Any) -> Any:
    return await work


def test_the_candle_that_forms_is_part_of_what_has_to_be_the_same() -> None:
    node = NodeId.parse("ohlcv:binance:BTC/USDT:1m")

    async def is_streamed(_: NodeId) -> bool:
        return True

    async def look() -> None:
        channel = SimpleNamespace(follow=lambda *_: None, leave=lambda *_: None)
        bars = FormingBars(cast(Any, channel), is_streamed)
        assert not bars.is_still(node, None, 70.0), "nobody follows it yet"
        assert await bars.at(node, 70.0) is None and bars.is_still(node, None, 70.0)
        first, second = (StreamedCandle(60, 120, (1.0,) * 4 + (v,), is_closed=False) for v in (1.0, 2.0))
        bars._take(node, first)
        assert not bars.is_still(node, None, 70.0)
        assert await bars.at(node, 70.0) == first and bars.is_still(node, first, 70.0)
        assert not bars.is_still(node, first, 120.0), "it has closed"
        bars._take(node, second)
        assert not bars.is_still(node, first, 70.0) and bars.is_still(node, second, 70.0)

    asyncio.run(look())


def test_what_no_store_says_at_once_is_made_each_time(
    live: Rig, made: list[NodeId], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live.pipeline.aio.ports.hot, "change_mark", lambda: None)
    with httpx.Client(base_url=live.url) as http:
        for number in range(3):
            made.clear()
            assert http.get(f"{NEWEST['binance']}&startTime={int(NOW - 3_600) * 1_000}").status_code == 200
            assert made, number
