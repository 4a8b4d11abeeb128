"""The embedded hot store: one SQLite file in WAL mode, safe for many processes.

Bars are kept in blocks (`sqlite_blocks`); the coverage ledger is append-only. Every call runs in a worker
thread on a connection of that thread, so the event loop never waits for the disk.
"""

from __future__ import annotations

import asyncio
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa

from seamless_assets.adapters.sqlite import blocks
from seamless_assets.adapters.sqlite.file import is_damage, look_for_damage, open_database, transaction
from seamless_assets.aio.shield import shielded
from seamless_assets.core.bars.table import (
    REVISIONS_SCHEMA,
    Written,
    changes,
    new_values,
    table_of,
    timestamps,
)
from seamless_assets.core.calendar.segment import Segment, merge_ranges
from seamless_assets.core.coverage.ledger import FACTS_SCHEMA, Fact, facts_table
from seamless_assets.core.node import NodeId
from seamless_assets.core.sharing.health import StoreStatus
from seamless_assets.core.sharing.lease import Fence, outranked
from seamless_assets.core.sharing.retention import Evictable, digest_of
from seamless_assets.errors import HotStoreError

T = TypeVar("T")

SCHEMA_VERSION = 1
LOOK_BYTES = 2 * 2**30
"""Up to this size the whole file is looked at for damage; that takes a second or two."""
_UNUSABLE = "check that the file is writable, the disk has room and no other program locks it"
_DAMAGED = (
    "the file is damaged: move it away, with its -wal and -shm; released bars are in the artifacts, "
    "and `seamless backfill` fetches the others again"
)
_SCHEMA = (
    "CREATE TABLE IF NOT EXISTS nodes (id INTEGER PRIMARY KEY, node_id TEXT NOT NULL UNIQUE)",
    *blocks.SCHEMA,
    """CREATE TABLE IF NOT EXISTS facts (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, node INTEGER NOT NULL REFERENCES nodes,
    start INTEGER NOT NULL, "end" INTEGER NOT NULL, reason TEXT NOT NULL, evidence TEXT NOT NULL,
    recorded_at REAL NOT NULL, attempts INTEGER NOT NULL, next_try REAL
)""",
    'CREATE INDEX IF NOT EXISTS facts_by_window ON facts (node, start, "end")',
    """CREATE TABLE IF NOT EXISTS revisions (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, node INTEGER NOT NULL REFERENCES nodes, ts INTEGER NOT NULL,
    old_open REAL, old_high REAL, old_low REAL, old_close REAL, old_volume REAL,
    new_open REAL, new_high REAL, new_low REAL, new_close REAL, new_volume REAL,
    recorded_at REAL NOT NULL
)""",
    "CREATE INDEX IF NOT EXISTS revisions_by_open ON revisions (node, ts)",
    """CREATE TABLE IF NOT EXISTS fences (
    node INTEGER NOT NULL REFERENCES nodes, start INTEGER NOT NULL, "end" INTEGER NOT NULL,
    token INTEGER NOT NULL, PRIMARY KEY (node, start, "end")
) WITHOUT ROWID""",
    """CREATE TABLE IF NOT EXISTS evictions (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, node INTEGER NOT NULL REFERENCES nodes,
    start INTEGER NOT NULL, "end" INTEGER NOT NULL, recorded_at REAL NOT NULL
)""",
)
_FACTS = ", ".join(f'"{name}"' for name in FACTS_SCHEMA.names)
_REVISIONS = ", ".join(REVISIONS_SCHEMA.names)


class SqliteHotStore:
    """Hot store on one SQLite file; satisfies the flows' `HotStore`."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._local = threading.local()
        self._connections: list[sqlite3.Connection] = []
        self._lock = threading.Lock()

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
        return await self._run(lambda db: _write(db, node, bars, facts, recorded_at, fence))

    async def load_facts(self, node: NodeId, window: Segment) -> pa.Table:
        """Facts that touch `window`, oldest first. Raises `HotStoreError`."""
        return await self._run(lambda db: _load_facts(db, str(node), window))

    async def load_revisions(self, node: NodeId, window: Segment) -> pa.Table:
        """Revised bars that open in `window`, oldest first. Raises `HotStoreError`."""
        return await self._run(lambda db: _load_revisions(db, str(node), window))

    async def evict(self, evictable: Mapping[NodeId, Sequence[Evictable]], recorded_at: float) -> int:
        """Drop the bars of `evictable` that are still the same, a transaction for each node; how many.

        Raises `HotStoreError`.
        """
        dropped = 0
        for node, parts in evictable.items():
            dropped += await self._run(partial(_evict, node=node, parts=parts, now=recorded_at))
        return dropped

    async def load_evictions(self, node: NodeId, window: Segment) -> list[Segment]:
        """Ranges of `window` whose bars were evicted, joined. Raises `HotStoreError`."""
        rows = await self._run(lambda db: _load_evictions(db, str(node), window))
        ranges = merge_ranges([Segment(*row) for row in rows], node.timeframe)
        return [window.intersect(found) for found in ranges]

    async def status(self) -> StoreStatus:
        """What an operator wants to know of the file. Raises `HotStoreError`, also for a damaged file."""
        began = time.perf_counter()
        waiting = await self._run(lambda _: _size(Path(f"{self._path}-wal")))
        answered = time.perf_counter()
        is_small = _size(self._path) <= LOOK_BYTES
        if is_small:
            await self._run(look_for_damage)
        not_looked = "" if is_small else "; too large to be looked at for damage"
        return StoreStatus(
            kind="SQLite (embedded: one machine, many processes)",
            address=str(self._path),
            version=f"{sqlite3.sqlite_version}, schema {SCHEMA_VERSION}",
            lag=f"{waiting / 2**20:.1f} MiB not checkpointed{not_looked}",
            latency_ms=(answered - began) * 1000,
        )

    async def close(self) -> None:
        """Close every thread's connection; nothing may be under way."""
        with self._lock:
            connections, self._connections = self._connections, []
        for connection in connections:
            connection.close()

    async def _run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        # A thread cannot be cancelled, and its connection is not closed under it.
        return await shielded(asyncio.ensure_future(asyncio.to_thread(self._work, work)))

    def _work(self, work: Callable[[sqlite3.Connection], T]) -> T:
        try:
            return work(self._connection())
        except (sqlite3.Error, OSError) as error:
            advice = _DAMAGED if is_damage(error) else _UNUSABLE
            raise HotStoreError(f"hot store {self._path}: {error}; {advice}", path=self._path) from error

    def _connection(self) -> sqlite3.Connection:
        connection: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            connection = self._local.connection = open_database(self._path, _SCHEMA, SCHEMA_VERSION)
            with self._lock:
                self._connections.append(connection)
        return connection


