"""`/v1/replay`: the events of the past as server-sent events, the same as `replay` gives."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Annotated

from fastapi import APIRouter, Header
from fastapi import Query as QueryString
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from seamless_assets.core.live.cursor import is_cursor, write_cursor
from seamless_assets.core.live.events import Event
from seamless_assets.core.live.replay import KNOWLEDGE, Knowledge, ReplayRequest
from seamless_assets.core.wire.events import BEGIN, END, PROBLEM, BeginForm, write_begin
from seamless_assets.core.wire.problems import problem_json
from seamless_assets.core.wire.sse import write_message
from seamless_assets.errors import SeamlessError
from seamless_assets.flows.live.replay import bound_now, replay_in_batches
from seamless_assets.flows.ports import Ports
from seamless_assets.pipeline.connect import Seamless
from seamless_assets.pipeline.loop.stream import Stream
from seamless_assets.service.answers.problems import status_of
from seamless_assets.service.answers.streams import EventStream
from seamless_assets.service.routes.events import (
    EVENT_ANSWERS,
    LONGEST_CURSOR,
    LONGEST_POSTED,
    NO_CONTENT,
    REPLAY,
    NodesBody,
    NodesQuery,
    event_message,
    parse_nodes,
)
from seamless_assets.service.routes.queries import Time, instant

_START = "A time, or the id of an event to go on after"
Start = Annotated[str, Field(max_length=LONGEST_CURSOR, description=_START, examples=["2025-01-01"])]
PostedStart = Annotated[str, Field(max_length=LONGEST_POSTED, description=_START, examples=["2025-01-01"])]
Speed = Annotated[
    float,
    Field(
        gt=0, allow_inf_nan=False, description="Seconds of history that pass in one; as fast as it is read"
    ),
]


class _Asked(BaseModel):
    model_config = ConfigDict(extra="forbid")

    start: PostedStart
    end: Time
    as_of: Time | None = None
    speed: Speed | None = None
    knowledge: Annotated[
        Knowledge, Field(description="Bars as they are released, or as they were first known, then corrected")
    ] = KNOWLEDGE[0]

    def request(self, nodes: list[str]) -> ReplayRequest:
        """What is asked of the pipeline."""
        parsed, start = parse_nodes(nodes), self.start if is_cursor(self.start) else instant(self.start)
        return ReplayRequest.parse(
            parsed, start, instant(self.end), instant(self.as_of), self.speed, self.knowledge
        )


class ReplayQuery(_Asked):
    """Of which nodes, from where on, until when, and as known when."""

    start: Start
    nodes: NodesQuery


class ReplayBody(_Asked):
    """The same, for more nodes and longer cursors than an address takes; what is no number is none."""

    model_config = ConfigDict(strict=True)

    nodes: NodesBody


def replay_routes(pipeline: Seamless) -> APIRouter:
    """Routes over a pipeline, of what it has released."""
    router = APIRouter(tags=["events"])

    async def answer(request: ReplayRequest, *, is_resumed: bool) -> Response:
        if is_resumed and request.is_over:
            return Response(status_code=NO_CONTENT)
        stream = Stream(pipeline.aio.portal, lambda adapters: _messages(adapters.ports, request))
        # What cannot be replayed is told as an ordinary answer.
        first = await anext(stream)
        return EventStream(first, stream)

    @router.get(REPLAY, responses=EVENT_ANSWERS, response_class=Response)
    async def replay(
        query: Annotated[ReplayQuery, QueryString()],
        last_event_id: Annotated[str | None, Header(max_length=LONGEST_CURSOR)] = None,
    ) -> Response:
        """The events of the nodes in `[start, end)` from releases, all together in the order of time.

        `Begin` names the `as_of` they are told of; who goes on after an event names it, too. Each event has
        the id that it is resumed by: `Last-Event-ID`, as browsers send it, goes before `start`.
        """
        if last_event_id:
            query = query.model_copy(update={"start": last_event_id})
        return await answer(query.request(query.nodes.split(",")), is_resumed=bool(last_event_id))

    @router.post(REPLAY, responses=EVENT_ANSWERS, response_class=Response)
    async def replay_of_many(body: ReplayBody) -> Response:
        """The same of many nodes."""
        return await answer(body.request(body.nodes), is_resumed=is_cursor(body.start))

    return router


async def _messages(ports: Ports, request: ReplayRequest) -> AsyncGenerator[bytes, None]:
    """The messages of a replay; the first one is the place where it begins."""
    request = await bound_now(ports, request)
    async with aclosing(replay_in_batches(ports, request)) as batches:
        # What is refused is refused before the first message.
        first = await _next(batches)
        yield write_message(
            BEGIN, write_begin(BeginForm(as_of=request.as_of)), write_cursor(request.positions)
        )
        try:
            if first:
                yield _message(first)
            async for batch in batches:
                yield _message(batch)
        except SeamlessError as error:
            yield write_message(PROBLEM, problem_json(error, status_of(error)))
        else:
            yield write_message(END, b"{}")


async def _next(batches: AsyncGenerator[Sequence[Event], None]) -> Sequence[Event]:
    """What comes next; nothing at the end."""
    async for batch in batches:
        return batch
    return ()


def _message(batch: Sequence[Event]) -> bytes:
    return b"".join(map(event_message, batch))
