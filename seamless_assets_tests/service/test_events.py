"""Closed bars over HTTP: the events of `subscribe`, by everyone who may, and for no longer than they stay."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from fastapi import FastAPI
from service.conftest import HOLE, NODE, THIN, TOKENS, Client
from service.test_remote import answering
from starlette.types import Receive, Scope, Send
from support.served import served

import seamless_assets as sa
from seamless_assets.adapters.http import service as http_client
from seamless_assets.core.live.events import CaughtUp
from seamless_assets.core.wire.sse import Message, MessageReader
from seamless_assets.errors import (
    AccessRefused,
    InvalidChoice,
    InvalidCursor,
    InvalidInput,
    LimitExceeded,
    NotServed,
    SeamlessError,
    ServiceUnavailable,
)
from seamless_assets.pipeline.remote import streaming
from seamless_assets.service.answers import streams
from seamless_assets.testing import DAY, START

SINCE, UNTIL = HOLE[0] - 3_000, HOLE[1] + 3_000
BOTH = [NODE, THIN]
HASTY = sa.ComputeContext(domain="live", max_lag=1)


@pytest.fixture(scope="module")
def url(make_app: Callable[..., FastAPI]) -> Iterator[str]:
    """Where the service of the pipeline answers."""
    with served(make_app(max_streams=3)) as address:
        yield address


def messages(text: str | bytes) -> list[Message]:
    return list(MessageReader().feed(text.encode() if isinstance(text, str) else text))


def by_node(events: list[Any]) -> dict[str, list[Any]]:
    """The events of each node in their order; of what is told of the clock, where it stands in time alone."""
    told: dict[str, list[Any]] = {}
    for event in events:
        is_timed = isinstance(event, CaughtUp | sa.Stale)
        told.setdefault(event.node_id, []).append((type(event), event.end) if is_timed else event)
    return told


@pytest.mark.parametrize(
    "arguments",
    [
        {"nodes": NODE, "since": SINCE, "until": UNTIL},
        {"nodes": BOTH, "since": "2025-01-01T01:00:00+01:00", "until": START + DAY},
        {
            "nodes": BOTH,
            "since": SINCE,
            "until": UNTIL,
            "context": sa.ComputeContext(domain="live", max_lag=1),
        },
        {"nodes": [], "since": SINCE},
        {"nodes": "BTC"},
        {"nodes": NODE, "since": UNTIL, "until": SINCE},
        {"nodes": NODE, "since": "c2.nonsense"},
        {"nodes": NODE, "since": "yesterday"},
        {"nodes": NODE, "context": sa.ComputeContext(as_of=START)},
    ],
)
def test_a_subscription_is_the_same_over_http(pipeline: sa.Seamless, url: str, arguments: Any) -> None:
    def told(face: sa.Seamless) -> Any:
        try:
            return by_node(list(face.subscribe(**arguments)))
        except SeamlessError as error:
            return type(error), str(error)

    with sa.connect(url) as remote:
        ours, theirs = told(pipeline), told(remote)
    assert theirs == ours
    if isinstance(ours, dict):
        assert len(ours[NODE]) > 20 and any(isinstance(event, sa.Gap) for event in ours[NODE])


def test_a_panel_is_the_same_over_http(pipeline: sa.Seamless, url: str) -> None:
    with sa.connect(url) as remote:
        ours, theirs = (
            [tick for tick in face.panel([NODE], SINCE, UNTIL) if isinstance(tick, sa.Tick)]
            for face in (pipeline, remote)
        )
        assert theirs == ours and len(ours) == (UNTIL - SINCE) // 60
        assert [tick.cursor for tick in theirs] == [tick.cursor for tick in ours]
        rest = [tick for tick in remote.panel([NODE], theirs[40].cursor, UNTIL) if isinstance(tick, sa.Tick)]
        assert rest == ours[41:]
        with pytest.raises(InvalidInput, match="one timeframe"):
            remote.panel(BOTH)


def bars(told: list[Message]) -> dict[str, list[bytes]]:
    """What a cursor counts, by node."""
    lasting = [message.data for message in told if message.event in ("Bar", "Gap")]
    return {node: [data for data in lasting if node.encode() in data] for node in BOTH}


async def test_any_event_is_gone_on_after_by_its_id(client: Client) -> None:
    query = {"nodes": ",".join(BOTH), "since": SINCE, "until": UNTIL}
    async with client() as ask:
        whole = messages((await ask.get("/v1/events", params=query)).text)
        assert [whole[0].event, whole[-1].event] == ["Begin", "End"] and len({m.last_id for m in whole}) > 60
        for at in (0, 1, 17, len(whole) - 4):
            # A browser asks for what it asked for first, and names the last id that it heard of.
            answer = await ask.get("/v1/events", params=query, headers={"Last-Event-ID": whole[at].last_id})
            body = {"nodes": BOTH, "since": whole[at].last_id, "until": str(UNTIL)}
            posted = await ask.post("/v1/events", json=body)
            assert bars(messages(answer.text)) == bars(messages(posted.text)) == bars(whole[at + 1 :])
        over = await ask.get("/v1/events", params=query, headers={"Last-Event-ID": whole[-1].last_id})
        assert over.status_code == 204 and over.content == b""
        nothing = {"nodes": NODE, "since": UNTIL, "until": UNTIL}
        for headers in ({}, {"Last-Event-ID": ""}):
            anew = await ask.get("/v1/events", params=nothing, headers=headers)
            assert anew.status_code == 200 and "End" in anew.text


async def test_what_is_asked_for_is_used_or_refused(client: Client) -> None:
    other = "ohlcv:binance:ETH/USDT:1m"
    refused: list[tuple[dict[str, Any], type[SeamlessError], str]] = [
        ({"nodes": other}, InvalidChoice, "not declared"),
        ({"nodes": NODE, "deadline": 3}, InvalidInput, "panel"),
        ({"nodes": ",".join(BOTH), "panel": "true"}, InvalidInput, "one timeframe"),
        ({"nodes": NODE, "max_lag": 0}, InvalidInput, "max_lag"),
        ({"nodes": NODE, "as_of": START}, InvalidInput, "as_of"),
        ({"nodes": ",".join([NODE] * 501)}, LimitExceeded, "500"),
        ({"since": START}, InvalidInput, "nodes"),
    ]
    async with client() as ask:
        for query, kind, words in refused:
            problem = (await ask.get("/v1/events", params=query)).json()
            assert (
                problem["error"] == kind.__name__ and words in problem["detail"] and problem["status"] == 422
            )
        answer = await ask.get(
            "/v1/events", params={"nodes": THIN}, headers={"Last-Event-ID": "c2.eJwDAAAAAAE"}
        )
        assert answer.json()["error"] == InvalidCursor.__name__
        # What no header takes, a body does.
        for length, status in ((200_000, 422), (2_000_000, 413)):
            posted = await ask.post("/v1/events", json={"nodes": [NODE], "since": "c2." + "A" * length})
            assert posted.status_code == status and (status == 413 or "cursor" in posted.json()["detail"])


async def test_a_stream_needs_the_scope_to_read(client: Client) -> None:
    query = {"nodes": THIN, "since": START, "until": START + 7_200}
    async with client(tokens=True) as ask:
        for name, token in TOKENS.items():
            headers = {"Authorization": f"Bearer {token}"}
            status = 200 if name in ("reader", "all") else 403
            assert (await ask.get("/v1/events", params=query, headers=headers)).status_code == status
        assert (await ask.get("/v1/events", params=query)).status_code == 401


@asynccontextmanager
async def endless(url: str, node: str = THIN) -> AsyncIterator[AsyncIterator[bytes]]:
    """The bytes of a stream that has begun and does not end."""
    async with (
        httpx.AsyncClient(timeout=30) as ask,
        ask.stream("GET", f"{url}/v1/events", params={"nodes": node, "since": START}) as answer,
    ):
        assert answer.status_code == 200 and answer.headers["content-type"].startswith("text/event-stream")
        assert answer.headers["cache-control"] == "no-store" and "content-length" not in answer.headers
        pieces = answer.aiter_raw()
        assert b"Begin" in await anext(pieces)
        yield pieces


async def test_streams_of_one_bearer_are_bounded_and_end_as_it_leaves(url: str) -> None:
    async with endless(url), endless(url):
        async with endless(url), httpx.AsyncClient() as ask:
            refused = await ask.get(f"{url}/v1/events", params={"nodes": NODE})
            assert refused.status_code == 429 and refused.json()["facts"] == {"limit": 3}
            # Questions are counted by themselves.
            assert (await ask.get(f"{url}/v1/nodes")).status_code == 200
            with sa.connect(url) as remote, pytest.raises(LimitExceeded):
                next(remote.subscribe(NODE))
        async with asyncio.timeout(10):
            await opened_at_last(url)


async def opened_at_last(url: str) -> None:
    """Return once a stream more is let in."""
    async with httpx.AsyncClient() as ask:
        while True:
            async with ask.stream("GET", f"{url}/v1/events", params={"nodes": THIN}) as answer:
                if answer.status_code == 200:
                    return


async def test_a_silent_stream_has_heartbeats(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "HEARTBEAT_S", 0.02)
    async with endless(url) as pieces, asyncio.timeout(20):
        seen = b""
        while not seen.endswith(b"\n: \n\n: \n\n"):
            seen += await anext(pieces)
        assert {m.event for m in messages(seen)} <= {"Bar", "Gap", "CaughtUp", "Stale"}


def test_a_service_that_ends_does_not_wait_for_streams(make_app: Callable[..., FastAPI]) -> None:
    begun, ended = threading.Event(), threading.Event()

    async def listen(address: str) -> None:
        async with endless(address) as pieces:
            begun.set()
            with pytest.raises(httpx.RemoteProtocolError):
                async for _ in pieces:
                    pass
        ended.set()

    with served(make_app()) as address:
        listener = threading.Thread(target=lambda: asyncio.run(listen(address)))
        listener.start()
        assert begun.wait(30)
    # A server waits for what is under way, however long that takes.
    listener.join(30)
    assert ended.is_set()


class Cutting:
    """An application whose answers break off after some bytes, as a service that is killed leaves them."""

    def __init__(self, app: Any, lengths: list[int]) -> None:
        self._app, self.lengths = app, lengths

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        left = self.lengths.pop(0) if self.lengths else 10**9

        async def cut(message: Any) -> None:
            nonlocal left
            body = message.get("body", b"")
            if len(body) >= left:
                await send({**message, "body": body[:left]})
                raise ConnectionResetError
            left -= len(body)
            await send(message)

        await self._app(scope, receive, cut)


def test_a_stream_that_breaks_off_anywhere_is_gone_on_with(
    pipeline: sa.Seamless, make_app: Callable[..., FastAPI], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streaming, "FIRST_RETRY_S", 0.001)
    expected = by_node(list(pipeline.subscribe(BOTH, since=SINCE, until=UNTIL)))
    app = Cutting(make_app(), [])
    with served(app) as address, sa.connect(address) as remote:
        for lengths in ([900, 901, 902], [400, 0, 5_000, 1, 9_999], [20_000]):
            app.lengths = lengths
            assert by_node(list(remote.subscribe(BOTH, since=SINCE, until=UNTIL))) == expected
            assert app.lengths == []
        app.lengths = [10]
        with pytest.raises(ServiceUnavailable):
            list(remote.subscribe(BOTH, since=SINCE, until=UNTIL))


async def test_nothing_is_held_for_who_does_not_read(pipeline: sa.Seamless, url: str) -> None:
    host = urlsplit(url)
    _, writer = await asyncio.open_connection(host.hostname, host.port)
    writer.write(f"GET /v1/events?nodes={NODE}&since={START} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
    await writer.drain()
    async with httpx.AsyncClient() as ask:
        # Who reads is served meanwhile.
        query = {"nodes": NODE, "since": SINCE, "until": UNTIL}
        assert (await ask.get(f"{url}/v1/events", params=query)).text.endswith("event: End\ndata: {}\n\n")
    writer.close()


@pytest.mark.parametrize(
    "reply", [b"<html>sign in</html>", b"data: {}\n\n", b'event: Bar\ndata: {"a": 1}\n\n']
)
async def test_what_no_service_tells_is_an_outage(reply: bytes) -> None:

    async with answering(200, reply) as address, sa.connect(address).aio as face:
        with pytest.raises(ServiceUnavailable, match=address):
            await anext(face.subscribe(NODE))
    assert http_client.STREAM_SILENCE_S > 2 * streams.HEARTBEAT_S


class Repeating:
    """A service that sends the same messages over each connection."""

    def __init__(self, sent: list[Message]) -> None:
        self.sent, self.connections = sent, 0

    async def events(self, path: str, body: Mapping[str, Any]) -> AsyncGenerator[Message, None]:
        self.connections += 1
        for message in self.sent:
            yield message


@pytest.mark.parametrize(
    ("kind", "data"),
    [
        ("Amended", b'{"event": "Amended", "node_id": "%s", "at": 1}' % NODE.encode()),
        ("Gap", b'{"event": "Gap", "node_id": "%s", "begin": 1}' % NODE.encode()),
        ("Gap", b"{"),
        ("Begin", b'{"event": "Begin"}'),
    ],
)
async def test_an_event_of_another_version_is_told_and_not_asked_for_again(
    client: Client, kind: str, data: bytes
) -> None:
    query = {"nodes": NODE, "since": SINCE, "until": UNTIL}
    async with client() as ask:
        begun = messages((await ask.get("/v1/events", params=query)).text)[:4]
    service = Repeating([*begun, Message(kind, data, begun[-1].last_id)])
    events = streaming.follow(service, (sa.NodeId.parse(NODE),), streaming.Question("/v1/events", {}))
    told = [await anext(events) for _ in begun[1:]]
    with pytest.raises(NotServed, match="bring client and service to one version"):
        await anext(events)
    assert len(told) == 3 and service.connections == 1


def test_a_token_without_the_scope_is_told_so(make_app: Callable[..., FastAPI]) -> None:
    with (
        served(make_app(tokens=True)) as address,
        sa.connect(address, token="l-token") as remote,
        pytest.raises(AccessRefused, match="read"),
    ):
        next(remote.subscribe(NODE))
