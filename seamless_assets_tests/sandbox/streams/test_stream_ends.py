"""How connections end, how many there may be, and how they are steered."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import aiohttp
import pytest
from support.stream_wire import VENUES, line
from support.streams import PATIENCE_S, subscribed

from seamless_assets.core.bars.epochs import SECONDS_LIMIT
from seamless_assets.sandbox.faults import Fault
from seamless_assets.sandbox.market import Market
from seamless_assets.sandbox.server import Sandbox
from seamless_assets.sandbox.streams import connection, server
from seamless_assets.testing import DAY, START

NOW = START + 10 * DAY


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as opened:
        yield opened


async def test_closing_ends_all_connections_and_leaves_no_task(session: aiohttp.ClientSession) -> None:
    before = asyncio.all_tasks()
    async with Sandbox(now=NOW) as exchange:
        lines = [await line(exchange, session, name) for name in sorted(VENUES)]
        assert len(exchange.topics()) == len(VENUES)
        ends = [asyncio.ensure_future(_end(one.socket)) for one in lines]
        exchange.clock.run(speed=1_000)
    assert [await end for end in ends] == [aiohttp.WSCloseCode.GOING_AWAY] * len(VENUES)
    assert exchange.topics() == [] and asyncio.all_tasks() <= before
    exchange.clock.set(NOW)  # nobody listens any more


async def _end(socket: aiohttp.ClientWebSocketResponse) -> int | None:
    async for _ in socket:
        pass
    return socket.close_code


async def test_a_client_that_reads_nothing_does_not_hold_the_exchange_up(
    session: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "CLOSING_S", 0.05)
    before = asyncio.all_tasks()
    async with asyncio.timeout(PATIENCE_S):
        async with Sandbox(now=NOW) as exchange:
            await line(exchange, session, "binance")
            exchange.clock.set(NOW + DAY)
    assert asyncio.all_tasks() <= before


def test_a_thread_of_its_own_ends_too() -> None:
    async def follow(url: str) -> None:
        async with aiohttp.ClientSession() as session, session.ws_connect(f"{url}/v2") as socket:
            await socket.send_json(VENUES["kraken"].asked)
            while not exchange.topics():
                await socket.receive()

    with Sandbox(now=NOW).running() as exchange:
        asyncio.run(follow(exchange.url))
        exchange.clock.set(NOW + 600)  # from another thread


async def test_connections_are_listed_and_cut(exchange: Sandbox, session: aiohttp.ClientSession) -> None:
    lines = [await line(exchange, session, name) for name in ("binance", "okx")]
    async with session.get(f"{exchange.url}/_sandbox/streams") as answer:
        listed = sorted(await answer.json(), key=lambda record: record["path"])
    assert listed == [
        {"path": "/ws/0", "topics": ["btcusdt@kline_1m"]},
        {"path": "/ws/v5/business", "topics": ["candle1m:BTC-USDT"]},
    ]
    async with session.delete(f"{exchange.url}/_sandbox/streams") as answer:
        assert answer.status == 200
    assert [await _end(one.socket) for one in lines] == [aiohttp.WSCloseCode.ABNORMAL_CLOSURE] * 2
    assert exchange.topics() == []


async def test_the_clock_is_set_running_over_http(exchange: Sandbox, session: aiohttp.ClientSession) -> None:
    following = await line(exchange, session, "bybit")
    async with session.put(f"{exchange.url}/_sandbox/clock", json={"now": NOW, "speed": 2_000}) as answer:
        assert answer.status == 200
    assert await following.until(NOW + 30 * 60)
    for body in ({"speed": 2}, {"now": NOW, "speed": 0}, {"now": NOW, "speed": "2"}, {"now": -1, "speed": 2}):
        async with session.put(f"{exchange.url}/_sandbox/clock", json=body) as answer:
            assert answer.status == 400 and (await answer.json())["error"]
    await following.socket.close()


async def test_a_client_that_is_gone_before_its_connection_stands_is_no_error(
    session: aiohttp.ClientSession, caplog: pytest.LogCaptureFixture
) -> None:
    async with Sandbox(now=NOW) as exchange:
        exchange.faults.add(Fault("hang"))
        connecting = asyncio.ensure_future(session.ws_connect(f"{exchange.url}/v2"))
        async with asyncio.timeout(PATIENCE_S):
            while exchange.faults.as_records():  # noqa: ASYNC110
                await asyncio.sleep(0.001)
        connecting.cancel()
        await asyncio.wait([connecting])
    assert [record for record in caplog.records if record.levelname == "ERROR"] == []
    assert exchange.topics() == []


async def test_only_so_many_connections_stand(
    exchange: Sandbox, session: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "MAX_CONNECTIONS", 1)
    first = await line(exchange, session, "okx")
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        await session.ws_connect(f"{exchange.url}/v2")
    assert refused.value.status == 503
    await first.socket.close()


async def test_a_plain_request_is_told_how_to_connect(
    exchange: Sandbox, session: aiohttp.ClientSession
) -> None:
    for venue in VENUES.values():
        async with session.get(exchange.url + venue.path) as answer:
            assert answer.status == 426 and answer.headers["Upgrade"] == "websocket"


UPGRADE = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13"}


@pytest.mark.parametrize(
    ("path", "headers", "status"),
    [
        ("/v2", {**UPGRADE, "Sec-WebSocket-Key": "short"}, 426),
        ("/v2", {**UPGRADE, "Sec-WebSocket-Version": "12"}, 426),
        ("/v2", {"Upgrade": "websocket"}, 426),
        ("/api/v3/time", UPGRADE, 200),
        ("/v3", UPGRADE, 404),
    ],
)
async def test_what_is_no_upgrade_is_answered_and_recorded_as_it_is(
    exchange: Sandbox, session: aiohttp.ClientSession, path: str, headers: dict[str, str], status: int
) -> None:
    async with session.get(exchange.url + path, headers=headers) as answer:
        assert answer.status == status
    assert [request.status for request in exchange.requests] == [status]


@pytest.mark.parametrize("name", sorted(VENUES))
@pytest.mark.parametrize("instant", [0, 90, 1_000_000_000, SECONDS_LIMIT - 100, SECONDS_LIMIT])
async def test_a_clock_at_the_edges_of_time_breaks_no_connection(
    session: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch, name: str, instant: float
) -> None:
    monkeypatch.setattr(connection, "MAX_BEHIND_S", 600.0)
    async with Sandbox(now=instant) as exchange:
        exchange.faults.add(Fault("stale_snapshot", rows=1_000, symbol="ETH"))
        following = await line(exchange, session, name)
        exchange.clock.set(min(instant + 300, SECONDS_LIMIT))
        exchange.clock.set(NOW)
        exchange.clock.set(NOW + 300)
        assert await following.until(NOW + 240)
        await following.socket.close()


async def test_a_market_that_keeps_little_streams_all_the_same(session: aiohttp.ClientSession) -> None:
    market = Market("BTC/USDT", 60_000.0, retention=5)
    async with Sandbox(now=NOW, markets=[market]) as exchange:
        following = await line(exchange, session, "binance")
        exchange.clock.set(NOW + 3_660)
        said = await following.until(NOW + 3_600)
        assert {one.ts for one in said} == set(range(NOW, NOW + 3_601, 60))
        await following.socket.close()


async def test_a_message_that_is_too_long_ends_its_connection(
    exchange: Sandbox, session: aiohttp.ClientSession
) -> None:
    socket = await session.ws_connect(f"{exchange.url}/v2")
    await socket.send_str("x" * (server.MAX_MESSAGE + 1))
    assert await _end(socket) == aiohttp.WSCloseCode.MESSAGE_TOO_BIG
    other = await line(exchange, session, "kraken")
    await other.socket.send_bytes(b"\xff")
    await other.socket.ping()
    exchange.clock.set(NOW + 600)
    assert await other.until(NOW + 300)
    await other.socket.close()


async def test_a_rate_limit_counts_connections(session: aiohttp.ClientSession) -> None:
    async with Sandbox(now=NOW, rate_limit=1) as exchange:
        first = await session.ws_connect(f"{exchange.url}/v2")
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await session.ws_connect(f"{exchange.url}/v2")
        assert refused.value.status == 429
        await first.close()


async def test_kraken_says_that_it_lives_while_nothing_happens(
    exchange: Sandbox, session: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "HEARTBEAT_S", 0.01)
    following = await line(exchange, session, "kraken")
    beats = 0
    while beats < 3:
        beats += await following.raw() == '{"channel":"heartbeat"}'
    await following.socket.close()


UNWATCHED = {"binance": "BTC/USDT", "bybit": "BTC/USDT", "okx": "BTC/USDT"}


@pytest.mark.parametrize("name", UNWATCHED)
async def test_ccxt_follows_many_and_leaves_them(
    exchange: Sandbox, connect: Callable[[str], Any], name: str
) -> None:
    client, symbols = connect(name), ("BTC/USDT", "ETH/USDT", "SOL/USDT")
    asked = [[symbol, frame] for symbol in symbols for frame in ("1m", "5m")]
    watching = asyncio.ensure_future(client.watch_ohlcv_for_symbols(asked))
    await subscribed(exchange, len(asked))
    exchange.clock.set(NOW + 30)
    async with asyncio.timeout(PATIENCE_S):
        ((symbol, by_frame),) = (await watching).items()
        assert symbol in symbols and list(by_frame) <= ["1m", "5m"]
        await client.un_watch_ohlcv_for_symbols(asked)
    assert exchange.topics() == []
