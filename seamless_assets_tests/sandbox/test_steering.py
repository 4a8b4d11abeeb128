"""Odd input to the local exchange: to its steering addresses, its venues, and its constructor."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from seamless_assets.core.calendar.timeframe import Timeframe
from seamless_assets.dialects.venues import VENUES
from seamless_assets.errors import InvalidChoice, InvalidInput
from seamless_assets.sandbox import server
from seamless_assets.sandbox.book_data import BookData
from seamless_assets.sandbox.faults import MAX_FAULTS, Fault, Faults
from seamless_assets.sandbox.market import Market
from seamless_assets.sandbox.server import DIALECTS, Sandbox

NOW = 1_736_553_600
DAY = 86_400


@pytest.fixture
async def exchange() -> AsyncIterator[Sandbox]:
    symbols = ("BTC/USDT", "BTC/USD", "BTC/USDT:USDT")
    markets = [Market(symbol, 60_000.0, listed=NOW - 90 * DAY) for symbol in symbols]
    async with Sandbox(now=NOW, markets=markets) as running:
        yield running


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as opened:
        yield opened


@pytest.mark.parametrize(
    "body",
    [
        *(
            b"",
            b"{",
            b"null",
            b"[]",
            b'"now"',
            b"\xff\xfe",
            b"[" * 100_000,
            b'{"now": ' + b"9" * 5_000 + b"}",
        ),
        *(b"{}", b'{"now": 1, "then": 2}', b'{"then": 1}', b'{"now": "soon"}', b'{"now": true}'),
        *(b'{"now": NaN}', b'{"now": Infinity}', b'{"now": -1}', b'{"now": 1e300}', b'{"now": [1]}'),
    ],
    ids=lambda body: repr(body[:30]),
)
async def test_a_clock_is_set_to_a_time_or_not_at_all(
    exchange: Sandbox, session: aiohttp.ClientSession, body: bytes
) -> None:
    async with session.put(f"{exchange.url}/_sandbox/clock", data=body) as answer:
        assert answer.status == 400 and (await answer.json())["error"]
    assert exchange.clock.now() == NOW


@pytest.mark.parametrize(
    "record",
    [
        *({}, {"kind": None}, {"kind": "earthquake"}, {"kind": ["status"]}, {"kind": "status", "colour": 1}),
        *({"kind": "status", "code": code} for code in (99, 100, 600, "429", 429.5, None, True)),
        *({"kind": "status", "times": times} for times in (0, -1, 1.5, "2", True)),
        *({"kind": "status", "retry_after": seconds} for seconds in (-1, "soon", [1])),
        *(
            {"kind": "status", "headers": headers}
            for headers in (["a"], {"a": 1}, {"": "a"}, {"a": "b\r\nc"})
        ),
        *({"kind": "delay", "seconds": seconds} for seconds in (-1, "1", None)),
        *({"kind": "short_page", "rows": rows} for rows in (-1, 1.5, "1")),
        *({"kind": "hide", "start": start} for start in ("2025-01-01", None, 1e300)),
        *({"kind": "empty", "path": 7}, {"kind": "empty", "symbol": None}),
    ],
    ids=repr,
)
async def test_what_is_no_fault_is_refused_with_the_reason(
    exchange: Sandbox, session: aiohttp.ClientSession, record: dict[str, Any]
) -> None:
    async with session.post(f"{exchange.url}/_sandbox/faults", json=record) as answer:
        assert answer.status == 400 and (await answer.json())["error"]
    assert exchange.faults.as_records() == []
    with pytest.raises(InvalidInput):
        Fault.from_record(record)


async def test_faults_come_back_as_they_were_sent(exchange: Sandbox, session: aiohttp.ClientSession) -> None:
    record = {"kind": "status", "code": 429, "headers": {"X-Reset": "7"}, "retry_after": 2, "body": [None]}
    async with session.post(f"{exchange.url}/_sandbox/faults", json=record) as answer:
        (known,) = await answer.json()
    assert {name: known[name] for name in record} == record
    async with session.get(f"{exchange.url}/api/v3/time") as answer:
        assert (answer.status, await answer.json()) == (429, [None])
        assert (answer.headers["Retry-After"], answer.headers["X-Reset"]) == ("2", "7")


def test_there_are_only_so_many_faults() -> None:
    faults = Faults()
    for _ in range(MAX_FAULTS):
        faults.add(Fault("empty"))
    with pytest.raises(InvalidInput, match="lift them first"):
        faults.add(Fault("empty"))


async def test_only_the_latest_requests_are_remembered_and_short(
    monkeypatch: pytest.MonkeyPatch, session: aiohttp.ClientSession
) -> None:
    monkeypatch.setattr(server, "MAX_REQUESTS", 3)
    async with Sandbox(now=NOW) as exchange:
        for number in range(5):
            async with session.get(f"{exchange.url}/api/v3/time?{number}={'x' * 5_000}") as answer:
                assert answer.status == 200
        async with session.get(f"{exchange.url}/_sandbox/requests") as answer:
            known = await answer.json()
    assert [request["query"][0] for request in known] == ["2", "3", "4"]
    assert max(len(request["query"]) for request in known) == server.MAX_QUERY


ODD = ("", "-1", "0", "1e400", "nan", "abc", "9" * 400, "1.5", "9e18", "-9e18", "%00", "٣", "1e16", "4e12")
MINUTE = {"granularity": "ONE_MINUTE", "start": f"{NOW - 60}"}
NAMES: dict[str, dict[str, str]] = {
    "/api/v3/klines": {"symbol": "BTCUSDT", "interval": "1M"},
    "/api/v3/aggTrades": {"symbol": "BTCUSDT"},
    "/fapi/v1/klines": {"symbol": "BTCUSDT", "interval": "1m"},
    "/v5/market/kline": {"symbol": "BTCUSDT", "interval": "M"},
    "/v5/market/recent-trade": {"symbol": "BTCUSDT"},
    "/api/v3/brokerage/market/products/BTC-USD/candles": {
        "granularity": "ONE_MINUTE",
        "start": f"{NOW - 60}",
    },
    "/api/v3/brokerage/market/products/BTC-USD/ticker": {},
    "/0/public/OHLC": {"pair": "BTCUSD", "interval": "1"},
    "/0/public/Trades": {"pair": "BTCUSD"},
    "/api/v5/market/candles": {"instId": "BTC-USDT", "bar": "1Mutc"},
    "/api/v5/market/history-candles": {"instId": "BTC-USDT", "bar": "1m"},
    "/api/v5/market/trades": {"instId": "BTC-USDT"},
}
NUMBERS = ("limit", "count", "startTime", "endTime", "start", "end", "since", "after", "before")


@pytest.mark.parametrize("path", NAMES)
async def test_no_query_is_an_internal_error(
    exchange: Sandbox, session: aiohttp.ClientSession, path: str
) -> None:
    async def ask(query: dict[str, str]) -> tuple[dict[str, str], int]:
        async with session.get(exchange.url + path, params={**NAMES[path], **query}) as answer:
            return query, answer.status

    queries = [{name: value} for name in NUMBERS for value in ODD]
    queries += [{name: value} for name in NAMES[path] for value in ODD]
    wrong = [(query, status) for query, status in await asyncio.gather(*map(ask, queries)) if status >= 500]
    assert wrong == []
    assert len(queries) > 100 and {status for _, status in await asyncio.gather(ask({}))} == {200}


@pytest.mark.parametrize("arguments", [{"port": -1}, {"port": 65_536}, {"rate_limit": 0}, {"now": -5}])
def test_an_exchange_that_cannot_be_is_refused(arguments: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput):
        Sandbox(**arguments)
    with pytest.raises(InvalidInput):
        Sandbox(rate_limit=1, rate_window=0)


@pytest.mark.parametrize("name", sorted(DIALECTS))
def test_two_markets_of_one_name_are_refused(name: str) -> None:
    twins = {"okx": ("A-B/C", "A/B-C"), "coinbase": ("A-B/C", "A/B-C")}.get(name, ("AB/C", "A/BC"))
    sandbox = Sandbox(markets=[Market(symbol, 1.0) for symbol in twins])
    with pytest.raises(InvalidInput, match="have one name"):
        VENUES[name].routes(BookData(sandbox.book))


def test_a_choice_of_fault_is_named() -> None:
    with pytest.raises(InvalidChoice, match="status, reset"):
        Fault("earthquake")  # type: ignore[arg-type]


def test_trades_since_long_ago_cost_a_page() -> None:
    markets = [Market("A/B", 1.0), Market("QUIET/B", 1.0, quiet=0.999)]
    book = Sandbox(now=NOW, markets=markets).book
    long_ago = NOW - 4 * 365 * DAY
    for symbol in ("A/B", "QUIET/B"):
        found = book.trades(symbol, long_ago, NOW, 1_000)
        bars = book.candles(symbol, Timeframe("1m"), long_ago, int(found[-1][0]) // 60 * 60 + 60)
        assert len(found) == 1_000 and len(bars) == 250
        assert [trade[0] for trade in found] == sorted(trade[0] for trade in found)
        assert found[0][0] - bars["ts"][0] < 60
    assert book.trades("A/B", NOW - 30, NOW, 1_000) and book.trades("A/B", NOW + DAY, NOW + 2 * DAY, 5) == []
    assert json.dumps(book.trades("A/B", 0, 60, 5)) == "[]"
