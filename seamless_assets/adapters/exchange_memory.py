"""What was learned of exchanges, kept between processes: markets, listing dates, page sizes.

One SQLite file of `state_dir`. A `place` is an exchange at one address, since a local exchange or a testnet
lists other markets than the real one.
"""

from __future__ import annotations

import asyncio
import sqlite3
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, TypeVar

from seamless_assets.adapters.sqlite_file import open_database, transaction
from seamless_assets.errors import StoreError

T = TypeVar("T")
SCHEMA_VERSION = 1
_SCHEMA = (
    """CREATE TABLE IF NOT EXISTS markets (
    place TEXT PRIMARY KEY, loaded_at REAL NOT NULL, body BLOB NOT NULL
)""",
    """CREATE TABLE IF NOT EXISTS facts (
    place TEXT NOT NULL, subject TEXT NOT NULL, name TEXT NOT NULL,
    value INTEGER NOT NULL, seen_at REAL NOT NULL, PRIMARY KEY (place, subject, name)
) WITHOUT ROWID""",
)


class Remembered(NamedTuple):
    """A stored value and when it was seen, epoch seconds."""

    value: int
    seen_at: float


class StoredMarkets(NamedTuple):
    """A market list as it was dumped, and when it was loaded from the exchange, epoch seconds."""

    body: bytes
    loaded_at: float


class ExchangeMemory:
    """Facts about exchanges that outlive a process; safe for many processes. Raises `StoreError`."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._db: sqlite3.Connection | None = None
        self._lock = threading.Lock()

    async def load_markets(self, place: str) -> StoredMarkets | None:
        """The market list of a place, or None."""
        row = await self._run(
            lambda db: db.execute("SELECT body, loaded_at FROM markets WHERE place = ?", (place,)).fetchone()
        )
        return StoredMarkets(*row) if row else None

    async def store_markets(self, place: str, body: bytes) -> None:
        """Keep a market list that was loaded just now."""
        await self._run(
            lambda db: _put(db, "INSERT OR REPLACE INTO markets VALUES (?, ?, ?)", (place, time.time(), body))
        )

    async def recall(self, place: str, subject: str) -> dict[str, Remembered]:
        """What is known of a subject (a node, or a timeframe's pages), by name."""
        rows = await self._run(
            lambda db: db.execute(
                "SELECT name, value, seen_at FROM facts WHERE place = ? AND subject = ?", (place, subject)
            ).fetchall()
        )
        return {name: Remembered(value, seen_at) for name, value, seen_at in rows}

    async def remember(self, place: str, subject: str, name: str, value: int) -> None:
        """Keep one value that was found out just now."""
        row = (place, subject, name, value, time.time())
        await self._run(lambda db: _put(db, "INSERT OR REPLACE INTO facts VALUES (?, ?, ?, ?, ?)", row))

    async def close(self) -> None:
        """Close the file."""
        with self._lock:
            if self._db is not None:
                self._db.close()
                self._db = None

    async def _run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        return await asyncio.to_thread(self._work, work)

    def _work(self, work: Callable[[sqlite3.Connection], T]) -> T:
        with self._lock:
            try:
                if self._db is None:
                    self._db = open_database(self._path, _SCHEMA, SCHEMA_VERSION)
                return work(self._db)
            except (sqlite3.Error, OSError) as error:
                raise StoreError(
                    f"the memory of exchanges {self._path} cannot be used: {error}; set "
                    "seamless.state_dir to a folder that all processes of this machine can write",
                    path=self._path,
                ) from error


def _put(db: sqlite3.Connection, statement: str, row: tuple[object, ...]) -> None:
    with transaction(db):
        db.execute(statement, row)
