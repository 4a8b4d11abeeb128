"""Decisions of a world service, each asked for once in its time."""

from __future__ import annotations

from cachetools import LRUCache

from seamless_assets.aio.single_flight import SingleFlight
from seamless_assets.core.worlds.decision import Decision, unavailable
from seamless_assets.errors import WorldServiceUnavailable
from seamless_assets.flows.ports.clock import Clock
from seamless_assets.flows.ports.worlds import WorldService

MAX_WORLDS = 10_000


class Decisions:
    """The decision in force of each world. One that is older than its time is no decision."""

    def __init__(self, service: WorldService, clock: Clock) -> None:
        self._service, self._clock = service, clock
        self._known: LRUCache[tuple[str, str | None], tuple[Decision, float]] = LRUCache(MAX_WORLDS)
        self._flights = SingleFlight(clock.now, ttl=60.0)

    async def in_force(self, world_id: str, as_of: str | None) -> Decision:
        """The decision on a world that is bound to `as_of`; compute-only where none can be had."""
        key = (world_id, as_of)
        known = self._known.get(key)
        now = self._clock.now()
        # A clock that was set back makes no decision young again.
        if known is not None and 0 <= now - known[1] < known[0].ttl:
            return known[0]
        return await self._flights.do(key, lambda: self._ask(world_id, as_of, known[0] if known else None))

    async def _ask(self, world_id: str, as_of: str | None, known: Decision | None) -> Decision:
        asked_at = self._clock.now()
        try:
            decision = await self._service.decide(world_id, as_of, known)
        except WorldServiceUnavailable as error:
            return unavailable(str(error))
        self._known[world_id, as_of] = (decision, asked_at)
        return decision
