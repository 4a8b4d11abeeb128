"""The embedded hot store: one SQLite file in WAL mode, safe for many processes.

Bars are keyed by (node, open); the coverage ledger is append-only. Every call runs in a worker thread
on a connection of that thread, so the event loop never waits for the disk.
"""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa

from seamless_assets.core.bars import BARS_SCHEMA, COLUMNS, Written, empty_bars, timestamps
from seamless_assets.core.coverage import Fact
from seamless_assets.core.node import NodeId
from seamless_assets.core.segment import Segment
from seamless_assets.errors import HotStoreError

T = TypeVar("T")

BUSY_TIMEOUT_S = 30.0
SCHEMA_VERSION = 1
_SCHEMA = """
CREATE TABLE IF NOT EXISTS nodes (id INTEGER PRIMARY KEY, node_id TEXT NOT NULL UNIQUE);
CREATE TABLE IF NOT EXISTS bars (
    node INTEGER NOT NULL REFERENCES nodes, ts INTEGER NOT NULL,
    open REAL, high REAL, low REAL, close REAL, volume REAL,
    PRIMARY KEY (node, ts)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS facts (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, node INTEGER NOT NULL REFERENCES nodes,
    start INTEGER NOT NULL, "end" INTEGER NOT NULL, reason TEXT NOT NULL, evidence TEXT NOT NULL,
    recorded_at REAL NOT NULL, attempts INTEGER NOT NULL, next_try REAL
);
CREATE INDEX IF NOT EXISTS facts_by_window ON facts (node, start, "end");
"""
_UPSERT = """
INSERT INTO bars (node, ts, open, high, low, close, volume) VALUES (?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (node, ts) DO UPDATE SET
    open = excluded.open, high = excluded.high, low = excluded.low, close = excluded.close,
    volume = excluded.volume
WHERE (open, high, low, close, volume)
    IS NOT (excluded.open, excluded.high, excluded.low, excluded.close, excluded.volume)
"""


class SqliteHotStore:
    """Hot store on one SQLite file; satisfies the flows' `HotStore`."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._local = threading.local()
        self._connections: list[sqlite3.Connection] = []
        self._lock = threading.Lock()

    async def load_bars(self, node: NodeId, window: Segment) -> pa.Table:
        """Bars that open in `window`, sorted by `ts`. Raises `HotStoreError`."""
        return await self._run(lambda db: _load_bars(db, str(node), window))

    async def write_bars(self, node: NodeId, bars: pa.Table, facts: Sequence[Fact]) -> Written:
        """Upsert bars and append facts in one transaction. Raises `HotStoreError`."""
        return await self._run(lambda db: _write(db, str(node), bars, facts))

    async def load_facts(self, node: NodeId, window: Segment) -> list[Fact]:
        """Facts that touch `window`, oldest first. Raises `HotStoreError`."""
        return await self._run(lambda db: _load_facts(db, str(node), window))

    async def close(self) -> None:
        """Close every thread's connection; nothing may be under way."""
        with self._lock:
            connections, self._connections = self._connections, []
        for connection in connections:
            connection.close()

    async def _run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        return await asyncio.to_thread(self._work, work)

    def _work(self, work: Callable[[sqlite3.Connection], T]) -> T:
        try:
            return work(self._connection())
        except (sqlite3.Error, OSError) as error:
            raise HotStoreError(
                f"hot store {self._path}: {error}; check that the file is writable and the disk has room",
                path=self._path,
            ) from error

    def _connection(self) -> sqlite3.Connection:
        connection: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            connection = self._local.connection = open_database(self._path, _SCHEMA, SCHEMA_VERSION)
            with self._lock:
                self._connections.append(connection)
        return connection


def open_database(path: Path, schema: str, version: int) -> sqlite3.Connection:
    """A connection in WAL mode with `schema` in place; transactions are begun by hand."""
    path.parent.mkdir(parents=True, exist_ok=True)
    db = sqlite3.connect(path, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False)
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("PRAGMA synchronous = NORMAL")
    (found,) = db.execute("PRAGMA user_version").fetchone()
    if found > version:
        db.close()
        raise sqlite3.DatabaseError(f"it has schema version {found}, this program knows {version}; upgrade")
    if found < version:
        with transaction(db):
            for statement in schema.split(";\n"):
                db.execute(statement)
            db.execute(f"PRAGMA user_version = {version}")
    return db


@contextmanager
def transaction(db: sqlite3.Connection) -> Iterator[None]:
    """A write transaction; rolled back on any way out but the last line."""
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        db.execute("ROLLBACK")
        raise
    db.execute("COMMIT")


def _load_bars(db: sqlite3.Connection, node_id: str, window: Segment) -> pa.Table:
    rows = db.execute(
        "SELECT ts, open, high, low, close, volume FROM bars JOIN nodes ON nodes.id = bars.node "
        "WHERE node_id = ? AND ts >= ? AND ts < ? ORDER BY ts",
        (node_id, *window),
    ).fetchall()
    if not rows:
        return empty_bars()
    columns = zip(*rows, strict=True)
    return pa.table([pa.array(c, f.type) for c, f in zip(columns, BARS_SCHEMA, strict=True)], BARS_SCHEMA)


def _load_facts(db: sqlite3.Connection, node_id: str, window: Segment) -> list[Fact]:
    rows = db.execute(
        'SELECT start, "end", reason, evidence, recorded_at, attempts, next_try FROM facts '
        'JOIN nodes ON nodes.id = facts.node WHERE node_id = ? AND start < ? AND "end" > ? ORDER BY seq',
        (node_id, window.end, window.start),
    )
    return [Fact(*row) for row in rows]


def _write(db: sqlite3.Connection, node_id: str, bars: pa.Table, facts: Sequence[Fact]) -> Written:
    with transaction(db):
        db.execute("INSERT OR IGNORE INTO nodes (node_id) VALUES (?)", (node_id,))
        (node,) = db.execute("SELECT id FROM nodes WHERE node_id = ?", (node_id,)).fetchone()
        written = _upsert(db, node, bars) if bars.num_rows else Written(0, 0)
        db.executemany(
            'INSERT INTO facts (node, start, "end", reason, evidence, recorded_at, attempts, next_try) '
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            [
                (node, f.start, f.end, f.reason, f.evidence, f.recorded_at, f.attempts, f.next_try)
                for f in facts
            ],
        )
    return written


def _upsert(db: sqlite3.Connection, node: int, bars: pa.Table) -> Written:
    ts = timestamps(bars)
    span = (node, int(ts.min()), int(ts.max()))
    counted = "SELECT count(*) FROM bars WHERE node = ? AND ts BETWEEN ? AND ?"
    (before,) = db.execute(counted, span).fetchone()
    changed = db.executemany(_UPSERT, _rows(node, bars)).rowcount
    (after,) = db.execute(counted, span).fetchone()
    return Written(added=after - before, revised=changed - (after - before))


def _rows(node: int, bars: pa.Table) -> Iterable[tuple[Any, ...]]:
    columns = [np.asarray(bars.column(name)).tolist() for name in COLUMNS]
    return zip([node] * bars.num_rows, *columns, strict=True)
