"""One rate budget per machine: a token bucket in a SQLite file that all local processes share."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from seamless_assets.adapters.sqlite import open_database, transaction
from seamless_assets.core.token_bucket import Bucket, Budget, Place, give_back, take
from seamless_assets.errors import StoreError

T = TypeVar("T")
SCHEMA_VERSION = 1
_SCHEMA = (
    "CREATE TABLE IF NOT EXISTS buckets (key TEXT PRIMARY KEY, tokens REAL NOT NULL, at REAL NOT NULL)",
)


class MachineBudget:
    """Admits requests of every process on this machine; satisfies the exchange client's `Gate`.

    Places are taken in the file at once and waited for afterwards, so that waiters queue in the order in
    which they came; a cancelled waiter that nobody queues behind gives its place back.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._db: sqlite3.Connection | None = None
        self._lock = asyncio.Lock()

    async def acquire(self, key: str, budget: Budget, cost: float) -> None:
        """Wait until a request of `cost` tokens under `key` may go out. Raises `StoreError`."""
        place = await self._locked(lambda db: _take(db, key, budget, cost))
        if place.wait <= 0:
            return
        try:
            await asyncio.sleep(place.wait)
        except asyncio.CancelledError:
            await asyncio.shield(self._locked(lambda db: _give_back(db, key, budget, place)))
            raise

    async def close(self) -> None:
        """Close the file."""
        if self._db is not None:
            self._db.close()
            self._db = None

    async def _locked(self, work: Callable[[sqlite3.Connection], T]) -> T:
        async with self._lock:
            return await asyncio.to_thread(self._work, work)

    def _work(self, work: Callable[[sqlite3.Connection], T]) -> T:
        try:
            if self._db is None:
                self._db = open_database(self._path, _SCHEMA, SCHEMA_VERSION)
            return work(self._db)
        except (sqlite3.Error, OSError) as error:
            raise StoreError(
                f"the rate budget {self._path} cannot be used: {error}; set seamless.state_dir to a folder "
                "that all processes of this machine can write",
                path=self._path,
            ) from error


def _take(db: sqlite3.Connection, key: str, budget: Budget, cost: float) -> Place:
    with transaction(db):
        bucket, place = take(budget, _load(db, key), time.time(), cost)
        _store(db, key, bucket)
    return place


def _give_back(db: sqlite3.Connection, key: str, budget: Budget, place: Place) -> None:
    with transaction(db):
        bucket = _load(db, key)
        if bucket is not None:
            _store(db, key, give_back(budget, bucket, time.time(), place))


def _load(db: sqlite3.Connection, key: str) -> Bucket | None:
    row = db.execute("SELECT tokens, at FROM buckets WHERE key = ?", (key,)).fetchone()
    return Bucket(*row) if row else None


def _store(db: sqlite3.Connection, key: str, bucket: Bucket) -> None:
    db.execute(
        "INSERT INTO buckets (key, tokens, at) VALUES (?, ?, ?) "
        "ON CONFLICT (key) DO UPDATE SET tokens = excluded.tokens, at = excluded.at",
        (key, bucket.tokens, bucket.at),
    )
