"""What one who asks may make the service do: look at stores, begin sessions, read what is not declared."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from service.conftest import NODE, TOKENS, Client

from seamless_assets.adapters.machine.leases import MachineLeases
from seamless_assets.config.sections import ServiceSettings
from seamless_assets.core.node import NodeId
from seamless_assets.errors import ArtifactStoreError, LeaseStoreUnavailable, SeamlessError
from seamless_assets.pipeline.seamless import Seamless
from seamless_assets.service import readiness
from seamless_assets.service.app import service_app
from seamless_assets.service.readiness import KNOWN_S, Readiness
from seamless_assets.testing import DAY, START, InMemoryExchange, connect_in_memory, random_walk


class Stores:
    """Stores that are asked, on a clock of their own."""

    def __init__(self) -> None:
        self.asked, self.now = 0, 0.0
        self.error: SeamlessError | None = None
        self.gate = asyncio.Event()
        self.gate.set()

    async def ask(self) -> None:
        self.asked += 1
        await self.gate.wait()
        if self.error is not None:
            raise self.error


async def test_stores_are_asked_once_a_second_whoever_wants_to_know_and_away_or_not() -> None:
    stores = Stores()
    known = Readiness(stores.ask, lambda: stores.now)
    for error in (None, ArtifactStoreError("away")):
        stores.error, stores.asked = error, 0
        stores.now += 10
        assert [await known.problem() for _ in range(9)] == [error] * 9
        assert await asyncio.gather(*(known.problem() for _ in range(50))) == [error] * 50
        assert stores.asked == 1
        stores.now += KNOWN_S
        await known.problem()
        assert stores.asked == 1
        stores.now += 0.1
        await known.problem()
        assert stores.asked == 2


async def test_stores_that_hang_are_asked_by_one_and_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readiness, "PATIENCE_S", 0.05)
    stores = Stores()
    stores.gate.clear()
    known = Readiness(stores.ask, lambda: stores.now)
    impatient = asyncio.create_task(known.problem())
    await asyncio.sleep(0)
    impatient.cancel()
    problems = await asyncio.gather(*(known.problem() for _ in range(30)))
    assert stores.asked == 1 and all("doctor" in str(problem) for problem in problems)


async def test_which_store_is_away_is_told_to_those_who_may_read(
    pipeline: Seamless, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(*_: Any) -> None:
        raise ArtifactStoreError("s3://our-bucket/secret-prefix does not answer")

    async def unreadable(*_: Any) -> None:
        raise LeaseStoreUnavailable("/home/us/data/leases.sqlite cannot be read")

    monkeypatch.setattr(pipeline.aio.ports.artifacts, "status", away)
    monkeypatch.setattr(MachineLeases, "tally", unreadable)
    for settings in ({"tokens": True, "max_rows": 7}, {"max_rows": 7}):
        async with client(**settings) as ask:
            for path, words in (("/readyz", "our-bucket"), ("/healthz", "/home/us")):
                for token, may in ((None, "tokens" not in settings), ("l-token", False), ("r-token", True)):
                    headers = {"Authorization": f"Bearer {token}"} if token else {}
                    answer = await ask.get(path, headers=headers)
                    assert answer.status_code == 503, answer.text
                    assert (words in answer.text) is (may or "tokens" not in settings), (path, token)


async def test_a_bearer_begins_so_many_sessions_and_no_more(client: Client) -> None:
    async def bind(ask: httpx.AsyncClient, world: str, token: str) -> httpx.Response:
        headers = {"Authorization": f"Bearer {token}"}
        return await ask.post("/v1/sessions/bind", json={"node": NODE, "world_id": world}, headers=headers)

    reader, other = TOKENS["reader"], TOKENS["all"]
    async with client(tokens=True, max_sessions=3) as ask:
        for world in ("bounds 1", "bounds 2", "bounds 1"):
            assert (await bind(ask, world, reader)).status_code == 200
        query = {"node": NODE, "world_id": "bounds 3", "domain": "live", "start": START, "end": START + 60}
        query |= {"strategy": "FAIL_FAST", "max_lag": 1e12}
        headers = {"Authorization": f"Bearer {reader}"}
        assert (await ask.get("/v1/history", params=query, headers=headers)).status_code == 200
        refused = await bind(ask, "bounds 4", reader)
        assert refused.status_code == 422 and refused.json()["facts"] == {"limit": 3}
        refused = await ask.get("/v1/history", params=query | {"world_id": "bounds 5"}, headers=headers)
        assert refused.status_code == 422 and "sessions" in refused.json()["detail"]
        # What is remembered is gone on with, whoever began it; what has no world is no session.
        assert (await bind(ask, "bounds 2", reader)).status_code == 200
        assert (await bind(ask, "bounds 4", other)).status_code == 200
        assert (await bind(ask, "bounds 4", reader)).status_code == 200
        alone = {"node": NODE, "start": START, "end": START + 60}
        assert (await ask.get("/v1/history", params=alone, headers=headers)).status_code == 200


async def test_a_backtest_that_nothing_is_remembered_of_is_none_of_the_sessions_a_bearer_may_begin(
    pipeline: Seamless, client: Client
) -> None:
    query = {"node": NODE, "as_of": pipeline.releases(NODE)[0].as_of, "start": START, "end": START + 60}
    headers = {"Authorization": f"Bearer {TOKENS['reader']}"}
    worlds = [f"backtest {number}" for number in range(3)]
    async with client(tokens=True, max_sessions=1) as ask:
        for world in worlds:
            # Who names no domain reads a backtest.
            for more in ({"domain": "backtest"}, {}):
                named = query | more | {"world_id": world}
                answer = await ask.get("/v1/history", params=named, headers=headers)
                assert answer.status_code == 200, answer.text
        remembered = await pipeline.aio.portal.do(lambda ports: ports.sessions.list_keys())
        assert not {key.world_id for key in remembered} & {*worlds}
        for world, status in zip(worlds[:2], (200, 422), strict=True):
            named = query | {"world_id": world, "domain": "backtest", "session": "true"}
            answer = await ask.get("/v1/history", params=named, headers=headers)
            assert answer.status_code == status, answer.text


async def test_all_sessions_are_asked_for_at_once(
    pipeline: Seamless, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with client() as ask:
        for world in ("many 1", "many 2"):
            await ask.post("/v1/sessions/bind", json={"node": NODE, "world_id": world})

        async def one_by_one(*_: Any) -> None:
            raise AssertionError("each session was asked for by itself")

        monkeypatch.setattr(pipeline.aio.ports.sessions, "load", one_by_one)
        worlds = [view["world_id"] for view in (await ask.get("/v1/worlds")).json()]
        assert {"many 1", "many 2"} <= set(worlds) and worlds == sorted(worlds)
        (one,) = (await ask.get("/v1/worlds", params={"world_id": "many 2"})).json()
        assert one["world_id"] == "many 2" and one["as_of"]


async def test_what_is_not_declared_is_refused_before_it_is_read(
    make_leases: Callable[[], MachineLeases], monkeypatch: pytest.MonkeyPatch
) -> None:
    other = NodeId.parse("ohlcv:binance:ETH/USDT:1m")
    exchange = InMemoryExchange.serving({NODE: random_walk(START, START + 2 * DAY)})
    bars = random_walk(START, START + 2 * DAY)
    with connect_in_memory(exchange) as opened:
        exchange.series[other] = {ts: bar for ts, bar in bars.items() if ts % 3_600}
        opened.materialize(other, START, START + DAY)
        app: FastAPI = service_app(
            opened, make_leases(), nothing_counted, ServiceSettings.model_validate({"max_rows": 1_439})
        )
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as ask:
            query = {"node": str(other), "format": "json"}
            whole = await ask.get("/v1/history", params=query | {"limit": 1_400})
            assert whole.status_code == 200 and len(whole.json()["bars"]) == 1_400

            async def read(*_: Any, **__: Any) -> None:
                raise AssertionError("it was read")

            monkeypatch.setattr(opened.aio.ports.artifacts, "load_scan", read)
            monkeypatch.setattr(opened.aio.ports.artifacts, "load_artifact", read)
            for more in ({}, {"as_of": opened.releases(str(other))[0].as_of}):
                refused = await ask.get("/v1/history", params=query | more)
                assert refused.status_code == 422 and "1440 rows" in refused.json()["detail"]


async def nothing_counted() -> str:
    return ""
