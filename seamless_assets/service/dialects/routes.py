"""The exchanges' own paths, below their names and below the worlds that are asked."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Collection
from dataclasses import replace
from typing import Never

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount, Route, Router, WebSocketRoute

from seamless_assets.config.sections import ServiceSettings
from seamless_assets.core.calendar.instant import epoch_micros
from seamless_assets.core.coverage.ledger import CLOCK_TOLERANCE_S
from seamless_assets.dialects.base import Query
from seamless_assets.dialects.base import Route as DialectRoute
from seamless_assets.dialects.venues import VENUES
from seamless_assets.errors import AsOfInFuture, InvalidInput, NotServed
from seamless_assets.pipeline.connect import Seamless
from seamless_assets.service.answers.replies import AGAIN, IMMUTABLE, RELEASED, Released
from seamless_assets.service.callers import caller_of
from seamless_assets.service.dialects.answers import OK, Answers
from seamless_assets.service.dialects.data import DeclaredData
from seamless_assets.service.dialects.live.clocks import ExchangeClocks
from seamless_assets.service.dialects.live.forming import FormingBars, streamed_by
from seamless_assets.service.dialects.live.standing import StandingAnswers
from seamless_assets.service.dialects.pages import Pages
from seamless_assets.service.dialects.streams.channels import LiveChannel
from seamless_assets.service.dialects.streams.routes import Streams
from seamless_assets.service.dialects.upstream import Upstream
from seamless_assets.service.dialects.visit import VISITED, Visit
from seamless_assets.service.dialects.worlds import PREFIXES, Worlds, world_of

JSON = "application/json"
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE")
Endpoint = Callable[[Request], Awaitable[Response]]


def add_dialects(app: FastAPI, pipeline: Seamless, limits: ServiceSettings) -> list[Streams | DeclaredData]:
    """Let an application answer as the exchanges that the settings declare nodes of, in their dialects.

    Returns what is to be closed when it ends.
    """
    clocks = ExchangeClocks(pipeline)
    pages, worlds = Pages(pipeline), Worlds(clocks)
    answers = Answers(worlds)
    live = LiveChannel(pipeline, with_forming=limits.forming_bars)
    streams = Streams(worlds, live)
    forming = FormingBars(live, streamed_by(pipeline)) if limits.forming_bars else None
    standing = StandingAnswers(pipeline, clocks, forming)
    upstream = Upstream(pipeline) if limits.upstream == "public" else None
    closed_at_end: list[Streams | DeclaredData] = [streams]
    for exchange in sorted({node.exchange for node in pipeline.settings.starts} & VENUES.keys()):
        data = DeclaredData(pipeline, exchange, pages, forming)
        closed_at_end.append(data)
        asked = [
            Route(route.path, _endpoint(route, answers, standing, upstream), methods=["GET"])
            for route in VENUES[exchange].routes(data)
        ]
        asked.append(Route("/{path:path}", _others(exchange, worlds, upstream), methods=METHODS))
        followed = streams.routes(exchange, data)
        router = Router([*asked, *followed], redirect_slashes=False)
        for prefix in PREFIXES:
            app.router.routes.append(Mount(f"{prefix}/{exchange}", router))
            # Without the slash after its name it would be sent on to another address.
            bare = Route(f"{prefix}/{exchange}", _others(exchange, worlds, None), methods=METHODS)
            app.router.routes.append(bare)
            # Where a venue is followed at its root, the slash after its name may be left out.
            roots = [route for route in followed if isinstance(route, WebSocketRoute) and route.path == "/"]
            app.router.routes.extend(
                WebSocketRoute(f"{prefix}/{exchange}", route.endpoint) for route in roots
            )
    return closed_at_end


def _others(exchange: str, worlds: Worlds, upstream: Upstream | None) -> Endpoint:
    """Whatever else is asked below an exchange's name."""

    async def answer(request: Request) -> Response:
        path = f"/{request.path_params.get('path', '')}"
        refusal = f"{request.method} {path[:100]} is not answered here"
        try:
            visit = await worlds.glance(
                exchange, world_of(request.path_params), caller_of(request.scope).name
            )
        except (InvalidInput, AsOfInFuture) as error:
            raise NotServed(f"{refusal}, nor is there such a world: {error}") from error
        request.scope[VISITED] = visit
        if upstream is None or request.method not in ("GET", "HEAD"):
            raise NotServed(refusal)
        return await upstream.answer(request, exchange, path, visit)

    return answer


def _endpoint(
    route: DialectRoute, answers: Answers, standing: StandingAnswers, upstream: Upstream | None
) -> Endpoint:
    lists = VENUES[route.exchange].lists

    async def answer(request: Request) -> Response:
        world, (query, twice) = world_of(request.path_params), _query(request, lists)
        path = {name: value for name, value in request.path_params.items() if name not in world}
        asked = route if twice is None else _given_twice(route, twice)
        found = await answers.answer(asked, query | path, world, caller_of(request.scope).name)
        visit = request.scope[VISITED] = replace(found.visit)
        # What is not declared here, the exchange may have.
        is_unknown = visit.is_unknown or isinstance(found.error, NotServed)
        if is_unknown and upstream is not None and upstream.may_ask(request, visit):
            return await upstream.answer(request, route.exchange, route.path.format(**path), visit)
        if found.error is not None:
            raise found.error
        headers = visit.headers | _kept(request, visit, found.status)
        if found.status == OK and RELEASED not in request.scope:
            request.scope[AGAIN] = standing.again(route.exchange, visit)
        return Response(found.body, found.status, headers, JSON)

    return answer


def _query(request: Request, lists: Collection[str]) -> tuple[dict[str, str], str | None]:
    """The parameters of a request, with the values of `lists` joined, and another one that comes twice."""
    given: dict[str, list[str]] = {}
    for name, value in request.query_params.multi_items():
        given.setdefault(name, []).append(value)
    twice = next((name for name, values in given.items() if len(values) > 1 and name not in lists), None)
    return {name: ",".join(values) for name, values in given.items()}, twice


def _given_twice(route: DialectRoute, name: str) -> DialectRoute:
    """The route as it answers where a parameter comes twice."""
    refusal = VENUES[route.exchange].refusal("given_twice", f"{name[:100]} comes twice")

    async def refuse(_query: Query) -> Never:
        raise refusal

    return replace(route, handler=refuse)


def _kept(request: Request, visit: Visit, status: int) -> dict[str, str]:
    """How long an answer holds: for ever, until the next release of its node, or not at all."""
    if status != OK or visit.is_refused:
        return {}
    if visit.is_frozen and visit.as_of is not None:
        is_old = epoch_micros(visit.as_of) < (time.time() - CLOCK_TOLERANCE_S) * 1_000_000
        is_its_own = bool(visit.reads) and all(read.as_of == visit.as_of for read in visit.reads)
        return {"Cache-Control": IMMUTABLE} if is_old or is_its_own else {}
    releases = {Released(str(one.node), one.as_of, one.dataset_fingerprint, one.seq) for one in visit.reads}
    is_released = all(read.source == "artifacts" and read.verdict == "PASS" for read in visit.reads)
    if len(releases) == 1 and is_released and not visit.uses_clock:
        request.scope[RELEASED] = releases.pop()
    return {}
