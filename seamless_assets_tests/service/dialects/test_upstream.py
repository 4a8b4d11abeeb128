"""What is not served goes on to the exchange where the settings say so: what anybody may ask, and no more."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from itertools import count
from typing import Any

import ccxt
import httpx
import pytest
from service.dialects.conftest import NOW
from support.dialects import SYMBOLS, Rig, client, running
from support.streams import PATIENCE_S

from seamless_assets.aio.single_flight import SingleFlight
from seamless_assets.dialects.venues import VENUES
from seamless_assets.sandbox.faults import Fault
from seamless_assets.sandbox.server import Sandbox

BOOK = "/api/v3/depth"
ASKING = 8


@pytest.fixture(scope="module")
def passing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    exchange, folder = Sandbox(now=NOW), tmp_path_factory.mktemp("passing")
    with (
        exchange.running(),
        running(folder, exchange, SYMBOLS, "2025-01-10", ("1h",), upstream="public") as rig,
    ):
        yield rig


def reached(rig: Rig, path: str) -> int:
    """How often the exchange was asked for a path."""
    return sum(request.path == path for request in rig.exchange.requests)


@pytest.mark.parametrize("name", sorted(SYMBOLS))
def test_what_is_not_kept_is_answered_by_the_exchange(passing: Rig, name: str) -> None:
    there, here = (
        client(name, url, path, ccxt) for url, path in ((passing.exchange.url, ""), (passing.url, f"/{name}"))
    )
    symbol = SYMBOLS[name][0]
    page = {"since": (NOW - 600) * 1_000, "limit": 20}
    until = {"until": NOW * 1_000} if name == "coinbase" else {}
    theirs, ours = (one.fetch_trades(symbol, **page, params=until) for one in (there, here))
    assert ours == theirs and ours
    if name != "kraken":
        assert here.last_response_headers["X-Seamless-Fingerprint"] == "none"
    asked = {"since": (NOW - 900) * 1_000, "limit": 5}
    assert here.fetch_ohlcv(symbol, "5m", **asked) == there.fetch_ohlcv(symbol, "5m", **asked)


UNDECLARED = {
    "binance": "/api/v3/klines?symbol=ETHUSDT&interval=1h&limit=3",
    "bybit": "/v5/market/kline?category=spot&symbol=ETHUSDT&interval=60&limit=3",
    "coinbase": f"/api/v3/brokerage/market/products/ETH-USD/candles?granularity=ONE_HOUR&start={NOW - 9_000}",
    "kraken": "/0/public/OHLC?pair=ETHUSDT&interval=60",
    "okx": "/api/v5/market/candles?instId=ETH-USDT&bar=1H&limit=3",
}


@pytest.mark.parametrize("name", sorted(UNDECLARED))
def test_candles_that_nobody_declared_are_answered_by_the_exchange(passing: Rig, name: str) -> None:
    path = UNDECLARED[name]
    for asked in (path, path.replace("ETH", "NOPE")):
        theirs, ours = httpx.get(f"{passing.exchange.url}{asked}"), httpx.get(f"{passing.url}/{name}{asked}")
        assert (ours.status_code, ours.json()) == (theirs.status_code, theirs.json())
    words = VENUES[name].refusal("not_served", "").body
    for world, headers in (("/as-of/2025-01-10T00:00:00Z", {}), ("", {"X-MBX-APIKEY": "secret"})):
        before = reached(passing, path.partition("?")[0])
        answer = httpx.get(f"{passing.url}{world}/{name}{path}", headers=headers)
        assert answer.headers["x-seamless-verdict"] == "REJECT" and set(answer.json()) <= set(words)
        assert reached(passing, path.partition("?")[0]) == before


MISTAKEN = {
    "binance": "/api/v3/klines?symbol=BTCUSDT&interval=1m&limit=1&startTime=now",
    "bybit": "/v5/market/kline?category=nothing&symbol=BTCUSDT&interval=1",
    "coinbase": "/api/v3/brokerage/market/products/BTC-USD/candles?granularity=ONE_MINUTE&start=0",
    "okx": "/api/v5/market/candles?instId=BTC-USDT-SWAP&limit=few",
}


@pytest.mark.parametrize("name", sorted(MISTAKEN))
def test_a_mistake_is_refused_here_and_the_exchange_hears_nothing_of_it(passing: Rig, name: str) -> None:
    path = MISTAKEN[name].partition("?")[0]
    before = reached(passing, path)
    answer = httpx.get(f"{passing.url}/{name}{MISTAKEN[name]}")
    assert answer.headers["x-seamless-verdict"] == "REJECT"
    assert reached(passing, path) == before


@pytest.mark.parametrize("limit", ["5", "many", "", "-1", "9" * 40])
def test_its_refusals_come_as_they_are(passing: Rig, limit: str) -> None:
    answer = httpx.get(f"{passing.url}/binance{BOOK}?symbol=BTCUSDT&limit={limit}")
    theirs = httpx.get(f"{passing.exchange.url}{BOOK}?symbol=BTCUSDT&limit={limit}")
    assert (answer.status_code, answer.text) == (theirs.status_code, theirs.text) == (404, "404: Not Found")
    assert answer.headers["x-seamless-verdict"] == "REJECT"


def test_a_pause_that_it_asks_for_is_told(passing: Rig) -> None:
    limited = Fault("status", code=429, retry_after=1, path=BOOK)
    passing.exchange.faults.add(limited)
    answer = httpx.get(f"{passing.url}/binance{BOOK}?symbol=BTCUSDT")
    assert answer.status_code == 429 and answer.headers["retry-after"] == "1"


PRIVATE = {
    "binance": "/api/v3/account",
    "bybit": "/v5/account/wallet-balance",
    "coinbase": "/api/v3/brokerage/accounts",
    "kraken": "/0/private/Balance",
    "okx": "/api/v5/account/balance",
}


@pytest.mark.parametrize("name", sorted(PRIVATE))
def test_nothing_private_goes_on(passing: Rig, name: str) -> None:
    words = VENUES[name].refusal("not_served", "")
    for path in (PRIVATE[name], f"/nowhere{PRIVATE[name]}", PRIVATE[name].replace("/", "//")):
        for verb in ("GET", "POST", "DELETE"):
            answer = httpx.request(verb, f"{passing.url}/{name}{path}")
            assert answer.status_code == words.status and set(answer.json()) == set(words.body)
        assert not reached(passing, path)


@pytest.mark.parametrize(
    ("query", "headers"),
    [
        ("&signature=00ff", {}),
        ("&Signature=", {}),
        ("", {"X-MBX-APIKEY": "secret"}),
        ("", {"OK-ACCESS-KEY": "secret"}),
    ],
)
def test_a_request_with_keys_goes_nowhere(passing: Rig, query: str, headers: dict[str, str]) -> None:
    before = reached(passing, BOOK)
    answer = httpx.get(f"{passing.url}/binance{BOOK}?symbol=BTCUSDT{query}", headers=headers)
    assert answer.status_code == 401 and answer.json()["code"] == -2015
    assert reached(passing, BOOK) == before


@pytest.mark.parametrize("world", ["/as-of/2025-01-10T00:00:00Z", "/replay/60/2025-01-10T00:00:00Z"])
def test_a_world_of_the_past_asks_nobody(passing: Rig, world: str) -> None:
    before = len(passing.exchange.requests)
    for path in (f"{BOOK}?symbol=BTCUSDT", "/api/v3/aggTrades?symbol=BTCUSDT"):
        answer = httpx.get(f"{passing.url}{world}/binance{path}")
        assert answer.status_code == 404 and answer.json()["code"] == -1016
    assert len(passing.exchange.requests) == before


async def test_who_asks_the_same_at_one_time_asks_once(passing: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    before, do = reached(passing, BOOK), SingleFlight.do
    arrived, all_arrived = count(1), asyncio.Event()

    async def held(flights: SingleFlight, key: Any, start: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
        """Start no request to the exchange before all are there who ask."""
        if BOOK not in key:
            return await do(flights, key, start)

        async def started() -> Any:
            await all_arrived.wait()
            return await start()

        if next(arrived) == ASKING:
            all_arrived.set()
        return await do(flights, key, started)

    monkeypatch.setattr(SingleFlight, "do", held)
    async with httpx.AsyncClient(timeout=PATIENCE_S) as asking:
        url = f"{passing.url}/binance{BOOK}?symbol=BTCUSDT&limit=10"
        answers = await asyncio.gather(*(asking.get(url) for _ in range(ASKING)))
    assert {answer.status_code for answer in answers} == {404}
    assert reached(passing, BOOK) == before + 1
