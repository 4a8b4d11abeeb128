"""Real, unmodified ccxt.pro follows candles at the service, as it would at the exchanges."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import aiohttp
import ccxt
import ccxt.pro
import pytest
from service.conftest import NODE
from service.dialects.conftest import NOW
from support.dialects import SYMBOLS, Rig, client, running
from support.served import served
from support.streams import PATIENCE_S, truth

import seamless_assets as sa
from seamless_assets.core.calendar.timeframe import Timeframe
from seamless_assets.sandbox.server import Sandbox
from seamless_assets.testing import START

FOLLOWED = {name: own[:1] for name, own in SYMBOLS.items() if name != "coinbase"}
"""ccxt.pro follows no candles of coinbase."""
TOPICS = {
    "binance": "btcusdt@kline_1m",
    "bybit": "kline.1.BTCUSDT",
    "kraken": "ohlc:ADA/BTC-1",
    "okx": "candle1m:ADA-BTC",
}
"""What the exchange calls the candles of each that is followed."""
PATHS = {
    "binance": "/binance/ws",
    "bybit": "/bybit/v5/public/spot",
    "coinbase": "/coinbase",
    "kraken": "/kraken/v2",
    "okx": "/okx/ws/v5/business",
}


@pytest.fixture(scope="module")
def streaming(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    """A local exchange that is followed by its streams, and the service, which shows candles that form."""
    exchange, folder = Sandbox(now=NOW), tmp_path_factory.mktemp("streaming")
    with (
        exchange.running(),
        running(folder, exchange, FOLLOWED, "2025-01-10", ("1m",), "websocket", forming_bars=True) as rig,
    ):
        yield rig


@asynccontextmanager
async def pro(name: str, url: str, prefix: str) -> AsyncIterator[Any]:
    """A ccxt.pro exchange whose base URL alone is another one."""
    made = client(name, url, prefix, ccxt.pro)
    try:
        yield made
    finally:
        await made.close()


async def watched(bot: Any, symbol: str, until: int) -> dict[int, list[float]]:
    """The last values of each bar, until one comes that opens at `until` or later."""
    bars: dict[int, list[float]] = {}
    async with asyncio.timeout(PATIENCE_S):
        while max(bars, default=0) < until:
            for row in await bot.watch_ohlcv(symbol, "1m"):
                bars[row[0] // 1_000] = row[1:]
    return bars


@pytest.mark.parametrize("name", sorted(FOLLOWED))
async def test_candles_that_ccxt_watches_are_those_of_the_exchange(streaming: Rig, name: str) -> None:
    exchange, (symbol,) = streaming.exchange, FOLLOWED[name]
    begin = int(exchange.clock.now()) // 60 * 60
    end = begin + 600
    async with pro(name, streaming.url, f"/{name}") as bot:
        watching = asyncio.ensure_future(watched(bot, symbol, end - 60))
        async with asyncio.timeout(PATIENCE_S):
            # What another test followed may be there still, or about to go.
            while TOPICS[name] not in exchange.topics():  # noqa: ASYNC110
                await asyncio.sleep(0.001)
        for instant in (begin + 61, begin + 200, end + 1, end + 121):
            exchange.clock.set(instant)
        bars = await watching
    last = bars.pop(max(bars))
    assert len(last) == 5 and len(bars) > 3
    # A bar that closed while the clock leapt may have been corrected before anybody could ask; where nobody
    # traded, kraken tells flat ones over HTTP.
    now_known = exchange.book.candles(symbol, Timeframe("1m"), min(bars), end + 120)
    corrected = {int(row["ts"]): list(row.tolist())[1:] for row in now_known}
    first_known = truth(exchange, symbol, "1m", min(bars), end + 120)
    traded = {ts: values for ts, values in bars.items() if values[-1] > 0}
    assert all(values in (first_known[ts], corrected[ts]) for ts, values in traded.items())


async def test_pages_show_the_candle_that_forms_while_somebody_asks(streaming: Rig) -> None:
    exchange, now = streaming.exchange, int(streaming.exchange.clock.now()) // 60 * 60 + 600
    bot, here = (
        client("binance", url, path, ccxt) for url, path in ((exchange.url, ""), (streaming.url, "/binance"))
    )

    def asked(**more: Any) -> tuple[list[Any], list[Any]]:
        theirs, ours = (one.fetch_ohlcv("BTC/USDT", "1m", **more) for one in (bot, here))
        return theirs, ours

    exchange.clock.set(now + 1)
    async with asyncio.timeout(PATIENCE_S):
        while True:
            # On a machine that is busy a page may not be filled in time.
            with suppress(ccxt.OperationFailed):
                theirs, ours = await asyncio.to_thread(asked, limit=3)
                if len(ours) == 3 and ours[-1][0] == theirs[-1][0]:
                    break
            # Each word of the stream that comes later tells of the bar of its time.
            exchange.clock.set(exchange.clock.now() + 7)
    assert [row[0] for row in ours] == [row[0] for row in theirs]
    since = ours[0][0]
    for more in ({"since": since, "limit": 2}, {"since": since}, {"since": ours[-1][0]}):
        theirs, ours = await asyncio.to_thread(lambda more=more: asked(**more))
        assert [row[0] for row in ours] == [row[0] for row in theirs]


@asynccontextmanager
async def connected(url: str, path: str) -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
    async with aiohttp.ClientSession() as session, session.ws_connect(f"{url}{path}") as socket:
        yield socket


async def said(socket: aiohttp.ClientWebSocketResponse, message: Any) -> Any:
    """The answer to a message, but for heartbeats and greetings."""
    await socket.send_str(message if isinstance(message, str) else json.dumps(message))
    async with asyncio.timeout(PATIENCE_S):
        while True:
            text = (await socket.receive()).data
            answer = json.loads(text) if text != "pong" else text
            if not isinstance(answer, dict) or answer.get("channel") not in ("status", "heartbeat"):
                return answer


UNDECLARED: dict[str, tuple[str, Any]] = {
    "binance": ("/binance/ws", {"method": "SUBSCRIBE", "params": ["btcusdt@kline_5m"], "id": 1}),
    "trades": ("/binance/ws", {"method": "SUBSCRIBE", "params": ["btcusdt@trade"], "id": 1}),
    "bybit": ("/bybit/v5/public/spot", {"op": "subscribe", "args": ["kline.5.BTCUSDT"]}),
    "coinbase": (
        "/coinbase/",
        {"type": "subscribe", "channel": "market_trades", "product_ids": ["BTC-USD"]},
    ),
    "kraken": (
        "/kraken/v2",
        {"method": "subscribe", "params": {"channel": "ohlc", "symbol": ["ADA/BTC"], "interval": 5}},
    ),
    "okx": (
        "/okx/ws/v5/business",
        {"op": "subscribe", "args": [{"channel": "candle5m", "instId": "ADA-BTC"}]},
    ),
}


@pytest.mark.parametrize("what", sorted(UNDECLARED))
async def test_what_is_not_followed_is_refused_in_the_venues_words(rig: Rig, what: str) -> None:
    path, asked = UNDECLARED[what]
    async with connected(rig.url, path) as socket:
        answer = await said(socket, asked)
        is_error = answer.get("error") or answer.get("success") is False
        assert is_error or "error" in (answer.get("event"), answer.get("type"))
        assert isinstance(await said(socket, "{"), dict), "it still answers"


@pytest.mark.parametrize("name", sorted(PATHS))
@pytest.mark.parametrize(
    ("world", "status"),
    [("/as-of/2025-01-10T00:00:00Z", 404), ("/as-of/nonsense", 422), ("/replay/0/2025-01-10", 422)],
)
async def test_worlds_that_stream_nothing_refuse_the_connection(
    rig: Rig, name: str, world: str, status: int
) -> None:
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        async with connected(rig.url, world + PATHS[name]):
            pass
    assert refused.value.status == status and refused.value.headers is not None
    assert refused.value.headers["X-Seamless-Verdict"] == "REJECT"


@pytest.mark.parametrize("path", ["/binance/nowhere", "/nowhere", "/v1/events"])
async def test_elsewhere_nobody_takes_a_connection(rig: Rig, path: str) -> None:
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        async with connected(rig.url, path):
            pass
    assert refused.value.status in (403, 404)


async def test_a_page_of_another_site_opens_no_connection(rig: Rig) -> None:
    async with aiohttp.ClientSession() as session:
        foreign = ["http://evil.example", "http://[", "http://[::1", "null", ""]
        for origin, status in [*((origin, 403) for origin in foreign), (rig.url, 101)]:
            headers = {"Origin": origin}
            try:
                async with session.ws_connect(f"{rig.url}/binance/ws", headers=headers):
                    told = 101
            except aiohttp.WSServerHandshakeError as refused:
                told = refused.status
            assert told == status


async def test_a_running_clock_has_its_candles_come_as_they_close(
    make_app: Any, pipeline: sa.Seamless
) -> None:
    as_of = pipeline.releases(NODE)[0].as_of
    with served(make_app(dialects=True)) as url:
        begin = START + 3_690
        world = f"/replay/600/{begin}/as-of/{as_of}/binance"
        async with pro("binance", url, world) as bot:
            bars = await watched(bot, "BTC/USDT", begin + 600)
    first = min(bars)
    kept = pipeline.read(NODE, first, max(bars) + 60, context=sa.ComputeContext("w", "backtest", as_of))
    rows = kept.to_pandas().set_index("ts")
    assert first >= START + 3_660 and sorted(bars) == list(rows.index)
    assert all(list(rows.loc[ts]) == values for ts, values in bars.items())
