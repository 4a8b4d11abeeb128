"""Leases in a SQLite file: those of one machine, and the memory of a coordinator."""

from __future__ import annotations

import sqlite3
import time
from pathlib import Path

from seamless_assets.adapters.machine.file import MachineFile
from seamless_assets.core.sharing.lease import Lease, LeaseTally, next_token
from seamless_assets.errors import LeaseLost, LeaseStoreUnavailable

SCHEMA_VERSION = 2
REMEMBERED_S = 86_400.0
PRUNED_EVERY = 1_000
_SCHEMA = (
    # A row stays when its lease is given back (holder NULL), so that tokens only grow.
    """CREATE TABLE IF NOT EXISTS leases (
    key TEXT PRIMARY KEY, token INTEGER NOT NULL, holder TEXT, until REAL NOT NULL, ttl REAL NOT NULL
)""",
    "CREATE INDEX IF NOT EXISTS leases_by_end ON leases (until)",
    "CREATE INDEX IF NOT EXISTS leases_held ON leases (until) WHERE holder IS NOT NULL",
    "CREATE TABLE IF NOT EXISTS tally (outcome TEXT PRIMARY KEY, count INTEGER NOT NULL)",
)


class MachineLeases:
    """A `LeaseStore` in a file that all processes of this machine share; its time is the machine's."""

    def __init__(self, path: Path) -> None:
        self._file = MachineFile(path, _SCHEMA, SCHEMA_VERSION, "the lease file", LeaseStoreUnavailable)
        self._claims = 0

    async def claim(self, key: str, holder: str, ttl: float) -> Lease | None:
        """Claim `key` for `ttl` seconds; None while another holds it. Raises `LeaseStoreUnavailable`."""
        prune = self._claims % PRUNED_EVERY == 0
        self._claims += 1
        return await self._file.run(lambda db: _claim(db, key, holder, ttl, prune))

    async def renew(self, lease: Lease, ttl: float) -> Lease:
        """Hold on for `ttl` seconds from now. Raises `LeaseLost`, `LeaseStoreUnavailable`."""
        return await self._file.run(lambda db: _renew(db, lease, ttl))

    async def complete(self, lease: Lease) -> None:
        """Give it back, the work done. Raises `LeaseLost`, `LeaseStoreUnavailable`."""
        await self._file.run(lambda db: _end(db, lease, "completed"))

    async def fail(self, lease: Lease, reason: str) -> None:
        """Give it back, the work not done. Raises `LeaseLost`, `LeaseStoreUnavailable`."""
        await self._file.run(lambda db: _end(db, lease, "failed"))

    async def held(self) -> list[Lease]:
        """Every lease that is held, by key. Raises `LeaseStoreUnavailable`."""
        return await self._file.run(_held)

    async def holder_of(self, key: str) -> Lease | None:
        """The lease under which `key` is held. Raises `LeaseStoreUnavailable`."""
        return await self._file.run(lambda db: _live(db, key))

    async def tally(self) -> LeaseTally:
        """What became of all leases of this file. Raises `LeaseStoreUnavailable`."""
        return await self._file.run(_tally)

    async def close(self) -> None:
        """Close the file."""
        await self._file.close()


def _claim(db: sqlite3.Connection, key: str, holder: str, ttl: float, prune: bool) -> Lease | None:
    now = time.time()
    if prune:
        _prune(db, now - REMEMBERED_S)
    row = db.execute("SELECT token, holder FROM leases WHERE key = ?", (key,)).fetchone()
    live = _live(db, key)
    if live is not None and live.holder != holder:
        return None
    if live is not None:
        return _renew(db, live, ttl)
    last, left_by = row if row else (None, None)
    if left_by is not None:
        _count(db, "failed")
    lease = Lease(key, next_token(last, now), holder, now + ttl)
    db.execute(
        "INSERT OR REPLACE INTO leases (key, token, holder, until, ttl) VALUES (?, ?, ?, ?, ?)",
        (lease.key, lease.token, lease.holder, lease.until, ttl),
    )
    return lease


def _prune(db: sqlite3.Connection, before: float) -> None:
    """Forget what ended before; tokens are at least the microsecond of their claim, so they are outgrown."""
    left = db.execute("DELETE FROM leases WHERE until < ? RETURNING holder", (before,)).fetchall()
    for (holder,) in left:
        if holder is not None:
            _count(db, "failed")


def _renew(db: sqlite3.Connection, lease: Lease, ttl: float) -> Lease:
    held = _own(db, lease)
    until = time.time() + ttl
    db.execute("UPDATE leases SET until = ?, ttl = ? WHERE key = ?", (until, ttl, lease.key))
    return Lease(held.key, held.token, held.holder, until)


def _end(db: sqlite3.Connection, lease: Lease, outcome: str) -> None:
    _own(db, lease)
    db.execute("UPDATE leases SET holder = NULL, until = ? WHERE key = ?", (time.time(), lease.key))
    _count(db, outcome)


def _own(db: sqlite3.Connection, lease: Lease) -> Lease:
    held = _live(db, lease.key)
    if held is None or held.token != lease.token:
        by = f"{held.holder} holds it now" if held else "it ran out or was given back"
        raise LeaseLost(
            f"{lease.holder} no longer holds {lease.key} (token {lease.token}): {by}; claim it again",
            key=lease.key,
            token=lease.token,
            holder=held.holder if held else None,
        )
    return held


def _live(db: sqlite3.Connection, key: str) -> Lease | None:
    row = db.execute(f"{_LIVE} AND key = ?", (*_window(), key)).fetchone()
    return Lease(*row) if row else None


def _held(db: sqlite3.Connection) -> list[Lease]:
    return [Lease(*row) for row in db.execute(f"{_LIVE} ORDER BY key", _window())]


# A lease cannot last longer than it was granted for; one that seems to was granted before the clock was
# set back, and ends at once instead of holding its key until the clock has caught up.
_LIVE = (
    "SELECT key, token, holder, until FROM leases WHERE holder IS NOT NULL AND until > ? "
    "AND until <= ? + 2 * ttl"
)


def _window() -> tuple[float, float]:
    now = time.time()
    return now, now


def _count(db: sqlite3.Connection, outcome: str) -> None:
    db.execute(
        "INSERT INTO tally (outcome, count) VALUES (?, 1) "
        "ON CONFLICT (outcome) DO UPDATE SET count = count + 1",
        (outcome,),
    )


def _tally(db: sqlite3.Connection) -> LeaseTally:
    counts = dict(db.execute("SELECT outcome, count FROM tally").fetchall())
    (claimed,) = db.execute("SELECT count(*) FROM leases WHERE holder IS NOT NULL").fetchone()
    return LeaseTally(counts.get("completed", 0), counts.get("failed", 0), claimed)
