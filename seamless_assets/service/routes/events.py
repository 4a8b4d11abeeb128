"""`/v1/events`: closed bars as server-sent events, the same as `subscribe` gives, resumed by their ids."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import replace
from itertools import starmap
from typing import Annotated, Any

from fastapi import APIRouter, Header
from fastapi import Query as QueryString
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from seamless_assets.aio.batches import batched
from seamless_assets.core.live.cursor import is_cursor, write_cursor
from seamless_assets.core.live.panel import timeframe_of
from seamless_assets.core.live.request import StreamRequest
from seamless_assets.core.node import NodeId
from seamless_assets.core.reading.context import ComputeContext
from seamless_assets.core.wire.events import (
    BEGIN,
    END,
    EVENTS_TYPE,
    FORMS,
    PROBLEM,
    BeginForm,
    Told,
    write_begin,
    write_event,
)
from seamless_assets.core.wire.problems import Problem, problem_json
from seamless_assets.core.wire.sse import write_message
from seamless_assets.errors import InvalidChoice, InvalidInput, LimitExceeded, SeamlessError
from seamless_assets.flows.live.panel import subscribe_panel
from seamless_assets.flows.live.subscribe import begin, subscribe
from seamless_assets.flows.ports import Ports
from seamless_assets.pipeline.connect import Seamless
from seamless_assets.pipeline.loop.stream import Stream
from seamless_assets.service.answers.problems import status_of
from seamless_assets.service.answers.streams import BATCH, EventStream
from seamless_assets.service.routes.openapi import JSON, answers, ref_to
from seamless_assets.service.routes.queries import Time, instant

MAX_NODES = 500
"""Of one stream: every event names where it stands in all of them."""
LONGEST_NODES, LONGEST_CURSOR = 30_000, 30_000
LONGEST_POSTED = 1_000_000
"""Characters of a cursor in a body; that of many nodes with a gap in every other bar is as long."""
EVENTS = "/v1/events"
REPLAY = "/v1/replay"
LONG_BODIES = {EVENTS: 2**20, REPLAY: 2**20}
PANEL_DEADLINE_S = 10.0
NO_CONTENT = 204
EXAMPLES = ("ohlcv:bitstamp:BTC/EUR:1h", "ohlcv:bitstamp:ETH/EUR:1h")

NodesQuery = Annotated[
    str,
    Field(
        min_length=1,
        max_length=LONGEST_NODES,
        description=f"Nodes by commas, {MAX_NODES} at most",
        examples=[",".join(EXAMPLES)],
    ),
]
NodesBody = Annotated[
    list[Annotated[str, Field(min_length=1, max_length=300)]],
    Field(min_length=1, description="Nodes", examples=[list(EXAMPLES)]),
]
_SINCE = "A time, or the id of an event to go on after"
Since = Annotated[str, Field(max_length=LONGEST_CURSOR, description=_SINCE)]
PostedSince = Annotated[str, Field(max_length=LONGEST_POSTED, description=_SINCE)]
MaxLag = Annotated[float, Field(gt=0, allow_inf_nan=False, description="Seconds until a bar is overdue")]
Deadline = Annotated[
    float,
    Field(gt=0, le=86_400, allow_inf_nan=False, description="Seconds that a tick waits for its last node"),
]


class _Asked(BaseModel):
    model_config = ConfigDict(extra="forbid")

    since: PostedSince | None = None
    until: Time | None = None
    max_lag: MaxLag | None = None
    panel: Annotated[bool, Field(description="One tick for each bar time of nodes of one timeframe")] = False
    deadline: Deadline | None = None

    def request(self, nodes: list[str], default_max_lag: float) -> StreamRequest:
        """What is asked of the pipeline."""
        if not self.panel and self.deadline is not None:
            raise InvalidInput("deadline is that of a panel; ask for panel=true, or leave it out")
        parsed = parse_nodes(nodes)
        if self.panel:
            timeframe_of(parsed)
        context = ComputeContext(domain="live", max_lag=self.max_lag)
        since = self.since if is_cursor(self.since) else instant(self.since)
        return StreamRequest.parse(parsed, since, instant(self.until), context, default_max_lag)


class EventsQuery(_Asked):
    """Of which nodes, from where on, and until when."""

    since: Since | None = None
    nodes: NodesQuery


class EventsBody(_Asked):
    """The same, for more nodes and longer cursors than an address takes; what is no number is none."""

    model_config = ConfigDict(strict=True)

    nodes: NodesBody


def parse_nodes(nodes: Sequence[str]) -> list[NodeId]:
    """The nodes of one stream. Raises `LimitExceeded` for too many, `InvalidNodeId`."""
    if len(nodes) > MAX_NODES:
        raise LimitExceeded(
            f"{len(nodes)} nodes are more than the {MAX_NODES} of one stream; ask for several streams",
            limit=MAX_NODES,
        )
    return [NodeId.parse(node) for node in nodes]


def event_routes(pipeline: Seamless) -> APIRouter:
    """Routes over a pipeline, of its declared nodes."""
    router = APIRouter(tags=["events"])
    max_lag = pipeline.settings.domains.live.max_lag_sec
    declared = {item.node for item in pipeline.settings.nodes}

    async def answer(asked: EventsQuery | EventsBody, nodes: list[str], *, is_resumed: bool) -> Response:
        request = asked.request(nodes, max_lag)
        _require_declared(request, declared)
        if is_resumed and _is_over(request):
            return Response(status_code=NO_CONTENT)
        deadline = (asked.deadline or PANEL_DEADLINE_S) if asked.panel else None
        stream = Stream(pipeline.aio.portal, lambda adapters: _messages(adapters.ports, request, deadline))
        # What cannot be streamed is told as an ordinary answer.
        first = await anext(stream)
        return EventStream(first, stream)

    @router.get(EVENTS, responses=EVENT_ANSWERS, response_class=Response)
    async def events(
        query: Annotated[EventsQuery, QueryString()],
        last_event_id: Annotated[str | None, Header(max_length=LONGEST_CURSOR)] = None,
    ) -> Response:
        """What is known of the nodes from `since` on, then their bars as they close, each once and in order.

        Each event has the id that it is resumed by: `Last-Event-ID`, as browsers send it, goes before
        `since`. Without either it begins with the bars that form now. `End` is the last event of a stream
        that ends; 204 says that nothing follows.
        """
        if last_event_id:
            query = query.model_copy(update={"since": last_event_id})
        return await answer(query, query.nodes.split(","), is_resumed=bool(last_event_id))

    @router.post(EVENTS, responses=EVENT_ANSWERS, response_class=Response)
    async def events_of_many(body: EventsBody) -> Response:
        """The same of many nodes."""
        return await answer(body, body.nodes, is_resumed=is_cursor(body.since))

    return router


def _message(event: str, data: dict[str, Any]) -> dict[str, Any]:
    """What OpenAPI says of the messages of one event, whose `data` is JSON of a form."""
    told = {"type": "string", "contentMediaType": JSON, "contentSchema": data}
    properties = {"id": {"type": "string"}, "event": {"const": event}, "data": told}
    return {"type": "object", "required": ["event", "data"], "properties": properties}


_FORMS_TOLD = {form.__name__.removesuffix("Form"): ref_to(form) for form in FORMS}
_TOLD = {**_FORMS_TOLD, PROBLEM: ref_to(Problem), END: {"type": "object", "maxProperties": 0}}
_EXAMPLE = (
    'id: c2.eJyrn\nevent: Begin\ndata: {"event":"Begin","max_lag":120.0}\n\n'
    'id: c2.eJyro\nevent: Gap\ndata: {"event":"Gap","node_id":"ohlcv:bitstamp:BTC/EUR:1h",'
    '"start":1735689600,"end":1735693200,"reason":"no_trades","evidence":"trades on both sides"}\n\n'
)
EVENT_ANSWERS = answers(
    # Of a stream each message has a form, as FastAPI, too, describes its own.
    {EVENTS_TYPE: {"itemSchema": {"oneOf": list(starmap(_message, _TOLD.items()))}, "example": _EXAMPLE}},
    also={NO_CONTENT: "What was to be told until `until` has been."},
)


async def _messages(
    ports: Ports, request: StreamRequest, deadline: float | None
) -> AsyncGenerator[bytes, None]:
    """The messages of a stream; the first one is the place where it begins."""
    positions = await begin(ports, request)
    request = replace(request, positions=positions)
    yield write_message(BEGIN, write_begin(BeginForm(request.max_lag)), write_cursor(positions))
    source: AsyncGenerator[Any, None] = (
        subscribe(ports, request) if deadline is None else subscribe_panel(ports, request, deadline)
    )
    try:
        async with aclosing(batched(source, BATCH)) as batches:
            async for batch in batches:
                yield b"".join(map(event_message, batch))
    except SeamlessError as error:
        yield write_message(PROBLEM, problem_json(error, status_of(error)))
    else:
        yield write_message(END, b"{}")


def event_message(told: Told) -> bytes:
    """An event as it is sent, with the id that it is resumed by."""
    return write_message(type(told).__name__, write_event(told), told.cursor)


def _require_declared(request: StreamRequest, declared: set[NodeId]) -> None:
    """Raise `InvalidChoice` for a node that is not declared: who follows bars fills no store with others."""
    for node in request.nodes:
        if node not in declared:
            raise InvalidChoice(
                f"{node} is not declared, and a service follows declared nodes alone; /v1/nodes lists them",
                value=str(node),
            )


def _is_over(request: StreamRequest) -> bool:
    if request.until is None:
        return False
    ends = {str(node): node.timeframe.floor(request.until) for node in request.nodes}
    return all(position.upto >= ends[name] for name, position in request.positions.items())
