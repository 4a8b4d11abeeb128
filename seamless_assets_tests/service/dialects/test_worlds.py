"""Worlds of paths: one that stands still at an instant, and one whose clock runs."""

from __future__ import annotations

import asyncio
from typing import Any

import ccxt
import httpx
import pytest
from service.conftest import HOLE, NODE, Client
from support.dialects import client as at_service
from support.served import served
from support.streams import PATIENCE_S

import seamless_assets as sa
from seamless_assets.errors import AsOfInFuture, InvalidInput
from seamless_assets.service.dialects import worlds
from seamless_assets.service.dialects.live.clocks import ExchangeClocks
from seamless_assets.service.dialects.visit import Visit
from seamless_assets.service.dialects.worlds import IDLE_S, Worlds
from seamless_assets.testing import DAY, START

KLINES, INFO, CLOCK = "/binance/api/v3/klines", "/binance/api/v3/exchangeInfo", "/binance/api/v3/time"
FIRST = {"symbol": "BTCUSDT", "interval": "1m", "startTime": START * 1_000, "limit": 3}


@pytest.fixture
def as_ofs(pipeline: sa.Seamless) -> tuple[str, str]:
    """Those of the two releases: a bar of the second is a corrected one."""
    first, second = pipeline.releases(NODE)
    return first.as_of, second.as_of


async def asked(client: Client, path: str, **query: Any) -> httpx.Response:
    async with client(dialects=True) as service:
        return await service.get(path, params=query)


async def test_a_frozen_world_knows_nothing_of_later_corrections(
    client: Client, as_ofs: tuple[str, str]
) -> None:
    before, after = [await asked(client, f"/as-of/{as_of}{KLINES}", **FIRST) for as_of in as_ofs]
    live = await asked(client, KLINES, **FIRST)
    volumes = [float(answer.json()[0][5]) for answer in (before, after, live)]
    assert volumes[0] + 1 == volumes[1] == volumes[2]
    assert before.json()[1:] == after.json()[1:] == live.json()[1:]
    for answer, as_of in ((before, as_ofs[0]), (after, as_ofs[1]), (live, as_ofs[1])):
        assert answer.headers["x-seamless-as-of"] == as_of
        assert answer.headers["x-seamless-verdict"] == "PASS"
        assert answer.headers["x-seamless-fingerprint"].startswith("sha256:")
    assert before.headers["x-seamless-fingerprint"] != after.headers["x-seamless-fingerprint"]
    assert "immutable" in before.headers["cache-control"]


async def test_a_frozen_world_is_the_same_byte_for_byte(client: Client, as_ofs: tuple[str, str]) -> None:
    newest = {"symbol": "BTCUSDT", "interval": "1m"}
    for path, query in ((KLINES, FIRST), (KLINES, newest), (INFO, {}), (CLOCK, {})):
        first, again = [await asked(client, f"/as-of/{as_ofs[0]}{path}", **query) for _ in range(2)]
        assert first.status_code == 200 and first.content == again.content


