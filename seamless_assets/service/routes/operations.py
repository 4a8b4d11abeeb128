"""What goes on now, whether the service can answer, and what is counted."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import Annotated

from fastapi import APIRouter, Request
from fastapi import Query as QueryString
from starlette.responses import PlainTextResponse, Response

from seamless_assets.aio.gather import gather
from seamless_assets.core.node import NodeId
from seamless_assets.core.sharing.lease import Lease
from seamless_assets.core.wire.views import BudgetView, FillView, Operations
from seamless_assets.errors import InvalidNodeId, ServiceUnavailable
from seamless_assets.flows.ports import LeaseRegister, Ports
from seamless_assets.metrics.exposition import CONTENT_TYPE
from seamless_assets.pipeline.connect import Seamless
from seamless_assets.service.answers.problems import problem_response
from seamless_assets.service.callers import may_know
from seamless_assets.service.readiness import Readiness
from seamless_assets.service.routes.openapi import JSON, answers, json_answer, json_of
from seamless_assets.service.routes.queries import NoQuery


def operation_routes(
    pipeline: Seamless,
    leases: LeaseRegister,
    scrape: Callable[[], Awaitable[str]],
    budgets: Callable[[], Awaitable[list[BudgetView]]],
) -> APIRouter:
    """Routes over a pipeline, the leases that it serves, and what its machine counts and has free."""
    router = APIRouter(tags=["operation"])
    readiness = Readiness(lambda: pipeline.aio.portal.do(_ask_stores))

    @router.get("/v1/operations", responses=json_of(Operations), response_class=Response)
    async def operations(_: Annotated[NoQuery, QueryString()]) -> Response:
        """Running fills, other leases, and rate budgets."""
        tally, held, now = await leases.tally(), await leases.held(), time.time()
        fills = [_fill(lease, now) for lease in held]
        listing = Operations(
            now=now,
            fills=tuple(fill for fill in fills if fill is not None),
            leases=tuple(lease.key for lease, fill in zip(held, fills, strict=True) if fill is None),
            completion_ratio=tally.completion_ratio,
            budgets=tuple(await budgets()),
        )
        return json_answer(listing)

    @router.get("/readyz", responses=answers(_STATUS), response_class=Response)
    async def ready(_: Annotated[NoQuery, QueryString()], request: Request) -> Response:
        """Whether the artifact store and the hot store answer; which does not, a token for reading tells."""
        problem = await readiness.problem()
        if problem is not None and not may_know(request.scope):
            problem = ServiceUnavailable("a store does not answer; ask with a token to hear which")
        return json_answer({"status": "ready"}) if problem is None else problem_response(problem)

    @router.get("/metrics", responses=answers(_TEXT), response_class=PlainTextResponse)
    async def metrics(_: Annotated[NoQuery, QueryString()]) -> Response:
        """What the processes of this machine have counted, for Prometheus."""
        return PlainTextResponse(await scrape(), media_type=CONTENT_TYPE)

    return router


_STATUS = {JSON: {"schema": {"type": "object", "required": ["status"]}, "example": {"status": "ready"}}}
_TEXT = {"text/plain": {"schema": {"type": "string"}}}


async def _ask_stores(ports: Ports) -> None:
    await gather([ports.artifacts.status(), ports.hot.status()])


def _fill(lease: Lease, now: float) -> FillView | None:
    """The fill that a lease is of; None for a lease of another kind."""
    node, _, chunk = lease.key.rpartition("@")
    start, _, end = chunk.partition("-")
    try:
        known = str(NodeId.parse(node))
    except InvalidNodeId:
        return None
    if not (start.isdigit() and end.isdigit()):
        return None
    left = max(0.0, lease.until - now)
    return FillView(known, int(start), int(end), lease.holder, lease.token, left)
