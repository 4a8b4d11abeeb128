"""Fills that go on when nobody waits for them any more, and what is on record of them."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from typing import TYPE_CHECKING, Protocol

from seamless_assets.core.calendar.segment import Segment
from seamless_assets.core.node import NodeId
from seamless_assets.core.sharing.fills import WantedFill

if TYPE_CHECKING:
    from seamless_assets.flows.ports import Ports


class FillQueue(Protocol):
    """Wanted fills on record, for all workers of a hot store. All raise `FillQueueUnavailable`.

    Who holds a fill has `hold_s` seconds, and more as often as it says so; after that it is anybody's.
    """

    async def add(self, node: NodeId, segment: Segment, hold_s: float) -> None:
        """Put it on record, held by the caller; a wider one that is there already will do."""

    async def take(self, exchanges: Collection[str], hold_s: float) -> WantedFill | None:
        """The oldest fill of these exchanges that nobody holds, now held by the caller."""

    async def hold(self, node: NodeId, segment: Segment, hold_s: float) -> None:
        """Hold on to it for so long from now; 0 gives it back."""

    async def remove(self, node: NodeId, segment: Segment) -> None:
        """Take off the record what lies in a segment: it is filled, or given up."""

    async def next_due_in(self, exchanges: Collection[str]) -> float | None:
        """Seconds until a fill of these exchanges is anybody's; None where none is wanted."""

    async def count(self) -> int:
        """How many fills are on record."""


class RunningFill(Protocol):
    """A fill of this process that is under way."""

    @property
    def recorded(self) -> asyncio.Future[None]:
        """Done once the fill is on record, or cannot be put there."""

    @property
    def outcome(self) -> asyncio.Task[tuple[str, ...]]:
        """Why bars stay missing; empty where none does."""


class FillRunner(Protocol):
    """Runs fills beside the reads of this process."""

    def start(self, ports: Ports, node: NodeId, segment: Segment, *, is_awaited: bool) -> RunningFill:
        """Fill what is missing of a segment; the fill of just this that is under way is joined.

        One that `is_awaited` by a reader goes before work in the background.
        """

    def look_after_others(self, ports: Ports) -> None:
        """Take over, beside all else, fills that nobody holds; seldom, however often it is called."""
