"""A hot store in memory, held to the same promises as SQLite and QuestDB by the same tests."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from seamless_assets.core.bars.table import (
    COLUMNS,
    REVISIONS_SCHEMA,
    Written,
    changes,
    table_of,
)
from seamless_assets.core.calendar.segment import Segment, merge_ranges
from seamless_assets.core.coverage.ledger import Fact, facts_table
from seamless_assets.core.node import NodeId
from seamless_assets.core.sharing.health import StoreStatus
from seamless_assets.core.sharing.lease import Fence, outranked
from seamless_assets.core.sharing.retention import Evictable, digest_of
from seamless_assets.errors import HotStoreError
from seamless_assets.testing.bars import Row, bars_table

_HELD = ("bars", "facts", "revisions", "fences", "evictions")


@dataclass
class InMemoryHotStore:
    """Satisfies the flows' `HotStore`. Each call lets others run once, then takes effect whole.

    What it holds lies open to tests: `bars` by node and open, `facts` and `revisions` in the order they
    were recorded, `fences` by chunk, `evictions`. While it `is_away` every call raises `HotStoreError`.
    """

    bars: dict[NodeId, dict[int, Row]] = field(default_factory=dict)
    facts: dict[NodeId, list[Fact]] = field(default_factory=dict)
    revisions: dict[NodeId, list[Row]] = field(default_factory=dict)
    fences: dict[NodeId, dict[Segment, int]] = field(default_factory=dict)
    evictions: dict[NodeId, list[Segment]] = field(default_factory=dict)
    is_away: bool = False

    def backup(self) -> InMemoryHotStore:
        """All it holds now, as another store."""
        return InMemoryHotStore(**copy.deepcopy({name: getattr(self, name) for name in _HELD}))

    def restore(self, backup: InMemoryHotStore) -> None:
        """Hold what the backup holds and nothing else."""
        for name in _HELD:
            setattr(self, name, copy.deepcopy(getattr(backup, name)))

    def write(
        self,
        node: NodeId,
        bars: pa.Table,
        facts: Sequence[Fact] = (),
        *,
        recorded_at: float,
        fence: Fence | None = None,
    ) -> Written:
        """The same as `write_bars` at once, for a test that sets a scene. Raises `StaleToken`."""
        if fence is not None:
            self._pass_fence(node, fence)
        fresh, revised = changes(self._held(node, bars), bars, recorded_at)
        self.bars.setdefault(node, {}).update(_rows(bars))
        self.revisions.setdefault(node, []).extend(tuple(row.values()) for row in revised.to_pylist())
        self.facts.setdefault(node, []).extend(facts)
        return Written(fresh.num_rows, revised.num_rows)

    async def load_bars(self, node: NodeId, window: Segment) -> pa.Table:
        """Bars that open in `window`, sorted by `ts`."""
        await self._answer()
        return self._table(node, window)

    async def load_opens(self, node: NodeId, window: Segment) -> np.ndarray:
        """Opens of the bars in `window`, int64, sorted."""
        await self._answer()
        return np.array(self._opens(node, window), dtype=np.int64)

    async def write_bars(
        self,
        node: NodeId,
        bars: pa.Table,
        facts: Sequence[Fact],
        *,
        recorded_at: float,
        fence: Fence | None = None,
    ) -> Written:
        """Upsert bars, append facts, and keep what changed bars held. Raises `StaleToken`."""
        await self._answer()
        return self.write(node, bars, facts, recorded_at=recorded_at, fence=fence)

    async def load_facts(self, node: NodeId, window: Segment) -> pa.Table:
        """Facts that touch `window`, in the order they were recorded."""
        await self._answer()
        known = self.facts.get(node, [])
        return facts_table(fact for fact in known if fact.start < window.end and fact.end > window.start)

    async def load_revisions(self, node: NodeId, window: Segment) -> pa.Table:
        """Revised bars that open in `window`, in the order they were recorded."""
        await self._answer()
        known = self.revisions.get(node, [])
        return table_of([row for row in known if window.start <= row[0] < window.end], REVISIONS_SCHEMA)

    async def evict(self, evictable: Mapping[NodeId, Sequence[Evictable]], recorded_at: float) -> int:
        """Drop the bars of ranges that are still the same, and remember the ranges; how many bars."""
        await self._answer()
        return sum(self._evict(node, parts) for node, parts in evictable.items())

    async def load_evictions(self, node: NodeId, window: Segment) -> list[Segment]:
        """Ranges of `window` whose bars were evicted, joined."""
        await self._answer()
        ranges = merge_ranges(self.evictions.get(node, []), node.timeframe)
        return [part for found in ranges if not (part := window.intersect(found)).is_empty]

    def change_mark(self) -> None:
        """None: what it holds lies open, and changes unseen."""

    async def status(self) -> StoreStatus:
        """That it is there."""
        await self._answer()
        return StoreStatus("memory", "memory", "", "none, writes are seen at once", 0.0)

    async def close(self) -> None:
        """Nothing: it can be opened by nobody else."""

    async def _answer(self) -> None:
        await asyncio.sleep(0)
        if self.is_away:
            raise HotStoreError("the hot store in memory is away, because a test said so")

    def _pass_fence(self, node: NodeId, fence: Fence) -> None:
        known = self.fences.setdefault(node, {})
        overlapping = [token for chunk, token in known.items() if not chunk.intersect(fence.chunk).is_empty]
        newest = max(overlapping, default=fence.token)
        if newest > fence.token:
            raise outranked(node, fence, newest)
        known[fence.chunk] = fence.token

    def _held(self, node: NodeId, bars: pa.Table) -> pa.Table:
        held = self.bars.get(node, {})
        touched = [ts for ts in bars["ts"].to_pylist() if ts in held] if held else []
        return bars_table({ts: held[ts] for ts in sorted(touched)})

    def _opens(self, node: NodeId, window: Segment) -> list[int]:
        return sorted(ts for ts in self.bars.get(node, {}) if window.start <= ts < window.end)

    def _table(self, node: NodeId, window: Segment) -> pa.Table:
        return bars_table({ts: self.bars[node][ts] for ts in self._opens(node, window)})

    def _evict(self, node: NodeId, parts: Sequence[Evictable]) -> int:
        dropped = 0
        for part in parts:
            doomed = self._opens(node, part.segment)
            if not doomed or digest_of(self._table(node, part.segment)) != part.digest:
                continue
            for ts in doomed:
                del self.bars[node][ts]
            self.evictions.setdefault(node, []).append(part.segment)
            dropped += len(doomed)
        return dropped


def _rows(bars: pa.Table) -> dict[int, Row]:
    columns = [bars.column(name).to_pylist() for name in COLUMNS]
    return {row[0]: row[1:] for row in zip(*columns, strict=True)}
