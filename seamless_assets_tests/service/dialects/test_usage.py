"""Who asks for what, what that saves the exchange, and what answers say of limits."""

from __future__ import annotations

from typing import Any

import ccxt
import httpx
import pytest
from service.conftest import NODE
from service.dialects.conftest import NOW
from starlette.types import Message, Receive, Scope, Send
from support.dialects import Rig, client

import seamless_assets as sa
from seamless_assets.core.wire.problems import PROBLEM_TYPE
from seamless_assets.service.callers import CALLER, Caller
from seamless_assets.service.dialects.refusing import InDialect
from seamless_assets.service.dialects.usage import tally as tallies
from seamless_assets.service.dialects.usage.tally import MAX_USES, Tally

KLINES = "/binance/api/v3/klines"


def told(rig: Rig) -> tuple[dict[tuple[str, str, str], Any], dict[str, Any]]:
    """Uses by exchange, world and what was asked, and costs by exchange."""
    answer = httpx.get(f"{rig.url}/v1/dialects").json()
    uses = {(one["exchange"], one["world"], one["asked"]): one for one in answer["uses"]}
    return uses, {one["exchange"]: one for one in answer["costs"]}


def test_the_service_tells_who_asks_for_what_and_what_it_cost_the_exchange(rig: Rig) -> None:
    key = ("binance", "", "/api/v3/klines BTCUSDT 1h")
    before, costs = told(rig)
    bot = client("binance", rig.url, "/binance", ccxt)
    bot.load_markets()
    for _ in range(9):
        bot.fetch_ohlcv("BTC/USDT", "1h", since=(NOW - 36_000) * 1_000, limit=5)
    httpx.get(f"{rig.url}{KLINES}?symbol=BTCUSDT&interval=1h&limit=oops")
    after, now = told(rig)
    was = before.get(key, {"requests": 0, "refused": 0})
    assert after[key]["requests"] == was["requests"] + 10 and after[key]["refused"] == was["refused"] + 1
    assert after[key]["caller"] == "anybody" and after[key]["last_at"] > 0
    made = sum("fapi" not in r.path and r.exchange == "binance" for r in rig.exchange.requests)
    answered = now["binance"]["answered"] - costs.get("binance", {"answered": 0})["answered"]
    assert answered >= 9 + 1 and 0 < now["binance"]["upstream"] <= made + sum(
        "fapi" in r.path for r in rig.exchange.requests
    )


async def test_worlds_of_the_past_are_told_apart_and_answers_from_memory_count(
    client: Any, pipeline: sa.Seamless
) -> None:
    as_of = pipeline.releases(NODE)[0].as_of
    async with client(dialects=True) as ask:
        for _ in range(3):
            assert (
                await ask.get(f"/as-of/{as_of}{KLINES}?symbol=BTCUSDT&interval=1m&limit=7")
            ).status_code == 200
        uses = (await ask.get("/v1/dialects")).json()["uses"]
    mine = [
        one for one in uses if one["world"] == f"/as-of/{as_of}" and one["asked"].startswith("/api/v3/klines")
    ]
    assert sum(one["requests"] for one in mine) >= 3 and {one["refused"] for one in mine} == {0}


async def test_without_dialects_nobody_is_told_of(client: Any) -> None:
    async with client() as ask:
        answer = (await ask.get("/v1/dialects")).json()
    assert answer["uses"] == [] and answer["costs"] == []


def test_answers_say_what_was_used_of_the_minute_as_binance_does(rig: Rig) -> None:
    def used(path: str) -> int:
        headers = httpx.get(f"{rig.url}{path}").headers
        assert headers["x-mbx-used-weight"] == headers["x-mbx-used-weight-1m"]
        return int(headers["x-mbx-used-weight-1m"])

    before = used("/binance/api/v3/time")
    # A minute may begin between any two of them.
    listed = used("/binance/api/v3/exchangeInfo")
    assert listed in (before + 20, 20)
    assert used(f"{KLINES}?symbol=BTCUSDT&interval=1m") in (listed + 2, 2)
    info = httpx.get(f"{rig.url}/binance/api/v3/exchangeInfo").json()
    assert info["rateLimits"][0]["limit"] == 6_000
    assert "x-mbx-used-weight" not in httpx.get(f"{rig.url}/kraken/0/public/Time").headers


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    at = [60_000.0]
    monkeypatch.setattr(tallies.time, "time", lambda: at[0])
    return at


