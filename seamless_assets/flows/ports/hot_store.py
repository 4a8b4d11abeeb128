"""The hot store, as flows write to it and read from it."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Protocol

import numpy as np
import pyarrow as pa

from seamless_assets.core.bars.table import Written
from seamless_assets.core.calendar.segment import Segment
from seamless_assets.core.coverage.ledger import Fact
from seamless_assets.core.node import NodeId
from seamless_assets.core.sharing.health import StoreStatus
from seamless_assets.core.sharing.lease import Fence
from seamless_assets.core.sharing.retention import Evictable


class HotStore(Protocol):
    """Mutable recent bars, what was revised of them, and the coverage ledger."""

    async def load_bars(self, node: NodeId, window: Segment) -> pa.Table:
        """Bars that open in `window`, sorted."""

    async def load_opens(self, node: NodeId, window: Segment) -> np.ndarray:
        """Opens of the bars in `window`, int64 epoch seconds, sorted."""

    async def write_bars(
        self,
        node: NodeId,
        bars: pa.Table,
        facts: Sequence[Fact],
        *,
        recorded_at: float,
        fence: Fence | None = None,
    ) -> Written:
        """Upsert bars with unique opens, append facts, and keep what a changed bar held as a revision.

        Where a crash can part them, bars come first: no fact stands without its bars. Raises
        `StaleToken` where a later holder of the fence's chunk has written.
        """

    async def load_facts(self, node: NodeId, window: Segment) -> pa.Table:
        """Facts (`core.ledger.FACTS_SCHEMA`) that touch `window`, in the order they were recorded."""

    async def load_revisions(self, node: NodeId, window: Segment) -> pa.Table:
        """Revised bars (`core.bars.REVISIONS_SCHEMA`) that open in `window`, in the order recorded."""

    async def evict(self, evictable: Mapping[NodeId, Sequence[Evictable]], recorded_at: float) -> int:
        """Drop bars, none outside `evictable`, and remember which ranges; the number of bars dropped.

        A range whose bars have changed since it was looked at stays, and so does a bar that is written
        while this goes on.
        """

    async def load_evictions(self, node: NodeId, window: Segment) -> list[Segment]:
        """Ranges of `window` whose bars were evicted and stand in artifacts only, joined."""

    def change_mark(self) -> Hashable | None:
        """What is another one once anything in it was changed, by whomever; said at once and to any thread.

        None where somebody has to be asked.
        """

    async def status(self) -> StoreStatus:
        """What an operator wants to know of it."""

    async def close(self) -> None:
        """Let go of files and connections."""
