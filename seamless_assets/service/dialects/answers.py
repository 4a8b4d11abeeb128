"""What a dialect says to a request, put into words once for all who ask the same at one time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import msgspec.json

from seamless_assets.aio.next_flight import NextFlight
from seamless_assets.dialects.base import Query, Refusal, Route
from seamless_assets.dialects.venues import VENUES
from seamless_assets.errors import SeamlessError
from seamless_assets.service.dialects.visit import VISIT, Visit
from seamless_assets.service.dialects.worlds import Worlds

OK = 200
PATIENCE_S = 0.25
"""A look that takes longer, as one does that waits for an exchange, holds up nobody who asks after it."""


@dataclass(frozen=True, slots=True)
class Answer:
    """JSON and its status, and the visit that found it; or the `error` for which the dialect has no words."""

    visit: Visit
    body: bytes = b""
    status: int = OK
    error: SeamlessError | None = None


@dataclass(frozen=True, slots=True)
class _Asked:
    route: Route
    parameters: tuple[tuple[str, str], ...]


class Answers:
    """Answers in the worlds of paths: live ones are shared, and none is older than its question."""

    def __init__(self, worlds: Worlds) -> None:
        self._worlds = worlds
        self._live = NextFlight(self._of_now, PATIENCE_S)

    async def answer(self, route: Route, query: Query, world: Mapping[str, str], caller: str) -> Answer:
        """What a route answers to a query. Raises what `Worlds.visit` does."""
        if not world:
            return await self._live.ask(_Asked(route, tuple(sorted(query.items()))))
        return await _answer(route, query, await self._worlds.visit(route.exchange, world, caller))

    async def _of_now(self, asked: _Asked) -> Answer:
        visit = await self._worlds.visit(asked.route.exchange, {}, "")
        return await _answer(asked.route, dict(asked.parameters), visit)


async def _answer(route: Route, query: Query, visit: Visit) -> Answer:
    token = VISIT.set(visit)
    try:
        return Answer(visit, msgspec.json.encode(await route.handler(query)))
    except Refusal as refusal:
        # Many are constants, and one that is raised again would keep the frames of every time.
        refusal.with_traceback(None)
        visit.is_refused, visit.is_unknown = True, refusal.is_unknown
        body = VENUES[route.exchange].stamped(msgspec.json.encode(refusal.body), visit.now)
        return Answer(visit, body, refusal.status)
    except SeamlessError as error:
        return Answer(visit, error=error)
    finally:
        VISIT.reset(token)
