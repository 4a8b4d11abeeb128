"""`/v1/dialects`: who asks for what in the exchanges' words, and what the exchanges were asked instead."""

from __future__ import annotations

import time
from typing import Annotated

from fastapi import APIRouter
from fastapi import Query as QueryString
from starlette.responses import Response

from seamless_assets.core.wire.views import DialectCost, DialectUses
from seamless_assets.flows.ports import Ports
from seamless_assets.pipeline.connect import Seamless
from seamless_assets.service.dialects.usage.tally import Tally
from seamless_assets.service.routes.openapi import json_answer, json_of
from seamless_assets.service.routes.queries import NoQuery


def usage_routes(pipeline: Seamless, tally: Tally) -> APIRouter:
    """The route over a tally, and what this process has asked of the exchanges."""
    router = APIRouter(tags=["operation"])

    @router.get("/v1/dialects", responses=json_of(DialectUses), response_class=Response)
    async def dialects(_: Annotated[NoQuery, QueryString()]) -> Response:
        """Requests in the exchanges' dialects since the service began, and what exchanges were asked."""
        exchanges = sorted(tally.answered)

        async def ask(ports: Ports) -> list[int]:
            return [await ports.source.requests_made(exchange) for exchange in exchanges]

        # Where nobody asked anything yet, nothing need be opened.
        made = await pipeline.aio.portal.do(ask) if exchanges else []
        costs = [
            DialectCost(name, tally.answered[name], asked)
            for name, asked in zip(exchanges, made, strict=True)
        ]
        return json_answer(DialectUses(time.time(), tuple(tally.uses()), tuple(costs)))

    return router
