"""The embedded hot store: one SQLite file in WAL mode, safe for many processes.

Bars are kept in blocks; the coverage ledger is append-only. What is read back is believed only where its mark
says that it is as it was written; all else is as if it were not there. Every call runs in a worker thread on
a connection of that thread, so the event loop never waits for the disk. Writes share one thread: SQLite lets
one connection write at a time, and has the others sleep and try again. What is asked for while one write is
under way is written together, in one transaction; short reads go together, too.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import Context, copy_context
from copy import copy
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Self, TypeVar

import numpy as np
import pyarrow as pa

from seamless_assets.adapters.sqlite import blocks, tables
from seamless_assets.adapters.sqlite.file import (
    Database,
    in_savepoint,
    is_busy,
    is_damage,
    look_for_damage,
    open_database,
    probe_write,
    transaction,
)
from seamless_assets.adapters.sqlite.together import ProcessEnds, Together, alone
from seamless_assets.adapters.sqlite.version import FileVersion
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
from seamless_assets.errors import HotStoreClosed, HotStoreError

T = TypeVar("T")
Work = Callable[[Database], T]

WRITTEN_TOGETHER = 20_000
"""Bars and facts that are written in one transaction for several who ask: who is first waits for all."""
READ_TOGETHER = 20_000
"""Bars that are read for several who ask before the first of them has an answer."""
SHORT_BARS = 2_000
"""A read of more bars goes alone, beside others."""
LOOK_BYTES = 2 * 2**30
"""Up to this size the whole file is looked at for damage; that takes a second or two."""
MAX_TOLD = 1_000
"""Of so many damaged things each is reported once; of more each time it is met."""
_UNUSABLE = "check that the file is writable, the disk has room and no other program locks it"
_DAMAGED = (
    "the file is damaged: move it away, with its -wal and -shm; released bars are in the artifacts, "
    "and `seamless backfill` fetches the others again"
)


@dataclass(frozen=True, slots=True)
class _Asked:
    """A work, and the context of who asked for it."""

    work: Callable[[Database], Any]
    context: Context

    @classmethod
    def by_caller(cls, work: Callable[[Database], Any]) -> Self:
        """That of the caller."""
        return cls(work, copy_context())


class SqliteHotStore:
    """Hot store on one SQLite file; satisfies the flows' `HotStore`."""

    def __init__(self, path: Path, notify: Callable[[Event], None] = lambda _: None) -> None:
        self._path, self._notify = path, notify
        self._known_damage: set[str] = set()
        self._local = threading.local()
        self._connections: list[Database] = []
        self._lock = threading.Lock()
        self._writes = Together[_Asked](path.stem, self._write_together, WRITTEN_TOGETHER)
        self._reads = Together[_Asked](f"{path.stem}-reads", self._read_together, READ_TOGETHER)
        self._version = FileVersion(path)
        self._is_closed = False

    async def load_bars(self, node: NodeId, window: Segment) -> pa.Table:
        """Bars that open in `window`, sorted by `ts`. Raises `HotStoreError`."""
        return await self._read(node, window, blocks.load_bars)

    async def load_opens(self, node: NodeId, window: Segment) -> np.ndarray:
        """Opens of the bars in `window`, shape `(rows,)`, sorted. Raises `HotStoreError`."""
        return await self._read(node, window, blocks.load_opens)

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
        size = bars.num_rows + len(facts)
        return await self._change(lambda db: _write(db, node, bars, facts, recorded_at, fence), size)

    async def load_facts(self, node: NodeId, window: Segment) -> pa.Table:
        """Facts that touch `window`, oldest first. Raises `HotStoreError`."""
        return await self._read(node, window, tables.load_facts)

    async def load_revisions(self, node: NodeId, window: Segment) -> pa.Table:
        """Revised bars that open in `window`, oldest first. Raises `HotStoreError`."""
        return await self._read(node, window, tables.load_revisions)

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
        # A thread may be in the middle of a write, for which others do not wait.
        try:
            await self._writes.close()
            await self._reads.close()
        finally:
            with self._lock:
                self._version.close()
                connections, self._connections = self._connections, []
            for connection in connections:
                connection.close()

    async def _read(self, node: NodeId, window: Segment, load: Callable[[Database, NodeId, Segment], T]) -> T:
        """What `load` finds of a window."""
        bars = (window.end - window.start) // node.timeframe.approximate_seconds
        return await self._run(lambda db: load(db, node, window), bars if bars <= SHORT_BARS else None)

    async def _run(self, work: Work[T], size: int | None = None) -> T:
        """The outcome of `work`; together with others where its `size`, in bars, is given."""
        self._refuse_closed("read")
        asked = _Asked.by_caller(work)
        with self._typed_end():
            outcome: T = await (
                # A thread cannot be cancelled, and its connection is not closed under it.
                alone(partial(self._read_alone, asked)) if size is None else self._reads.run(asked, size)
            )
        return outcome

    async def _change(self, work: Work[T], size: int = 1) -> T:
        """The outcome of `work` in a transaction, after all writes that were asked for before it.

        The transaction is not its alone: a project error undoes what `work` wrote and nothing else.
        """
        self._refuse_closed("written")
        with self._typed_end():
            outcome: T = await self._writes.run(_Asked.by_caller(work), size)
        return outcome

    def _refuse_closed(self, what: str) -> None:
        if self._is_closed:
            raise HotStoreClosed(f"hot store {self._path} was closed before this was {what}", path=self._path)

    @contextmanager
    def _typed_end(self) -> Iterator[None]:
        try:
            yield
        except ProcessEnds as error:
            raise HotStoreClosed(
                f"hot store {self._path} cannot be asked any more, as the process ends ({error}); close the "
                "pipeline before that",
                path=self._path,
            ) from error

    def _read_alone(self, asked: _Asked) -> Any:
        with self._typed_errors():
            return self._outcome(self._connection(), asked)

    def _read_together(self, works: Sequence[_Asked]) -> list[Any]:
        outcomes = list[Any]()
        try:
            for asked in works:
                outcomes.append(self._read_alone(asked))
        except HotStoreError as error:
            outcomes += _of_each(error, len(works) - len(outcomes))
        return outcomes

    def _write_together(self, works: Sequence[_Asked]) -> list[Any]:
        try:
            with self._typed_errors():
                db = self._connection()
                with transaction(db):
                    return [in_savepoint(db, partial(self._outcome, db, asked)) for asked in works]
        except HotStoreError as error:
            return _of_each(error, len(works))

    def _outcome(self, db: Database, asked: _Asked) -> Any:
        try:
            return asked.context.run(asked.work, db)
        finally:
            asked.context.run(self._tell_damage, db)

    @contextmanager
    def _typed_errors(self) -> Iterator[None]:
        try:
            yield
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


def _of_each(error: HotStoreError, count: int) -> list[HotStoreError]:
    """What each comes to where one has waited in vain for a file that others lock; raises other errors."""
    if not is_busy(error.__cause__):
        raise error
    # Each alone would wait as long again; an error that several raise would mix their tracebacks.
    others = [copy(error) for _ in range(count - 1)]
    for other in others:
        other.__cause__ = error.__cause__
    return [error, *others]


def _evict(db: Database, *, node: NodeId, parts: Sequence[Evictable], now: float) -> int:
    dropped, row = 0, tables.row_of(db, node)
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
