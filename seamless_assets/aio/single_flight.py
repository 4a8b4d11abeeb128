"""Single flight: callers of one process who want the same at one time share one run of it.

Own, because cached futures (aiocache, async_lru) keep what came out, or end with the caller who was first.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Hashable
from dataclasses import dataclass
from typing import Any, TypeVar

from seamless_assets.aio.priority import Urgency, is_urgent, part_of_current
from seamless_assets.aio.shield import shielded

T = TypeVar("T")


@dataclass
class _Flight:
    task: asyncio.Task[Any]
    began: float
    urgency: Urgency
    callers: int = 0


class SingleFlight:
    """Runs by key. `now` is a clock in seconds; a run older than `ttl` seconds is joined by nobody new."""

    def __init__(self, now: Callable[[], float], ttl: float) -> None:
        self._now, self._ttl = now, ttl
        self._flights: dict[Hashable, _Flight] = {}

    async def do(self, key: Hashable, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """The outcome of `work`, or of the run under `key` that is under way; errors are shared, not kept.

        A caller that is cancelled leaves the run to the others; with the last one it is cancelled too. One
        that is urgent makes the run urgent.
        """
        flight = self._under_way(key) or self._start(key, work)
        if is_urgent():
            flight.urgency.rise()
        flight.callers += 1
        try:
            outcome: T = await asyncio.shield(flight.task)
            return outcome
        finally:
            flight.callers -= 1
            if not flight.callers and not flight.task.done():
                self._forget(key, flight)
                flight.task.cancel()
                await shielded(asyncio.ensure_future(asyncio.wait({flight.task})))

    def _under_way(self, key: Hashable) -> _Flight | None:
        flight = self._flights.get(key)
        if flight is None or flight.task.done() or not 0 <= self._now() - flight.began < self._ttl:
            return None
        return flight

    def _start(self, key: Hashable, work: Callable[[], Coroutine[Any, Any, T]]) -> _Flight:
        urgency, context = part_of_current()
        task = asyncio.create_task(work(), context=context)
        flight = self._flights[key] = _Flight(task, self._now(), urgency)
        flight.task.add_done_callback(lambda _: self._forget(key, flight))
        return flight

    def _forget(self, key: Hashable, flight: _Flight) -> None:
        if self._flights.get(key) is flight:
            del self._flights[key]
