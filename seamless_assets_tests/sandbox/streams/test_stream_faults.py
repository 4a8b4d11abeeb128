"""Each fault of the streams, as it is on the wire."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from support.stream_wire import VENUES, line

from seamless_assets.core.calendar.timeframe import Timeframe
from seamless_assets.sandbox.faults import Fault
from seamless_assets.sandbox.market import Market
from seamless_assets.sandbox.server import Sandbox
from seamless_assets.testing import DAY, START

NOW = START + 10 * DAY
MINUTE = 60
FLAGGED = ("binance", "bybit", "okx")
every_venue = pytest.mark.parametrize("name", sorted(VENUES))


MARKETS = [Market(symbol, 60_000.0) for symbol in ("BTC/USDT", "BTC/USD", "ETH/USDT")]
"""All are traded in every minute."""


@pytest.fixture
async def exchange() -> AsyncIterator[Sandbox]:
    async with Sandbox(now=NOW, markets=MARKETS) as running:
        yield running


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as opened:
        yield opened


async def heard(
    exchange: Sandbox, session: aiohttp.ClientSession, name: str, fault: Fault | None, minutes: int = 3
) -> list[Any]:
    """What is said in `minutes` whole minutes, with a fault that is put in force before them."""
    following = await line(exchange, session, name)
    if fault is not None:
        exchange.faults.add(fault)
    begin = exchange.clock.now()
    exchange.clock.set(begin + (minutes + 2) * MINUTE)
    said = await following.until(int(begin) + (minutes + 1) * MINUTE)
    await following.socket.close()
    return [one for one in said if begin <= one.ts < begin + minutes * MINUTE]


async def usual(session: aiohttp.ClientSession, name: str, minutes: int = 3) -> list[Any]:
    """What is said without a fault."""
    if (name, minutes) not in _usual:
        async with Sandbox(now=NOW, markets=MARKETS) as other:
            _usual[name, minutes] = await heard(other, session, name, None, minutes)
    return _usual[name, minutes]


_usual: dict[tuple[str, int], list[Any]] = {}


@every_venue
async def test_without_faults_each_update_comes_once(
    exchange: Sandbox, session: aiohttp.ClientSession, name: str
) -> None:
    said = await heard(exchange, session, name, None)
    assert len(said) == (15 if name in FLAGGED else 12)
    assert len(set(said)) == len(said)
    assert [one.ts for one in said] == sorted(one.ts for one in said)


@every_venue
async def test_a_dropped_connection_is_gone_and_another_can_be_made(
    exchange: Sandbox, session: aiohttp.ClientSession, name: str
) -> None:
    following = await line(exchange, session, name)
    exchange.faults.add(Fault("drop", path=VENUES[name].path))
    exchange.clock.set(NOW + 10 * MINUTE)
    while (said := await following.next()) is not None:
        assert said.ts <= NOW
    assert following.socket.close_code == aiohttp.WSCloseCode.ABNORMAL_CLOSURE
    assert exchange.topics() == [] and exchange.faults.as_records() == []
    again = await line(exchange, session, name)
    exchange.clock.set(NOW + 12 * MINUTE)
    assert (await again.until(NOW + 11 * MINUTE))[-1].ts == NOW + 11 * MINUTE
    await again.socket.close()


@every_venue
async def test_silence_leaves_out_what_happens_in_it_and_the_connection_stands(
    exchange: Sandbox, session: aiohttp.ClientSession, name: str
) -> None:
    said = await heard(exchange, session, name, Fault("silence", seconds=2 * MINUTE, symbol="BTC"), 6)
    # From the first trade of the first minute to that of the third.
    assert [one for one in await usual(session, name, 6) if one not in said]
    assert {one.ts for one in said} == {NOW + minutes * MINUTE for minutes in (2, 3, 4, 5)}


async def test_silence_without_an_end_lasts_as_long_as_the_connection(
    exchange: Sandbox, session: aiohttp.ClientSession
) -> None:
    following = await line(exchange, session, "okx")
    exchange.faults.add(Fault("silence"))
    exchange.clock.set(NOW + 10 * MINUTE)
    await following.socket.send_str("ping")
    messages = []
    while (message := await following.raw()) != "pong":
        messages.append(json.loads(message or ""))
    said = [following.venue.said(message) for message in messages]
    assert all(one is None or one.ts <= NOW for one in said)
    await following.socket.close()
    again = await line(exchange, session, "okx")
    exchange.clock.set(NOW + 12 * MINUTE)
    assert await again.until(NOW + 11 * MINUTE)
    await again.socket.close()


@every_venue
async def test_a_stale_snapshot_is_what_was_so_long_ago(
    exchange: Sandbox, session: aiohttp.ClientSession, name: str
) -> None:
    exchange.faults.add(Fault("stale_snapshot", rows=5))
    following = await line(exchange, session, name)
    first = await following.next()
    assert first is not None and first.ts == NOW - 5 * MINUTE
    if name != "coinbase":
        ((_, close, volume, is_closed),) = first.rows
        (bar,) = exchange.book.candles(
            "BTC/USD" if name == "kraken" else "BTC/USDT", Timeframe("1m"), first.ts, NOW
        )[:1]
        assert not is_closed and 0 < volume < bar["volume"] and close != bar["close"]
    await following.socket.close()


@every_venue
async def test_a_duplicate_is_sent_twice_and_nothing_else_changes(
    exchange: Sandbox, session: aiohttp.ClientSession, name: str
) -> None:
    said, expected = (
        await heard(exchange, session, name, Fault("duplicate", times=3)),
        await usual(session, name),
    )
    twice = [one for one in expected[:3] for _ in range(2)]
    assert said == twice + expected[3:]


@every_venue
async def test_disorder_changes_the_place_of_two(
    exchange: Sandbox, session: aiohttp.ClientSession, name: str
) -> None:
    said, expected = await heard(exchange, session, name, Fault("disorder")), await usual(session, name)
    assert said == [expected[1], expected[0], *expected[2:]]


@pytest.mark.parametrize("name", FLAGGED)
async def test_a_forming_candle_says_that_it_is_closed(
    exchange: Sandbox, session: aiohttp.ClientSession, name: str
) -> None:
    said = await heard(exchange, session, name, Fault("forming_as_closed", times=2))
    expected = await usual(session, name)
    lied = [(one, other) for one, other in zip(said, expected, strict=True) if one != other]
    assert len(lied) == 2
    assert all(one.rows[0][:3] == other.rows[0][:3] for one, other in lied)
    assert all(one.rows[0][3] and not other.rows[0][3] for one, other in lied)


@pytest.mark.parametrize("name", ["kraken", "coinbase"])
async def test_where_no_candle_says_that_it_is_closed_the_fault_waits(
    exchange: Sandbox, session: aiohttp.ClientSession, name: str
) -> None:
    said = await heard(exchange, session, name, Fault("forming_as_closed"))
    assert said == await usual(session, name)
    assert len(exchange.faults.as_records()) == 1


@every_venue
async def test_a_skipped_bar_is_never_told(
    exchange: Sandbox, session: aiohttp.ClientSession, name: str
) -> None:
    said, expected = await heard(exchange, session, name, Fault("skip")), await usual(session, name)
    assert said == [one for one in expected if one.ts != NOW]


@every_venue
async def test_a_bar_is_corrected_after_its_close(
    exchange: Sandbox, session: aiohttp.ClientSession, name: str
) -> None:
    said = await heard(exchange, session, name, Fault("correction", seconds=100), 4)
    expected = await usual(session, name, 4)
    (late,) = [one for one in said if one not in expected]
    symbol = "BTC/USD" if name in ("kraken", "coinbase") else "BTC/USDT"
    known = {
        at: exchange.book.as_of(NOW + at).candles(symbol, Timeframe("1m"), NOW, NOW + 1)[0]
        for at in (60, 160)
    }
    lacked = known[160]["volume"] - known[60]["volume"]
    assert lacked > 0
    volume = late.rows[0][2]
    assert volume == pytest.approx(lacked if name == "coinbase" else float(known[160]["volume"]), abs=1e-8)
    assert late.ts == NOW and late.rows[0][3:] in ((True,), (None,), ())
    # Something of the minute in which it came was said before, and something after.
    assert {one.ts for one in said[: said.index(late)]} == {NOW, NOW + 60, NOW + 120}


@every_venue
async def test_half_of_a_message_is_no_json(
    exchange: Sandbox, session: aiohttp.ClientSession, name: str
) -> None:
    following = await line(exchange, session, name)
    exchange.faults.add(Fault("bad_json"))
    exchange.clock.set(NOW + 2)
    broken = []
    while not broken:
        message = await following.raw()
        assert message is not None
        broken = [message] if message.count("{") != message.count("}") else []
    exchange.clock.set(NOW + 2 * MINUTE)
    assert await following.until(NOW + MINUTE)
    await following.socket.close()


@every_venue
async def test_a_connection_is_refused_and_then_stands(
    exchange: Sandbox, session: aiohttp.ClientSession, name: str
) -> None:
    # aiohttp asks once more by itself.
    exchange.faults.add(Fault("refused", path=VENUES[name].path, times=2))
    with pytest.raises(aiohttp.ServerDisconnectedError):
        await session.ws_connect(exchange.url + VENUES[name].path)
    exchange.faults.add(Fault("status", code=429, retry_after=2, path=VENUES[name].path))
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        await session.ws_connect(exchange.url + VENUES[name].path)
    assert refused.value.status == 429 and refused.value.headers is not None
    assert refused.value.headers["Retry-After"] == "2"
    await (await line(exchange, session, name)).socket.close()
    assert [request.status for request in exchange.requests] == [503, 503, 429, 101]
    assert {request.exchange for request in exchange.requests} == {name}


@pytest.mark.parametrize(("path", "symbol"), [("/v5", ""), ("", "ETH"), ("kline_1h", ""), ("", "btc")])
async def test_a_fault_spares_what_it_does_not_name(
    exchange: Sandbox, session: aiohttp.ClientSession, path: str, symbol: str
) -> None:
    if symbol == "btc":
        symbol = "BTCUSDT"  # the venue writes it small in its names of streams
    fault = Fault("skip", path=path, symbol=symbol)
    assert await heard(exchange, session, "binance", fault) == await usual(session, "binance")
    assert len(exchange.faults.as_records()) == 1


@pytest.mark.parametrize(
    "part", [{"path": "/ws/0"}, {"path": "kline_1m"}, {"symbol": "BTC/USDT"}, {"symbol": "btcusdt"}]
)
async def test_a_fault_hits_by_path_name_and_symbol(
    exchange: Sandbox, session: aiohttp.ClientSession, part: dict[str, str]
) -> None:
    assert await heard(exchange, session, "binance", Fault("skip", **part)) != await usual(session, "binance")
    assert exchange.faults.as_records() == []
