"""Answers that are kept: as many as fit, whatever was asked for them, and for as long as they hold."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import httpx
import pytest
from service.conftest import NODE
from starlette.types import Message, Receive, Scope, Send

from seamless_assets.adapters.machine.leases import MachineLeases
from seamless_assets.core.node import NodeId
from seamless_assets.errors import ArtifactStoreError
from seamless_assets.service.answers.replies import IMMUTABLE, RELEASED, KeptReplies, Released
from seamless_assets.service.app import service_app
from seamless_assets.testing import DAY, START, InMemoryExchange, connect_in_memory, random_walk


async def answer(_: Scope, __: Receive, send: Send) -> None:
    headers = [(b"cache-control", IMMUTABLE.encode()), (b"x-seamless-world", b"w" * 500)]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"1,2"})


class Newest:
    """Says at once that a release is still the newest, or not, or (None) that it has to be asked."""

    def __init__(self, newest: Released | None = None) -> None:
        self.newest, self.is_at_hand = newest, False
        self.asked = 0

    async def ask(self, _: str) -> Released:
        assert self.newest is not None, "what never changes needs nobody to say that it has not"
        self.asked += 1
        return self.newest

    def is_still(self, released: Released) -> bool | None:
        assert self.newest is not None, "what never changes needs nobody to say that it has not"
        return released.seq == self.newest.seq if self.is_at_hand and released.seq else None


async def unreceived() -> Message:
    raise AssertionError("nothing is received")


async def ignore(_: Message) -> None: ...


async def test_the_log_is_asked_once_where_the_store_says_at_once_that_nothing_follows() -> None:
    newest, answered = Newest(Released("n", "t1", "f1", 1)), []

    async def answer_newest(scope: Scope, _: Receive, send: Send) -> None:
        answered.append(newest.newest)
        assert newest.newest is not None
        # As an answer knows it: without its number.
        scope[RELEASED] = replace(newest.newest, seq=None)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"1,2"})

    replies = KeptReplies(answer_newest, newest)

    async def ask() -> None:
        scope = {"type": "http", "method": "GET", "path": "/", "query_string": b"", "headers": []}
        await replies(scope, unreceived, ignore)

    for is_at_hand, asked in ((False, 3), (True, 1)):
        newest.is_at_hand, newest.asked = is_at_hand, 0
        for seq in (1, 2):
            newest.newest = Released("n", f"t{seq}", f"f{is_at_hand}{seq}", seq)
            answered.clear()
            newest.asked = 0
            for _ in range(3):
                await ask()
            assert len(answered) == 1, "each release is read once, and seen at once"
        assert newest.asked == asked


async def test_small_answers_to_long_questions_fill_the_room_that_there_is() -> None:
    replies = KeptReplies(answer, Newest(), most_bytes=100_000)
    for number in range(200):
        query = f"world_id={'x' * 2_000}{number}".encode()
        scope = {"type": "http", "method": "GET", "path": "/v1/history", "query_string": query, "headers": []}
        await replies(scope, unreceived, ignore)
        await replies(scope, unreceived, ignore)
    assert 5 <= len(replies._kept) <= 100_000 // 6_500


async def test_the_newest_is_read_once_for_each_release_and_each_release_is_seen_at_once(
    make_leases: Callable[[], MachineLeases], monkeypatch: pytest.MonkeyPatch
) -> None:
    exchange = InMemoryExchange.serving({NODE: random_walk(START, START + 2 * DAY)})

    async def scrape() -> str:
        return ""

    with connect_in_memory(exchange) as pipeline:
        pipeline.materialize(NODE, START, START + DAY)
        artifacts = pipeline.aio.ports.artifacts
        transport = httpx.ASGITransport(service_app(pipeline, make_leases(), scrape))
        reads: list[Any] = []
        looked = artifacts.file_uri

        def counted(*arguments: Any) -> str:
            reads.append(arguments)
            return looked(*arguments)

        # Every read that is answered names the node's files.
        monkeypatch.setattr(artifacts, "file_uri", counted)
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as ask:

            async def asked(**more: Any) -> httpx.Response:
                return await ask.get("/v1/history", params={"node": NODE, "format": "json", **more})

            first = await asked()
            assert first.status_code == 200 and len(reads) == 1
            assert (await asked()).content == first.content and len(reads) == 1
            known = await ask.get(
                "/v1/history",
                params={"node": NODE, "format": "json"},
                headers={"If-None-Match": first.headers["ETag"]},
            )
            assert known.status_code == 304 and len(reads) == 1
            # What a strategy, a policy or a world decides is decided each time.
            for more in ({"strategy": "FAIL_FAST"}, {"sla": "baseline"}, {"domain": "live", "max_lag": 1e12}):
                before = len(reads)
                await asked(**more)
                await asked(**more)
                assert len(reads) >= before + 2, more
            for number in range(3):
                series = exchange.series[NodeId.parse(NODE)]
                series[START] = (*series[START][:-1], float(number + 1))
                await pipeline.aio.materialize(NODE, START, START + DAY)
                newest = (await pipeline.aio.releases(NODE))[-1]
                seen = await asked()
                assert seen.headers["X-Seamless-As-Of"] == newest.as_of
                assert seen.json()["bars"][0][-1] == number + 1
            await pipeline.aio.rollback(NODE, to=1, reason="as it was")
            assert (await asked()).json()["bars"] == first.json()["bars"]

            async def away(*_: Any) -> None:
                raise ArtifactStoreError("it is away")

            monkeypatch.setattr(artifacts, "load_snapshot", away)
            monkeypatch.setattr(artifacts.files, "is_away", True)
            assert (await asked()).status_code == 503