def test_what_was_used_is_of_each_caller_and_begins_anew_with_each_minute(now: list[float]) -> None:
    tally = Tally()

    def used(caller: str, path: str = "/api/v3/klines") -> list[int]:
        return [int(value) for _, value in tally.limit_headers(caller, "binance", path)]

    assert [used("one"), used("one"), used("two")] == [[2, 2], [4, 4], [2, 2]]
    now[0] += 59.9
    assert used("one", "/nowhere") == [5, 5]
    now[0] += 0.1
    assert used("one", "/api/v3/exchangeInfo") == [20, 20]
    for name in ("kraken", "okx"):
        assert list(tally.limit_headers("one", name, "/")) == []


def test_bybit_and_coinbase_say_what_is_left(now: list[float]) -> None:
    tally = Tally()

    def told(name: str, caller: str = "one") -> dict[str, str]:
        return {key.decode(): value.decode() for key, value in tally.limit_headers(caller, name, "/")}

    now[0] = 60_001.5
    assert told("bybit") == {
        "x-bapi-limit": "600",
        "x-bapi-limit-status": "599",
        "x-bapi-limit-reset-timestamp": "60001500",
    }
    for _ in range(600):
        last = told("bybit")
    assert (last["x-bapi-limit-status"], last["x-bapi-limit-reset-timestamp"]) == ("0", "60005000")
    left = [told("coinbase")["x-ratelimit-remaining"] for _ in range(12)]
    assert left == [str(number) for number in (9, 8, 7, 6, 5, 4, 3, 2, 1, 0, 0, 0)]
    assert told("coinbase", "two")["x-ratelimit-remaining"] == "9"
    now[0] += 5
    assert told("bybit")["x-bapi-limit-status"] == "599"
    assert told("coinbase") == {
        "x-ratelimit-limit": "10",
        "x-ratelimit-remaining": "9",
        "x-ratelimit-reset": "1",
    }


def test_bybit_tells_the_end_of_its_window_by_the_clock_of_the_world_that_is_asked(
    now: list[float], rig: Rig
) -> None:
    tally = Tally()
    for _ in range(601):
        told = dict(tally.limit_headers("one", "bybit", "/", 1_000.0))
    assert told[b"x-bapi-limit-reset-timestamp"] == b"1005000"
    # The second answer to the same is the first one again.
    for path in ("/bybit/v5/market/time", "/bybit/v5/market/time", "/bybit/nope"):
        headers = httpx.get(f"{rig.url}/as-of/2025-01-10T00:00:00Z{path}").headers
        assert headers["x-bapi-limit-reset-timestamp"] == "1736467200000"


def test_as_many_uses_are_kept_as_there_is_room_for() -> None:
    tally = Tally()
    for number in range(MAX_USES + 10):
        tally.note("bot", "okx", f"/okx/{number}" + "x" * 500, b"instId=" + b"y" * 500, is_refused=True)
    uses = tally.uses()
    assert len(uses) == MAX_USES and max(len(use.asked) for use in uses) <= 201
    assert not tally.answered


async def begun(scope: Scope, tally: Tally, *told: Message) -> list[Message]:
    """What a client is sent where the application below the dialects sends `told`."""
    sent: list[Message] = []

    async def app(_: Scope, receive: Receive, send: Send) -> None:
        for message in told:
            await send(message)

    async def receive() -> Message:
        return {"type": "websocket.connect"}

    async def send(message: Message) -> None:
        sent.append(message)

    whole = {"query_string": b"", CALLER: Caller("bot", None), **scope}
    await InDialect(app, tally)(whole, receive, send)
    return sent


async def test_what_the_exchange_says_was_used_is_told_alone() -> None:
    theirs = [(b"X-MBX-Used-Weight-1m", b"1374")]
    start = {"type": "http.response.start", "status": 200, "headers": theirs}
    end = {"type": "http.response.body", "body": b"{}"}
    sent = await begun({"type": "http", "path": "/binance/api/v3/depth"}, Tally(), start, end)
    told = [(name.lower(), value) for name, value in sent[0]["headers"]]
    assert told == [(b"x-mbx-used-weight-1m", b"1374"), (b"x-mbx-used-weight", b"1")]


@pytest.mark.parametrize("status", [401, 404, 429])
@pytest.mark.parametrize("kind", [PROBLEM_TYPE, "application/json"])
async def test_a_refused_connection_is_counted_as_a_refused_request(status: int, kind: str) -> None:
    start = {
        "type": "websocket.http.response.start",
        "status": status,
        "headers": [(b"content-type", kind.encode())],
    }
    tally = Tally()
    end = {"type": "websocket.http.response.body", "body": b"{}"}
    await begun({"type": "websocket", "path": "/okx/ws/v5/business"}, tally, start, end)
    await begun({"type": "websocket", "path": "/okx/nowhere"}, tally, {"type": "websocket.close"})
    assert [(use.asked, use.requests, use.refused) for use in tally.uses()] == [
        ("/nowhere", 1, 1),
        ("/ws/v5/business", 1, 1),
    ]
    assert not tally.answered
