"""The hot store of a run: documented semantics, and a record of every write that it let through."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from seamless_assets.core.bars.table import BARS_SCHEMA, COLUMNS, REVISIONS_SCHEMA, Written, timestamps
from seamless_assets.core.calendar.segment import Segment
from seamless_assets.core.coverage.ledger import Fact, facts_table
from seamless_assets.core.node import NodeId
from seamless_assets.core.sharing.health import StoreStatus
from seamless_assets.core.sharing.lease import Fence
from seamless_assets.errors import StaleToken
from seamless_assets_tests.simulation.fate import Wire

Row = tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Write:
    """A write that took effect."""

    at: float
    worker: str
    node: NodeId
    fence: Fence | None
    opens: tuple[int, ...]


@dataclass
class Shelf:
    """What the hot store holds, shared by all workers. `on_fact` hears of every fact that is recorded."""

    bars: dict[NodeId, dict[int, Row]] = field(default_factory=dict)
    facts: dict[NodeId, list[Fact]] = field(default_factory=dict)
    fences: dict[NodeId, dict[Segment, int]] = field(default_factory=dict)
    writes: list[Write] = field(default_factory=list)
    tables: dict[tuple[NodeId, Segment, int], pa.Table] = field(default_factory=dict)
    on_fact: Callable[[NodeId, Fact], None] = lambda node, fact: None

    def pass_fence(self, node: NodeId, fence: Fence) -> None:
        """Take note of the writer's token. Raises `StaleToken` where a later holder has written."""
        known = self.fences.setdefault(node, {})
        newest = max(
            (t for chunk, t in known.items() if not chunk.intersect(fence.chunk).is_empty), default=0
        )
        if newest > fence.token:
            raise StaleToken(f"{node}: {newest} has written", token=fence.token, newest=newest)
        known[fence.chunk] = fence.token

    def put(self, node: NodeId, bars: pa.Table) -> Written:
        """Upsert bars."""
        held = self.bars.setdefault(node, {})
        added = revised = 0
        for row in zip(*(bars.column(name).to_pylist() for name in COLUMNS), strict=True):
            ts, values = row[0], row[1:]
            added += ts not in held
            revised += ts in held and held[ts] != values
            held[ts] = values
        return Written(added, revised)

    def opens(self, node: NodeId, window: Segment) -> list[int]:
        """Opens of the bars in `window`, ascending."""
        return sorted(ts for ts in self.bars.get(node, {}) if window.start <= ts < window.end)

    def table(self, node: NodeId, window: Segment) -> pa.Table:
        """The bars that open in `window`."""
        rows = [(ts, *self.bars[node][ts]) for ts in self.opens(node, window)]
        columns = list(zip(*rows, strict=True)) or [()] * 6
        return pa.table([pa.array(c, f.type) for c, f in zip(columns, BARS_SCHEMA, strict=True)], BARS_SCHEMA)

    def facts_in(self, node: NodeId, window: Segment) -> pa.Table:
        """The facts that touch `window`, in the order they were recorded."""
        known = self.facts.get(node, [])
        asked = (node, window, len(known))
        if asked not in self.tables:
            touching = [fact for fact in known if fact.start < window.end and fact.end > window.start]
            self.tables[asked] = facts_table(touching)
        return self.tables[asked]


class HotStore:
    """The shelf as one worker reaches it; satisfies the flows' `HotStore`. Bars and facts can be parted."""

    def __init__(self, shelf: Shelf, wire: Wire) -> None:
        self._shelf = shelf
        self._wire = wire

    async def load_bars(self, node: NodeId, window: Segment) -> pa.Table:
        return await self._wire.look("load_bars", lambda: self._shelf.table(node, window))

    async def load_opens(self, node: NodeId, window: Segment) -> np.ndarray:
        return await self._wire.look(
            "load_opens", lambda: np.array(self._shelf.opens(node, window), dtype=np.int64)
        )

    async def write_bars(
        self,
        node: NodeId,
        bars: pa.Table,
        facts: Sequence[Fact],
        *,
        recorded_at: float,
        fence: Fence | None = None,
    ) -> Written:
        written = await self._wire("write_bars", lambda: self._put_bars(node, bars, fence))
        if facts:
            await self._wire("write_facts", lambda: self._put_facts(node, facts, fence))
        return written

    async def load_facts(self, node: NodeId, window: Segment) -> pa.Table:
        return await self._wire.look("load_facts", lambda: self._shelf.facts_in(node, window))

    async def load_revisions(self, node: NodeId, window: Segment) -> pa.Table:
        return await self._wire.look("load_revisions", REVISIONS_SCHEMA.empty_table)

    async def evict(self, evictable: Mapping[NodeId, Sequence[Segment]], recorded_at: float) -> int:
        return await self._wire("evict", lambda: 0)

    async def load_evictions(self, node: NodeId, window: Segment) -> list[Segment]:
        return await self._wire.look("load_evictions", list)

    async def status(self) -> StoreStatus:
        return StoreStatus("twin", "memory", "", "none", 0.0)

    async def close(self) -> None:
        return None

    def _put_bars(self, node: NodeId, bars: pa.Table, fence: Fence | None) -> Written:
        if fence is not None:
            self._shelf.pass_fence(node, fence)
        worker = self._wire.worker
        opens = tuple(timestamps(bars).tolist())
        self._shelf.writes.append(Write(worker.loop.time(), worker.name, node, fence, opens))
        return self._shelf.put(node, bars)

    def _put_facts(self, node: NodeId, facts: Sequence[Fact], fence: Fence | None) -> None:
        if fence is not None:
            self._shelf.pass_fence(node, fence)
        self._shelf.facts.setdefault(node, []).extend(facts)
        for fact in facts:
            self._shelf.on_fact(node, fact)