def _load_facts(db: sqlite3.Connection, node_id: str, window: Segment) -> pa.Table:
    return table_of(
        db.execute(
            f"SELECT {_FACTS} FROM facts JOIN nodes ON nodes.id = facts.node "
            'WHERE node_id = ? AND start < ? AND "end" > ? ORDER BY seq',
            (node_id, window.end, window.start),
        ),
        FACTS_SCHEMA,
    )


def _load_revisions(db: sqlite3.Connection, node_id: str, window: Segment) -> pa.Table:
    return table_of(
        db.execute(
            f"SELECT {_REVISIONS} FROM revisions JOIN nodes ON nodes.id = revisions.node "
            "WHERE node_id = ? AND ts >= ? AND ts < ? ORDER BY seq",
            (node_id, *window),
        ),
        REVISIONS_SCHEMA,
    )


def _load_evictions(db: sqlite3.Connection, node_id: str, window: Segment) -> list[tuple[int, int]]:
    return db.execute(
        'SELECT start, "end" FROM evictions JOIN nodes ON nodes.id = evictions.node '
        'WHERE node_id = ? AND start < ? AND "end" > ?',
        (node_id, window.end, window.start),
    ).fetchall()


def _evict(db: sqlite3.Connection, *, node: NodeId, parts: Sequence[Evictable], now: float) -> int:
    dropped = 0
    with transaction(db):
        row = _row_of(db, node)
        same = [p.segment for p in parts if digest_of(blocks.load_bars(db, node, p.segment)) == p.digest]
        for segment in merge_ranges(same, node.timeframe):
            removed = blocks.drop_bars(db, row, node, segment)
            if removed:
                db.execute(
                    'INSERT INTO evictions (node, start, "end", recorded_at) VALUES (?, ?, ?, ?)',
                    (row, *segment, now),
                )
            dropped += removed
    return dropped


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _write(
    db: sqlite3.Connection,
    node: NodeId,
    bars: pa.Table,
    facts: Sequence[Fact],
    recorded_at: float,
    fence: Fence | None,
) -> Written:
    with transaction(db):
        row = _row_of(db, node)
        if fence is not None:
            _pass_fence(db, row, node, fence)
        written = _upsert(db, row, node, bars, recorded_at) if bars.num_rows else Written(0, 0)
        _insert(db, "facts", _FACTS, row, facts_table(facts))
    return written


def _row_of(db: sqlite3.Connection, node: NodeId) -> int:
    db.execute("INSERT OR IGNORE INTO nodes (node_id) VALUES (?)", (str(node),))
    (row,) = db.execute("SELECT id FROM nodes WHERE node_id = ?", (str(node),)).fetchone()
    return int(row)


def _pass_fence(db: sqlite3.Connection, row: int, node: NodeId, fence: Fence) -> None:
    """Take note of the writer's token, unless a later holder of the chunk has left a higher one."""
    (newest,) = db.execute(
        'SELECT max(token) FROM fences WHERE node = ? AND start < ? AND "end" > ?',
        (row, fence.chunk.end, fence.chunk.start),
    ).fetchone()
    if newest is not None and newest > fence.token:
        raise outranked(node, fence, newest)
    db.execute(
        'INSERT OR REPLACE INTO fences (node, start, "end", token) VALUES (?, ?, ?, ?)',
        (row, *fence.chunk, fence.token),
    )


def _upsert(db: sqlite3.Connection, row: int, node: NodeId, bars: pa.Table, recorded_at: float) -> Written:
    ts = timestamps(bars)
    held = blocks.load_bars(db, node, Segment(int(ts.min()), int(ts.max()) + 1))
    fresh, revised = changes(held, bars, recorded_at)
    written = pa.concat_tables([fresh, new_values(revised)])
    if written.num_rows:
        blocks.put_bars(db, row, node, written)
    _insert(db, "revisions", _REVISIONS, row, revised)
    return Written(added=fresh.num_rows, revised=revised.num_rows)


def _insert(db: sqlite3.Connection, name: str, columns: str, row: int, table: pa.Table) -> None:
    marks = ", ".join("?" * (table.num_columns + 1))
    db.executemany(f"INSERT INTO {name} (node, {columns}) VALUES ({marks})", _rows(row, table))


def _rows(row: int, table: pa.Table) -> Iterable[tuple[Any, ...]]:
    return zip([row] * table.num_rows, *(column.to_pylist() for column in table.columns), strict=True)