async def test_its_clock_stands_and_its_newest_candle_is_the_last_that_was_released(
    client: Client, as_ofs: tuple[str, str]
) -> None:
    now = (await asked(client, f"/as-of/{as_ofs[0]}{CLOCK}")).json()["serverTime"]
    assert now == int(worlds.epoch_micros(as_ofs[0]) / 1_000)
    newest = await asked(client, f"/as-of/{as_ofs[0]}{KLINES}", symbol="BTCUSDT", interval="1m", limit=2)
    assert [row[0] // 1_000 for row in newest.json()] == [START + DAY - 120, START + DAY - 60]
    last = FIRST | {"startTime": (START + DAY - 120) * 1_000}
    rows = await asked(client, f"/as-of/{as_ofs[0]}{KLINES}", **last)
    assert rows.json() == newest.json()


async def test_before_the_first_release_nothing_is_listed(client: Client, as_ofs: tuple[str, str]) -> None:
    for as_of, listed in (("2025-01-01T00:00:00Z", []), (as_ofs[0], ["BTCUSDT"])):
        info = (await asked(client, f"/as-of/{as_of}{INFO}")).json()
        assert [market["symbol"] for market in info["symbols"]] == listed
    refused = await asked(client, f"/as-of/2025-01-01T00:00:00Z{KLINES}", **FIRST)
    assert refused.status_code == 404 and refused.json()["code"] == -1016


async def test_refusals_say_of_which_world_they_are(client: Client, as_ofs: tuple[str, str]) -> None:
    for path, query in ((KLINES, {**FIRST, "symbol": "NOPE"}), (KLINES, {**FIRST, "interval": "5m"})):
        answer = await asked(client, f"/as-of/{as_ofs[1]}{path}", **query)
        assert answer.status_code >= 400 and answer.headers["x-seamless-as-of"] == as_ofs[1]
        assert answer.headers["x-seamless-verdict"] == "REJECT"


async def test_who_asks_the_same_of_now_at_one_time_is_answered_by_one_look(
    make_app: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[str] = []
    has_begun, may_end, visit = asyncio.Event(), asyncio.Event(), Worlds.visit

    async def held(made: Worlds, exchange: str, *rest: Any) -> Visit:
        """The first look waits until all have asked."""
        begun.append(exchange)
        if len(begun) == 1:
            has_begun.set()
            await may_end.wait()
        return await visit(made, exchange, *rest)

    monkeypatch.setattr(Worlds, "visit", held)
    transport = httpx.ASGITransport(make_app(dialects=True))
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as service:
        asking = [asyncio.ensure_future(service.get(CLOCK)) for _ in range(5)]
        async with asyncio.timeout(PATIENCE_S):
            await has_begun.wait()
        asking += [asyncio.ensure_future(service.get(CLOCK)) for _ in range(5)]
        for _ in range(50):
            await asyncio.sleep(0)
        may_end.set()
        answers = await asyncio.gather(*asking)
    assert {answer.status_code for answer in answers} == {200} and len(begun) == 2
    assert {answer.headers["x-seamless-verdict"] for answer in answers} == {"PASS"}


async def test_pages_lead_through_a_hole(client: Client, as_ofs: tuple[str, str]) -> None:
    for world in ("", f"/as-of/{as_ofs[1]}"):
        answer = await asked(client, world + KLINES, **FIRST | {"startTime": (HOLE[0] - 60) * 1_000})
        assert [row[0] // 1_000 for row in answer.json()] == [HOLE[0] - 60, HOLE[1], HOLE[1] + 60]


async def test_a_running_clock_shows_what_had_closed(client: Client, as_ofs: tuple[str, str]) -> None:
    world = f"/replay/0.001/{START + 3_690}/as-of/{as_ofs[0]}"
    newest = await asked(client, world + KLINES, symbol="BTCUSDT", interval="1m", limit=2)
    assert [row[0] // 1_000 for row in newest.json()] == [START + 3_540, START + 3_600]
    assert "cache-control" not in newest.headers
    later = await asked(client, world + KLINES, **FIRST | {"startTime": (START + 3_660) * 1_000})
    assert later.json() == []


def test_real_ccxt_lives_in_such_worlds(make_app: Any, as_ofs: tuple[str, str]) -> None:
    with served(make_app(dialects=True)) as url:
        frozen = at_service("binance", url, f"/as-of/{as_ofs[0]}/binance", ccxt)
        rows = frozen.fetch_ohlcv("BTC/USDT", "1m", since=START * 1_000, limit=1_000)
        assert len(rows) == 1_000
        assert frozen.fetch_time() == worlds.epoch_micros(as_ofs[0]) // 1_000
        running = at_service("binance", url, f"/replay/60/{START + DAY}/as-of/{as_ofs[0]}/binance", ccxt)
        assert running.fetch_ohlcv("BTC/USDT", "1m", limit=1)[0][0] == (START + DAY - 60) * 1_000


class Time:
    """A clock that a test sets."""

    now = 1_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> Time:
    clock = Time()
    monkeypatch.setattr(worlds, "monotonic", clock)
    return clock


async def visited(made: Worlds, caller: str = "bot", **path: str) -> Visit:
    return await made.visit("binance", path, caller)


async def test_a_clock_begins_with_the_first_request_of_its_bearer(pipeline: sa.Seamless, time: Time) -> None:
    made = Worlds(ExchangeClocks(pipeline))
    path = {"speed": "60", "start": str(START), "as_of": str(START + DAY)}
    assert (await visited(made, **path)).now == START
    time.now += 10
    assert (await visited(made, **path)).now == START + 600
    assert (await visited(made, caller="other", **path)).now == START
    assert (await visited(made, **path | {"speed": "30"})).now == START
    time.now += DAY
    assert (await visited(made, **path)).now == START, "nobody looked at it for long"
    time.now += IDLE_S - 1
    assert (await visited(made, **path)).now == START + DAY, "it ends where its knowledge does"


async def test_a_glance_begins_no_clock_and_keeps_none(pipeline: sa.Seamless, time: Time) -> None:
    made = Worlds(ExchangeClocks(pipeline))
    path = {"speed": "60", "start": str(START), "as_of": str(START + DAY)}
    assert (await made.glance("binance", path, "bot")).now == START
    time.now += 10
    assert (await visited(made, **path)).now == START
    time.now += IDLE_S - 1
    assert (await made.glance("binance", path, "bot")).now == START + DAY
    time.now += 2
    assert (await visited(made, **path)).now == START, "a glance has not kept it"


async def test_a_glance_at_the_live_world_asks_no_exchange(
    pipeline: sa.Seamless, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def asked(*_: object) -> float:
        raise AssertionError("the exchange was asked for its clock")

    monkeypatch.setattr(pipeline.aio.ports.source, "exchange_now", asked)
    made = Worlds(ExchangeClocks(pipeline))
    assert (await made.glance("binance", {}, "bot")).as_of is None


async def test_a_clock_without_an_as_of_keeps_to_what_was_known_when_it_began(
    pipeline: sa.Seamless, time: Time
) -> None:
    made = Worlds(ExchangeClocks(pipeline))
    first = await visited(made, speed="1", start=str(START))
    time.now += 5
    again = await visited(made, speed="1", start=str(START))
    assert first.as_of == again.as_of and again.now == START + 5


async def test_worlds_that_cannot_be_are_refused(pipeline: sa.Seamless) -> None:
    made = Worlds(ExchangeClocks(pipeline))
    for speed in ("0", "-1", "nan", "inf", "86401", "fast", " 60", "6_0", "\uff16", "", "0x3c", "1e999"):
        with pytest.raises(InvalidInput):
            await visited(made, speed=speed, start=str(START))
    with pytest.raises(AsOfInFuture):
        await visited(made, as_of="2999-01-01T00:00:00Z")
    with pytest.raises(AsOfInFuture):
        await visited(made, speed="1", start="2999-01-01T00:00:00Z")
    with pytest.raises(InvalidInput):
        await visited(made, as_of="2025-01-01T00:00:00")
