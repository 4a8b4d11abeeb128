"""A queue of wanted fills that a fill can do without: what cannot be put on record is filled all the same."""

from __future__ import annotations

from collections.abc import Awaitable, Collection
from contextlib import suppress
from typing import TypeVar

from seamless_assets.core.calendar.segment import Segment
from seamless_assets.core.node import NodeId
from seamless_assets.core.sharing.fills import WantedFill
from seamless_assets.errors import FillQueueUnavailable
from seamless_assets.flows.ports import Clock, FillQueue, Observer
from seamless_assets.flows.sharing.outage import Outage

T = TypeVar("T")


class OptionalFillQueue:
    """A `FillQueue` over another. While that cannot be reached, fills are not on record, and it is said once.

    Only who asks for fills of others is told by an error.
    """

    def __init__(self, queue: FillQueue, clock: Clock, observer: Observer) -> None:
        self._queue = queue
        self._outage = Outage("fill_queue", clock, observer)

    async def add(self, node: NodeId, segment: Segment, hold_s: float) -> None:
        """Put it on record if that can be done."""
        await self._try(self._queue.add(node, segment, hold_s))

    async def take(self, exchanges: Collection[str], hold_s: float) -> WantedFill | None:
        """The oldest fill that nobody holds. Raises `FillQueueUnavailable`."""
        return await self._ask(self._queue.take(exchanges, hold_s))

    async def hold(self, node: NodeId, segment: Segment, hold_s: float) -> None:
        """Hold on to it if that can be said."""
        await self._try(self._queue.hold(node, segment, hold_s))

    async def remove(self, node: NodeId, segment: Segment) -> None:
        """Take it off the record if that can be done; else another worker finds that it is filled."""
        await self._try(self._queue.remove(node, segment))

    async def next_due_in(self, exchanges: Collection[str]) -> float | None:
        """Seconds until a fill is anybody's. Raises `FillQueueUnavailable`."""
        return await self._ask(self._queue.next_due_in(exchanges))

    async def count(self) -> int:
        """How many fills are on record. Raises `FillQueueUnavailable`."""
        return await self._ask(self._queue.count())

    async def _try(self, asked: Awaitable[None]) -> None:
        with suppress(FillQueueUnavailable):
            await self._ask(asked)

    async def _ask(self, asked: Awaitable[T]) -> T:
        try:
            answer = await asked
        except FillQueueUnavailable as error:
            self._outage.begin(error)
            raise
        self._outage.end()
        return answer
