"""What workers share, in memory: a rate budget, and the queue of wanted fills."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from dataclasses import dataclass, field

from seamless_assets.core.calendar.segment import Segment
from seamless_assets.core.node import NodeId
from seamless_assets.core.sharing import fills
from seamless_assets.core.sharing.fills import Wanted, WantedFill
from seamless_assets.core.sharing.token_bucket import Bucket, Budget
from seamless_assets.errors import BudgetUnavailable, FillQueueUnavailable
from seamless_assets.flows.ports import Clock
from seamless_assets.flows.sharing.process_budget import ProcessBudget
from seamless_assets.testing.clock import VirtualClock


class InMemoryBudgetStore(ProcessBudget):
    """Token buckets by the clock of whoever keeps them; satisfies the flows' `BudgetStore`.

    While it `is_away` every call raises `BudgetUnavailable`; it remembers all the same.
    """

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock)
        self.is_away = False

    async def close(self) -> None:
        """Nothing: it can be opened by nobody else."""

    def _bucket(self, key: str, budget: Budget) -> Bucket:
        if self.is_away:
            raise BudgetUnavailable("the rate budget in memory is away, because a test said so")
        return super()._bucket(key, budget)


@dataclass
class InMemoryFillQueue:
    """Satisfies the flows' `FillQueue` by its own `clock`; `wanted` is what is on record.

    While it `is_away` every call raises `FillQueueUnavailable`.
    """

    clock: Clock = field(default_factory=VirtualClock)
    wanted: Wanted = ()
    is_away: bool = False

    async def add(self, node: NodeId, segment: Segment, hold_s: float) -> None:
        """Put it on record, held by the caller."""
        await self._answer()
        after = fills.added(self.wanted, node, segment, self.clock.now(), hold_s)
        if len(after) > max(fills.MAX_WANTED, len(self.wanted)):
            raise fills.full()
        self.wanted = after

    async def take(self, exchanges: Collection[str], hold_s: float) -> WantedFill | None:
        """The oldest fill that nobody holds."""
        await self._answer()
        self.wanted, taken = fills.taken(self.wanted, exchanges, self.clock.now(), hold_s)
        return taken

    async def hold(self, node: NodeId, segment: Segment, hold_s: float) -> None:
        """Hold on to it for so long from now."""
        await self._answer()
        self.wanted = fills.held(self.wanted, node, segment, self.clock.now(), hold_s)

    async def remove(self, node: NodeId, segment: Segment) -> None:
        """Take off the record what lies in a segment."""
        await self._answer()
        self.wanted = fills.removed(self.wanted, node, segment)

    async def next_due_in(self, exchanges: Collection[str]) -> float | None:
        """Seconds until a fill is anybody's."""
        await self._answer()
        return fills.next_due_in(self.wanted, exchanges, self.clock.now())

    async def count(self) -> int:
        """How many fills are on record."""
        await self._answer()
        return len(self.wanted)

    async def close(self) -> None:
        """Nothing to let go of."""

    async def _answer(self) -> None:
        await asyncio.sleep(0)
        if self.is_away:
            raise FillQueueUnavailable("the queue in memory is away, because a test said so")
