"""The embedded hot store: one SQLite file in WAL mode, safe for many processes.

Bars are kept in blocks; the coverage ledger is append-only. What is read back is believed only where its mark
says that it is as it was written; all else is as if it were not there. Every call runs in a worker thread on
a connection of that thread, so the event loop never waits for the disk. Writes share one thread: SQLite lets
one connection write at a time, and has the others sleep and try again.
"""

from __future__ import annotations

import asyncio
import sqlite3
import threading
import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np
import pyarrow as pa

from seamless_assets.adapters.sqlite import blocks, tables
from seamless_assets.adapters.sqlite.file import (
    Database,
    is_damage,
    look_for_damage,
    open_database,
    probe_write,
    transaction,
)
from seamless_assets.adapters.sqlite.version import FileVersion
from seamless_assets.aio.shield import shielded
from seamless_assets.core.bars.table import (
    Written,
    changes,
    new_values,
    timestamps,
)
from seamless_assets.core.calendar.segment import Segment, merge_ranges
from seamless_assets.core.coverage.ledger import Fact
from seamless_assets.core.node import NodeId
from seamless_assets.core.sharing.events import DamagedState, Event
from seamless_assets.core.sharing.health import StoreStatus, dated_ahead
from seamless_assets.core.sharing.lease import Fence
from seamless_assets.core.sharing.retention import Evictable, digest_of
from seamless_assets.errors import HotStoreError

T = TypeVar("T")

LOOK_BYTES = 2 * 2**30
"""Up to this size the whole file is looked at for damage; that takes a second or two."""
MAX_TOLD = 1_000
"""Of so many damaged things each is reported once; of more each time it is met."""
_UNUSABLE = "check that the file is writable, the disk has room and no other program locks it"
_DAMAGED = (
    "the file is damaged: move it away, with its -wal and -shm; released bars are in the artifacts, "
    "and `seamless backfill` fetches the others again"
)


class SqliteHotStore:
    """Hot store on one SQLite file; satisfies the flows' `HotStore`."""

    def __init__(self, path: Path, notify: Callable[[Event], None] = lambda _: None) -> None:
        self._path, self._notify = path, notify
        self._known_damage: set[str] = set()
        self._local = threading.local()
        self._connections: list[Database] = []
        self._lock = threading.Lock()
        self._writer = ThreadPoolExecutor(1, thread_name_prefix=path.stem)
        self._version = FileVersion(path)
        self._is_closed = False

    async def load_bars(self, node: NodeId, window: Segment) -> pa.Table:
        """Bars that open in `window`, sorted by `ts`. Raises `HotStoreError`."""
        return await self._run(lambda db: blocks.load_bars(db, node, window))

    async def load_opens(self, node: NodeId, window: Segment) -> np.ndarray:
        """Opens of the bars in `window`, shape `(rows,)`, sorted. Raises `HotStoreError`."""
        return await self._run(lambda db: blocks.load_opens(db, node, window))

    async def write_bars(
        self,
        node: NodeId,
        bars: pa.Table,
        facts: Sequence[Fact],
        *,
        recorded_at: float,
        fence: Fence | None = None,
    ) -> Written:
        """Upsert bars and append facts in one transaction. Raises `StaleToken`, `HotStoreError`."""
        return await self._change(lambda db: _write(db, node, bars, facts, recorded_at, fence))

    async def load_facts(self, node: NodeId, window: Segment) -> pa.Table:
        """Facts that touch `window`, oldest first. Raises `HotStoreError`."""
        return await self._run(lambda db: tables.load_facts(db, node, window))

    async def load_revisions(self, node: NodeId, window: Segment) -> pa.Table:
        """Revised bars that open in `window`, oldest first. Raises `HotStoreError`."""
        return await self._run(lambda db: tables.load_revisions(db, node, window))

    async def evict(self, evictable: Mapping[NodeId, Sequence[Evictable]], recorded_at: float) -> int:
        """Drop the bars of `evictable` that are still the same, a transaction for each node; how many.

        Raises `HotStoreError`.
        """
        dropped = 0
        for node, parts in evictable.items():
            dropped += await self._change(partial(_evict, node=node, parts=parts, now=recorded_at))
        return dropped

    async def load_evictions(self, node: NodeId, window: Segment) -> list[Segment]:
        """Ranges of `window` whose bars were evicted, joined. Raises `HotStoreError`."""
        gone = await self._run(lambda db: tables.load_evictions(db, node, window))
        ranges = merge_ranges(gone, node.timeframe)
        return [window.intersect(found) for found in ranges]

    def change_mark(self) -> Hashable | None:
        """What differs once anybody has committed to the file; None where that cannot be told at once."""
        with self._lock:
            return self._version.current()

    async def status(self) -> StoreStatus:
        """What an operator wants to know of the file, which was written to. Raises `HotStoreError`."""
        await self._change(probe_write)
        began = time.perf_counter()
        waiting = await self._run(lambda _: _size(Path(f"{self._path}-wal")))
        answered = time.perf_counter()
        is_small = _size(self._path) <= LOOK_BYTES
        found = await self._run(_look) if is_small else tables.Look({}, 0.0)
        not_looked = "" if is_small else "; too large to be looked at for damage"
        return StoreStatus(
            kind="SQLite (embedded: one machine, many processes)",
            address=str(self._path),
            version=f"{sqlite3.sqlite_version}, schema {tables.SCHEMA_VERSION}",
            lag=f"{waiting / 2**20:.1f} MiB not checkpointed{not_looked}",
            latency_ms=(answered - began) * 1000,
            warning="; ".join(filter(None, (_damage(found.spoiled), dated_ahead(found.newest, time.time())))),
        )

    async def close(self) -> None:
        """Close every thread's connection; nothing may be under way."""
        self._is_closed = True
        # Its thread may be in the middle of a write, for which others do not wait.
        try:
            await shielded(asyncio.ensure_future(asyncio.to_thread(self._writer.shutdown)))
        finally:
            with self._lock:
                self._version.close()
                connections, self._connections = self._connections, []
            for connection in connections:
                connection.close()

    async def _run(self, work: Callable[[Database], T]) -> T:
        # A thread cannot be cancelled, and its connection is not closed under it.
        return await shielded(asyncio.ensure_future(asyncio.to_thread(self._work, work)))

    async def _change(self, work: Callable[[Database], T]) -> T:
        """The same in its turn after all writes that were asked for before it."""
        if self._is_closed:
            raise HotStoreError(f"hot store {self._path} was closed before this was written", path=self._path)
        work_in_context = partial(copy_context().run, self._work, work)
        return await shielded(asyncio.get_running_loop().run_in_executor(self._writer, work_in_context))

    def _work(self, work: Callable[[Database], T]) -> T:
        try:
            db = self._connection()
            try:
                return work(db)
            finally:
                self._tell_damage(db)
        except (sqlite3.Error, OSError) as error:
            advice = _DAMAGED if is_damage(error, self._path) else _UNUSABLE
            raise HotStoreError(f"hot store {self._path}: {error}; {advice}", path=self._path) from error

    def _tell_damage(self, db: Database) -> None:
        """Tell of what was found damaged, of each thing once."""
        found, db.damage = set(db.damage), []
        fresh = found - self._known_damage
        if len(self._known_damage) < MAX_TOLD:
            self._known_damage |= fresh
        for what in sorted(fresh):
            self._notify(DamagedState(str(self._path), what))

    def _connection(self) -> Database:
        connection: Database | None = getattr(self._local, "connection", None)
        if connection is None:
            connection = self._local.connection = open_database(
                self._path, tables.SCHEMA, tables.SCHEMA_VERSION, tables.add_marks
            )
            with self._lock:
                self._connections.append(connection)
        return connection


