"""The hot store of a run as one process reaches it, and a record of every write that it let through."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
import pyarrow as pa

from seamless_assets.core.bars.table import BARS_SCHEMA, Written, empty_bars, timestamps
from seamless_assets.core.calendar.segment import Segment
from seamless_assets.core.coverage.ledger import Fact
from seamless_assets.core.node import NodeId
from seamless_assets.core.sharing.health import StoreStatus
from seamless_assets.core.sharing.lease import Fence
from seamless_assets.core.sharing.retention import Evictable
from seamless_assets.testing import InMemoryHotStore
from seamless_assets_tests.simulation.faults import Channel


@dataclass(frozen=True, slots=True)
class Write:
    """A write that took effect."""

    at: float
    process: str
    node: NodeId
    fence: Fence | None
    opens: tuple[int, ...]


@dataclass
class RecordingHotStore(InMemoryHotStore):
    """What processes share, of one machine or of all. `on_fact` hears of every fact that is recorded.

    `damaged` are bars whose open has become another one on the disk, by node and open. Stores notice that
    and serve them no more; one that does not serves them under the wrong open.
    """

    writes: list[Write] = field(default_factory=list)
    on_fact: Callable[[RecordingHotStore, NodeId, Fact], None] = lambda store, node, fact: None
    damaged: dict[tuple[NodeId, int], int] = field(default_factory=dict)
    notices_damage: ClassVar[bool] = True

    async def load_bars(self, node: NodeId, window: Segment) -> pa.Table:
        """Bars that open in `window`, as the disk holds them by now."""
        bars = await super().load_bars(node, window)
        if not self.damaged:
            return bars
        rows = bars.to_pylist()
        stored = [{**row, "ts": self.damaged.get((node, row["ts"]), row["ts"])} for row in rows]
        if self.notices_damage:
            stored = [row for row, known in zip(rows, stored, strict=True) if row == known]
        return pa.Table.from_pylist(stored, BARS_SCHEMA)

    async def load_opens(self, node: NodeId, window: Segment) -> np.ndarray:
        """Opens of the bars in `window` that are whole."""
        opens = await super().load_opens(node, window)
        if not self.damaged:
            return opens
        is_whole = [(node, int(ts)) not in self.damaged for ts in opens]
        whole: np.ndarray = opens[np.array(is_whole, dtype=bool)]
        return whole

    def record(
        self, channel: Channel, node: NodeId, bars: pa.Table, facts: Sequence[Fact], fence: Fence | None
    ) -> None:
        """Take note of what a process has just written; it is whole."""
        for ts in timestamps(bars).tolist():
            self.damaged.pop((node, ts), None)
        if bars.num_rows or not facts:
            process, opens = channel.process, tuple(timestamps(bars).tolist())
            self.writes.append(Write(process.loop.time(), process.name, node, fence, opens))
        for fact in facts:
            self.on_fact(self, node, fact)


class FaultyHotStore:
    """Satisfies the flows' `HotStore`. A crash can part a write's bars from its facts, as QuestDB's can."""

    def __init__(self, store: RecordingHotStore, channel: Channel) -> None:
        self._store = store
        self._channel = channel

    async def load_bars(self, node: NodeId, window: Segment) -> pa.Table:
        return await self._channel.ask("load_bars", lambda: self._store.load_bars(node, window))

    async def load_opens(self, node: NodeId, window: Segment) -> np.ndarray:
        return await self._channel.ask("load_opens", lambda: self._store.load_opens(node, window))

    async def write_bars(
        self,
        node: NodeId,
        bars: pa.Table,
        facts: Sequence[Fact],
        *,
        recorded_at: float,
        fence: Fence | None = None,
    ) -> Written:
        async def write(bars: pa.Table, facts: Sequence[Fact]) -> Written:
            written = await self._store.write_bars(node, bars, facts, recorded_at=recorded_at, fence=fence)
            self._store.record(self._channel, node, bars, facts, fence)
            return written

        written = await self._channel.call("write_bars", lambda: write(bars, ()))
        if facts:
            await self._channel.call("write_facts", lambda: write(empty_bars(), facts))
        return written

    async def load_facts(self, node: NodeId, window: Segment) -> pa.Table:
        return await self._channel.ask("load_facts", lambda: self._store.load_facts(node, window))

    async def load_revisions(self, node: NodeId, window: Segment) -> pa.Table:
        return await self._channel.ask("load_revisions", lambda: self._store.load_revisions(node, window))

    async def evict(self, evictable: Mapping[NodeId, Sequence[Evictable]], recorded_at: float) -> int:
        return await self._channel.call("evict", lambda: self._store.evict(evictable, recorded_at))

    async def load_evictions(self, node: NodeId, window: Segment) -> list[Segment]:
        return await self._channel.ask("load_evictions", lambda: self._store.load_evictions(node, window))

    def change_mark(self) -> None:
        return None

    async def status(self) -> StoreStatus:
        return await self._store.status()

    async def close(self) -> None:
        return None
