"""What goes on now, whether the service can answer, and what is counted."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import Annotated

from fastapi import APIRouter
from fastapi import Query as QueryString
from starlette.responses import PlainTextResponse, Response

from seamless_assets.aio.gather import gather
from seamless_assets.core.node import NodeId
from seamless_assets.core.sharing.lease import Lease
from seamless_assets.core.wire.views import BudgetView, FillView, Operations
from seamless_assets.errors import InvalidNodeId
from seamless_assets.flows.ports import LeaseRegister, Ports
from seamless_assets.metrics.exposition import CONTENT_TYPE
from seamless_assets.pipeline.connect import Seamless
from seamless_assets.service.routes.openapi import JSON, answers, json_answer, json_of
from seamless_assets.service.routes.queries import NoQuery

READY_S = 10.0
"""How long the stores count as there once they answered."""


class Readiness:
    """Whether the stores answer; asked at most once in `READY_S`."""

    def __init__(self, pipeline: Seamless) -> None:
        self._pipeline = pipeline
        self._known_at = float("-inf")

    async def require(self) -> None:
        """Raise the `StoreError` of a store that does not answer."""
        if time.monotonic() - self._known_at > READY_S:
            await self._pipeline.aio.portal.do(_ask_stores)
            self._known_at = time.monotonic()


def operation_routes(
    pipeline: Seamless,
    leases: LeaseRegister,
    scrape: Callable[[], Awaitable[str]],
    budgets: Callable[[], Awaitable[list[BudgetView]]],
) -> APIRouter:
    """Routes over a pipeline, the leases that it serves, and what its machine counts and has free."""
    router = APIRouter(tags=["operation"])
    readiness = Readiness(pipeline)

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
    async def ready(_: Annotated[NoQuery, QueryString()]) -> Response:
        """Whether the artifact store and the hot store answer."""
        await readiness.require()
        return json_answer({"status": "ready"})

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