def _evict(db: Database, *, node: NodeId, parts: Sequence[Evictable], now: float) -> int:
    dropped = 0
    with transaction(db):
        row = tables.row_of(db, node)
        same = [p.segment for p in parts if digest_of(blocks.load_bars(db, node, p.segment)) == p.digest]
        for segment in merge_ranges(same, node.timeframe):
            removed = blocks.drop_bars(db, row, node, segment)
            if removed:
                tables.put_eviction(db, row, node, segment, now)
            dropped += removed
    return dropped


def _look(db: Database) -> tables.Look:
    look_for_damage(db)
    return tables.look_at_rows(db)


def _damage(spoiled: Mapping[str, int]) -> str:
    counts = ", ".join(f"{count} {name}" for name, count in spoiled.items() if count)
    if not counts:
        return ""
    return (
        f"not as they were written, so as if they were not there: {counts}; `seamless backfill` fetches "
        "their bars again. Look after the disk"
    )


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _write(
    db: Database,
    node: NodeId,
    bars: pa.Table,
    facts: Sequence[Fact],
    recorded_at: float,
    fence: Fence | None,
) -> Written:
    with transaction(db):
        row = tables.row_of(db, node)
        if fence is not None:
            tables.pass_fence(db, row, node, fence)
        written = _upsert(db, row, node, bars, recorded_at) if bars.num_rows else Written(0, 0)
        tables.put_facts(db, row, node, facts)
    return written


def _upsert(db: Database, row: int, node: NodeId, bars: pa.Table, recorded_at: float) -> Written:
    ts = timestamps(bars)
    held = blocks.load_bars(db, node, Segment(int(ts.min()), int(ts.max()) + 1))
    if not held.num_rows:
        blocks.put_bars(db, row, node, bars)
        return Written(added=bars.num_rows, revised=0)
    fresh, revised = changes(held, bars, recorded_at)
    written = pa.concat_tables([fresh, new_values(revised)])
    if written.num_rows:
        blocks.put_bars(db, row, node, written)
    tables.put_revisions(db, row, node, revised)
    return Written(added=fresh.num_rows, revised=revised.num_rows)
