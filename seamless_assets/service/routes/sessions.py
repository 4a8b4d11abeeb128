"""Sessions of worlds: what each has seen of a node, and moving it."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Request
from fastapi import Query as QueryString
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from seamless_assets.core.node import NodeId
from seamless_assets.core.reading.context import ComputeContext, Domain
from seamless_assets.core.wire.views import SessionView
from seamless_assets.core.worlds.session import SessionKey
from seamless_assets.errors import InvalidInput
from seamless_assets.flows.ports import Ports
from seamless_assets.pipeline.connect import Seamless
from seamless_assets.pipeline.world import AsyncWorldSession
from seamless_assets.service.callers import caller_of
from seamless_assets.service.routes.openapi import json_answer, json_of
from seamless_assets.service.routes.queries import AsOf, NodeText, Query, Time, World, instant
from seamless_assets.service.sessions import SessionLimit


class SessionQuery(AsOf):
    """The session of a world, a domain and a node; a backtest and a dry run are bound by `as_of`."""

    world_id: World = "default"
    domain: Domain = "live"


class SessionsQuery(Query):
    """Sessions of one world, or of all."""

    world_id: World | None = None


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid")

    node: NodeText
    world_id: World = "default"


class Binding(_Body):
    """Bind a live session to what was released at `as_of`, or when it was started."""

    as_of: Time | None = None
    started_at: Time | None = None


class Advance(_Body):
    """Move a live session to the newest release, or to the last one at or before `as_of`."""

    as_of: Time | None = None


class Pin(_Body):
    """Set a live session to a release, an earlier one too, until it is unpinned."""

    as_of: Time
    reason: Annotated[str, Field(min_length=1, max_length=1_000)]


class Unpin(_Body):
    """Let a live session move again."""


def session_routes(pipeline: Seamless, limit: SessionLimit) -> APIRouter:
    """Routes over a pipeline; all that move something answer with the session as it is then."""
    router = APIRouter(tags=["sessions"])
    aio = pipeline.aio

    def live(body: _Body, as_of: str | None = None) -> AsyncWorldSession:
        return aio.session(body.world_id, "live", instant(as_of))

    async def view_of(body: _Body) -> Response:
        return await _view(pipeline, ComputeContext(body.world_id, "live"), body.node)

    async def require(request: Request, body: _Body) -> None:
        key = SessionKey.of(ComputeContext(body.world_id, "live"), str(NodeId.parse(body.node)))
        await limit.require(caller_of(request.scope), key)

    @router.get("/v1/sessions", responses=json_of(SessionView), response_class=Response)
    async def session(query: Annotated[SessionQuery, QueryString()]) -> Response:
        """What is remembered of a session; an empty record where nothing is."""
        bound: dict[str, Any] = {"dataset_fingerprint": query.dataset_fingerprint}
        if query.domain != "live":
            bound["as_of"] = instant(query.as_of)
        elif query.as_of is not None:
            raise InvalidInput(
                "a live session is one of its world and node; leave as_of out", as_of=query.as_of
            )
        return await _view(pipeline, ComputeContext(query.world_id, query.domain, **bound), query.node)

    @router.get("/v1/worlds", responses=json_of(SessionView, is_list=True), response_class=Response)
    async def worlds(query: Annotated[SessionsQuery, QueryString()]) -> Response:
        """Every session that is remembered."""
        records = await aio.portal.do(lambda ports: ports.sessions.load_all(query.world_id))
        return json_answer([SessionView.of(key, record) for key, record in records.items()])

    @router.post("/v1/sessions/bind", responses=_BOUND, response_class=Response)
    async def bind(body: Binding, request: Request) -> Response:
        """Begin a live session of a node, or go on with it."""
        await require(request, body)
        session = live(body, body.as_of)
        await session.bind(body.node, instant(body.started_at))
        return await view_of(body)

    @router.post("/v1/sessions/advance", responses=json_of(SessionView), response_class=Response)
    async def advance(body: Advance, request: Request) -> Response:
        """Move a session forward."""
        await require(request, body)
        await live(body).advance(body.node, instant(body.as_of))
        return await view_of(body)

    @router.post("/v1/sessions/pin", responses=json_of(SessionView), response_class=Response)
    async def pin(body: Pin, request: Request) -> Response:
        """Set a session back, for a reason that its reads repeat."""
        await require(request, body)
        await live(body).pin(body.node, instant(body.as_of), reason=body.reason)
        return await view_of(body)

    @router.post("/v1/sessions/unpin", responses=json_of(SessionView), response_class=Response)
    async def unpin(body: Unpin, request: Request) -> Response:
        """Lift a session's pin."""
        await require(request, body)
        await live(body).unpin(body.node)
        return await view_of(body)

    return router


_NAMED = {"node": "$response.body#/node_id", "world_id": "$response.body#/world_id"}
_BOUND = json_of(SessionView)
_BOUND[200]["links"] = {
    "session": {"operationId": "session_v1_sessions_get", "parameters": _NAMED},
    "advance": {"operationId": "advance_v1_sessions_advance_post", "requestBody": _NAMED},
    "pin": {
        "operationId": "pin_v1_sessions_pin_post",
        "requestBody": {**_NAMED, "as_of": "2025-01-01T00:00:00Z", "reason": "a look back"},
    },
    "unpin": {"operationId": "unpin_v1_sessions_unpin_post", "requestBody": _NAMED},
    "history": {
        "operationId": "history_v1_history_get",
        "parameters": {**_NAMED, "domain": "live", "strategy": "FAIL_FAST", "session": "true"},
    },
}


async def _view(pipeline: Seamless, context: ComputeContext, node: str) -> Response:
    key = SessionKey.of(context, str(NodeId.parse(node)))
    return json_answer(await pipeline.aio.portal.do(lambda ports: _loaded(ports, key)))


async def _loaded(ports: Ports, key: SessionKey) -> SessionView:
    return SessionView.of(key, await ports.sessions.load(key))
