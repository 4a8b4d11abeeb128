"""The past over HTTP: the events of `replay`, gone on with wherever they broke off, of one knowledge time."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Iterator, Mapping
from typing import Any

import pytest
from fastapi import FastAPI
from service.conftest import HOLE, NODE, THIN, Client
from service.test_events import messages
from support.served import served

import seamless_assets as sa
from seamless_assets.core.wire.sse import Message
from seamless_assets.errors import SeamlessError, ServiceUnavailable
from seamless_assets.pipeline.remote import streaming
from seamless_assets.testing import DAY, START

BOTH = [NODE, THIN]
SINCE, UNTIL = HOLE[0] - 3_000, HOLE[1] + 3_000


@pytest.fixture(scope="module")
def url(make_app: Callable[..., FastAPI]) -> Iterator[str]:
    """Where the service of the pipeline answers."""
    with served(make_app()) as address:
        yield address


@pytest.mark.parametrize(
    "arguments",
    [
        {"nodes": NODE, "start": SINCE, "end": UNTIL},
        {"nodes": BOTH, "start": "2025-01-01T01:00:00+01:00", "end": START + DAY, "knowledge": "then"},
        {"nodes": BOTH, "start": SINCE, "end": UNTIL, "speed": 1e6},
        {"nodes": NODE, "start": SINCE, "end": SINCE},
        {"nodes": NODE, "start": UNTIL, "end": SINCE},
        {"nodes": NODE, "start": SINCE, "end": START + 3 * DAY},
        {"nodes": NODE, "start": SINCE, "end": UNTIL, "as_of": START},
        {"nodes": NODE, "start": SINCE, "end": UNTIL, "as_of": "2200-01-01T00:00:00Z"},
        {"nodes": NODE, "start": SINCE, "end": UNTIL, "knowledge": "now"},
        {"nodes": NODE, "start": SINCE, "end": UNTIL, "speed": 0},
        {"nodes": NODE, "start": SINCE, "end": None},
        {"nodes": NODE, "start": "c2.nonsense", "end": UNTIL},
        {"nodes": "ohlcv:okx:ETH/USDT:1h", "start": SINCE, "end": UNTIL},
        {"nodes": [], "start": SINCE, "end": UNTIL},
    ],
)
def test_a_replay_is_the_same_over_http(pipeline: sa.Seamless, url: str, arguments: Any) -> None:
    def told(face: sa.Seamless) -> Any:
        try:
            return [(event, event.cursor) for event in face.replay(**arguments)]
        except SeamlessError as error:
            return type(error), str(error)

    with sa.connect(url) as remote:
        assert told(remote) == told(pipeline)


@pytest.mark.parametrize("knowledge", ["final", "then"])
async def test_any_event_of_a_replay_is_gone_on_after_by_its_id(client: Client, knowledge: str) -> None:
    asked = {"start": str(SINCE), "end": str(UNTIL), "knowledge": knowledge}
    query = {"nodes": ",".join(BOTH), **asked}
    async with client() as ask:
        whole = messages((await ask.get("/v1/replay", params=query)).text)
        assert [whole[0].event, whole[-1].event] == ["Begin", "End"] and len(whole) > 80
        for at in (0, 1, 17, len(whole) - 4):
            answer = await ask.get("/v1/replay", params=query, headers={"Last-Event-ID": whole[at].last_id})
            body = {**asked, "nodes": BOTH, "start": whole[at].last_id}
            posted = await ask.post("/v1/replay", json=body)
            assert messages(answer.text)[1:] == messages(posted.text)[1:] == whole[at + 1 :]
        over = await ask.get("/v1/replay", params=query, headers={"Last-Event-ID": whole[-1].last_id})
        assert over.status_code == 204 and over.content == b""
        nothing = {"nodes": NODE, **asked, "start": str(UNTIL)}
        for headers in ({}, {"Last-Event-ID": ""}):
            anew = await ask.get("/v1/replay", params=nothing, headers=headers)
            assert anew.status_code == 200 and "End" in anew.text


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"nodes": "BTC"}, 422),
        ({"speed": "nan"}, 422),
        ({"knowledge": "now"}, 422),
        ({"until": str(UNTIL)}, 422),
        ({"as_of": "1970-01-02"}, 404),
        ({"end": str(START + 3 * DAY)}, 409),
        ({"nodes": ",".join([NODE] * 501)}, 422),
    ],
)
async def test_what_cannot_be_replayed_is_refused_before_the_first_event(
    client: Client, change: dict[str, str], status: int
) -> None:
    query = {"nodes": NODE, "start": str(SINCE), "end": str(UNTIL), **change}
    async with client() as ask:
        answer = await ask.get("/v1/replay", params=query)
        listed = {**query, "nodes": query["nodes"].split(",")}
        posted = await ask.post("/v1/replay", json=listed)
    assert (answer.status_code, posted.status_code) == (status, status)
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize(
    ("path", "asked"),
    [
        ("/v1/replay", {"start": str(SINCE), "end": str(UNTIL), "speed": True}),
        ("/v1/replay", {"start": str(SINCE), "end": str(UNTIL), "speed": "60"}),
        ("/v1/replay", {"start": SINCE, "end": str(UNTIL)}),
        ("/v1/replay", {"start": str(SINCE), "end": str(UNTIL), "more": 1}),
        ("/v1/events", {"since": str(SINCE), "until": str(UNTIL), "max_lag": True}),
        ("/v1/events", {"since": str(SINCE), "until": str(UNTIL), "panel": True, "deadline": True}),
        ("/v1/events", {"since": str(SINCE), "until": str(UNTIL), "panel": 1}),
        ("/v1/events", {"since": str(SINCE), "until": str(UNTIL), "panel": "yes"}),
    ],
)
async def test_a_value_of_json_is_of_its_kind(client: Client, path: str, asked: dict[str, Any]) -> None:
    async with client() as ask:
        answer = await ask.post(path, json={"nodes": [NODE], **asked})
    assert answer.status_code == 422 and answer.headers["content-type"] == "application/problem+json"


class Breaking:
    """A service whose first connection breaks off after some messages."""

    def __init__(self, sent: list[Message], breaks_after: int) -> None:
        self.sent, self.breaks_after, self.asked = sent, breaks_after, list[Mapping[str, Any]]()

    async def events(self, path: str, body: Mapping[str, Any]) -> AsyncGenerator[Message, None]:
        self.asked.append(body)
        begin, *rest = self.sent
        if len(self.asked) == 1:
            for message in self.sent[: self.breaks_after]:
                yield message
            raise ServiceUnavailable("it is away")
        yield Message(begin.event, begin.data, self.sent[self.breaks_after - 1].last_id)
        for message in rest[self.breaks_after - 1 :]:
            yield message


async def test_a_replay_that_breaks_off_goes_on_with_what_was_known_as_it_began(client: Client) -> None:
    query = {"nodes": NODE, "start": str(SINCE), "end": str(UNTIL)}
    async with client() as ask:
        whole = messages((await ask.get("/v1/replay", params=query)).text)[:-1]
    service = Breaking(whole, 7)
    question = streaming.Question("/v1/replay", {"nodes": [NODE], "start": str(SINCE)}, start="start")
    told = [event async for event in streaming.follow(service, (sa.NodeId.parse(NODE),), question)]
    assert [event.cursor for event in told] == [message.last_id for message in whole[1:]]
    first, then = service.asked
    as_of = streaming.read_begin(whole[0].data).as_of
    assert "as_of" not in first and as_of is not None
    assert then == {"nodes": [NODE], "start": whole[6].last_id, "as_of": as_of}
