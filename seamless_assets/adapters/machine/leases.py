"""Leases in a SQLite file: those of one machine, and the memory of a coordinator."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from seamless_assets.adapters.machine.file import MachineFile, Notify, nobody
from seamless_assets.adapters.sqlite.file import Database
from seamless_assets.adapters.sqlite.marks import MarkedTable
from seamless_assets.core.sharing.health import StoreStatus, dated_ahead
from seamless_assets.core.sharing.lease import PROBES, Lease, LeaseTally, next_token, raised_token
from seamless_assets.errors import LeaseLost, LeaseStoreUnavailable

SCHEMA_VERSION = 3
REMEMBERED_S = 86_400.0
PRUNED_EVERY = 1_000
_LEASES = MarkedTable("leases", {"key": str, "token": int, "holder": str, "until": float, "ttl": float})
_TALLY = MarkedTable("tally", {"outcome": str, "count": int})
_SCHEMA = (
    # A row stays when its lease is given back (holder NULL), so that tokens only grow.
    """CREATE TABLE IF NOT EXISTS leases (
    key TEXT PRIMARY KEY, token INTEGER NOT NULL, holder TEXT, until REAL NOT NULL, ttl REAL NOT NULL,
    mark INTEGER
)""",
    "CREATE INDEX IF NOT EXISTS leases_by_end ON leases (until)",
    "CREATE INDEX IF NOT EXISTS leases_held ON leases (until) WHERE holder IS NOT NULL",
    "CREATE TABLE IF NOT EXISTS tally (outcome TEXT PRIMARY KEY, count INTEGER NOT NULL, mark INTEGER)",
)


class MachineLeases:
    """A `LeaseStore` in a file that all processes of this machine share; its time is the machine's."""

    def __init__(self, path: Path, notify: Notify = nobody) -> None:
        self._file = MachineFile(
            path,
            _SCHEMA,
            SCHEMA_VERSION,
            "the lease file",
            LeaseStoreUnavailable,
            upgrade=_add_marks,
            notify=notify,
        )
        self._claims = 0

    async def claim(self, key: str, holder: str, ttl: float) -> Lease | None:
        """Claim `key` for `ttl` seconds; None while another holds it. Raises `LeaseStoreUnavailable`."""
        prune = self._claims % PRUNED_EVERY == 0
        self._claims += 1
        return await self._file.run(lambda db: _claim(db, key, holder, ttl, prune))

    async def renew(self, lease: Lease, ttl: float, above: int | None = None) -> Lease:
        """Hold on for `ttl` seconds from now, under a token above `above` where that is given.

        Raises `LeaseLost`, `LeaseStoreUnavailable`.
        """
        return await self._file.run(lambda db: _renew(db, lease, ttl, above))

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

    async def status(self) -> StoreStatus:
        """What an operator wants to know of the file. Raises `LeaseStoreUnavailable`."""
        newest = await self._file.run(_newest)
        return await self._file.status("leases", dated_ahead(newest, time.time()))

    async def close(self) -> None:
        """Close the file."""
        await self._file.close()


def _claim(db: Database, key: str, holder: str, ttl: float, prune: bool) -> Lease | None:
    now = time.time()
    if prune:
        _prune(db, now - REMEMBERED_S)
    known = _known(db, key)
    live = known.live_at(now) if known else None
    if live is not None and live.holder != holder:
        return None
    if live is not None:
        return _renew(db, live, ttl)
    if known is not None and known.holder is not None:
        _count(db, key, "failed")
    lease = Lease(key, next_token(known.token if known else None, now), holder, now + ttl)
    _put(db, lease, ttl)
    return lease


def _prune(db: Database, before: float) -> None:
    """Forget what ended before; tokens are at least the microsecond of their claim, so they are outgrown."""
    left = db.execute("DELETE FROM leases WHERE until < ? RETURNING key, holder", (before,)).fetchall()
    for key, holder in left:
        if holder is not None:
            _count(db, key, "failed")


def _renew(db: Database, lease: Lease, ttl: float, above: int | None = None) -> Lease:
    held = _own(db, lease)
    renewed = Lease(held.key, raised_token(held.token, above), held.holder, time.time() + ttl)
    _put(db, renewed, ttl)
    return renewed


def _end(db: Database, lease: Lease, outcome: str) -> None:
    held = _own(db, lease)
    _LEASES.put(db, [(held.key, held.token, None, time.time(), 0.0)])
    _count(db, held.key, outcome)


def _own(db: Database, lease: Lease) -> Lease:
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


class _Known(NamedTuple):
    """A row: a lease that is held, was left or was given back (`holder` None)."""

    key: str
    token: int
    holder: str | None
    until: float
    ttl: float

    def live_at(self, now: float) -> Lease | None:
        """The lease, if it is held at `now`.

        A lease cannot last longer than it was granted for; one that seems to was granted before the clock
        was set back, and ends at once instead of holding its key until the clock has caught up.
        """
        if self.holder is None or not now < self.until <= now + 2 * self.ttl:
            return None
        return Lease(self.key, self.token, self.holder, self.until)


def _known(db: Database, key: str) -> _Known | None:
    return next((known for known in _rows(db, "WHERE key = ?", (key,)) if known.key == key), None)


def _live(db: Database, key: str) -> Lease | None:
    known = _known(db, key)
    return known.live_at(time.time()) if known else None


def _held(db: Database) -> list[Lease]:
    now = time.time()
    held = _rows(db, "WHERE holder IS NOT NULL AND until > ? ORDER BY key", (now,))
    return [lease for known in held if (lease := known.live_at(now)) is not None]


def _rows(db: Database, where: str, values: Sequence[str | float]) -> list[_Known]:
    rows, spoiled = _LEASES.rows(db, where, values)
    if spoiled:
        db.damage.append(f"{spoiled} leases")
    return [_Known(*row) for row in rows]


def _put(db: Database, lease: Lease, ttl: float) -> None:
    _LEASES.put(db, [(lease.key, lease.token, lease.holder, lease.until, ttl)])


def _count(db: Database, key: str, outcome: str) -> None:
    if not key.startswith(PROBES):
        _TALLY.put(db, [(outcome, _counts(db).get(outcome, 0) + 1)])


def _counts(db: Database) -> dict[str, int]:
    rows, _ = _TALLY.rows(db, "", ())
    return dict(rows)


def _newest(db: Database) -> float:
    """When the last lease was claimed, as its token says."""
    return max((known.token / 1_000_000 for known in _rows(db, "", ())), default=0.0)


def _tally(db: Database) -> LeaseTally:
    counts = _counts(db)
    (claimed,) = db.execute("SELECT count(*) FROM leases WHERE holder IS NOT NULL").fetchone()
    return LeaseTally(counts.get("completed", 0), counts.get("failed", 0), claimed)


def _add_marks(db: Database) -> None:
    for table in (_LEASES, _TALLY):
        if not table.has_marks(db):
            table.add_column(db)
            table.mark(db, "", (), "", lambda row: None not in (row[0], row[1], row[-1]))
