"""What was learned of exchanges, kept between processes: markets, listing dates, page sizes.

One SQLite file of `state_dir`. A `place` is an exchange at one address, since a local exchange or a testnet
lists other markets than the real one.
"""

from __future__ import annotations

import asyncio
import json
import sqlite3
import threading
import time
import zlib
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from seamless_assets.adapters.sqlite.file import empty_database, is_damage, open_database, transaction
from seamless_assets.aio.shield import shielded
from seamless_assets.errors import StoreError

T = TypeVar("T")
SCHEMA_VERSION = 1
MAX_BYTES = 256 * 1024 * 1024
"""The longest market list that is read."""
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

    @property
    def can_be(self) -> bool:
        """Whether it is a number and a time at all; a damaged file may hold anything."""
        return type(self.value) is int and isinstance(self.seen_at, int | float)


class MarketList(NamedTuple):
    """What a client knows of an exchange's markets: the listed ones, those that are gone, and its helpers."""

    markets: list[dict[str, Any]]
    gone: list[dict[str, Any]]
    helpers: dict[str, Any]


class StoredMarkets(NamedTuple):
    """A market list, and when it was loaded from the exchange, epoch seconds."""

    body: MarketList
    loaded_at: float


class ExchangeMemory:
    """Facts about exchanges that outlive a process; safe for many processes. Raises `StoreError`."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._db: sqlite3.Connection | None = None
        self._lock = threading.Lock()

    async def load_markets(self, place: str) -> StoredMarkets | None:
        """The market list of a place; None where there is none that can be read."""
        return await self._run(lambda db: _markets(db, place))

    async def store_markets(self, place: str, body: MarketList) -> None:
        """Keep a market list that was loaded just now."""
        row = (place, time.time(), _packed(body))
        await self._run(lambda db: _put(db, "INSERT OR REPLACE INTO markets VALUES (?, ?, ?)", row))

    async def recall(self, place: str, subject: str) -> dict[str, Remembered]:
        """What is known of a subject (a node, or a timeframe's pages), by name."""
        rows = await self._run(
            lambda db: db.execute(
                "SELECT name, value, seen_at FROM facts WHERE place = ? AND subject = ?", (place, subject)
            ).fetchall()
        )
        entries = (Remembered(value, seen_at) for _, value, seen_at in rows)
        return {row[0]: known for row, known in zip(rows, entries, strict=True) if known.can_be}

    async def remember(self, place: str, subject: str, name: str, value: int) -> None:
        """Keep one value that was found out just now."""
        row = (place, subject, name, value, time.time())
        await self._run(lambda db: _put(db, "INSERT OR REPLACE INTO facts VALUES (?, ?, ?, ?, ?)", row))

    async def forget(self, place: str, subject: str, name: str) -> None:
        """Drop a value that turned out wrong."""
        row = (place, subject, name)
        statement = "DELETE FROM facts WHERE place = ? AND subject = ? AND name = ?"
        await self._run(lambda db: _put(db, statement, row))

    async def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._closed()

    async def _run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        # A thread cannot be cancelled, and its connection is not closed under it.
        return await shielded(asyncio.ensure_future(asyncio.to_thread(self._work, work)))

    def _work(self, work: Callable[[sqlite3.Connection], T]) -> T:
        with self._lock:
            try:
                try:
                    return self._worked(work)
                except sqlite3.Error as error:
                    if not is_damage(error, self._path):
                        raise
                # All of it can be learned again.
                self._closed()
                empty_database(self._path)
                return self._worked(work)
            except (sqlite3.Error, OSError) as error:
                raise StoreError(
                    f"the memory of exchanges {self._path} cannot be used: {error}; set "
                    "seamless.state_dir to a folder that all processes of this machine can write",
                    path=self._path,
                ) from error

    def _worked(self, work: Callable[[sqlite3.Connection], T]) -> T:
        if self._db is None:
            self._db = open_database(self._path, _SCHEMA, SCHEMA_VERSION)
        return work(self._db)

    def _closed(self) -> None:
        if self._db is not None:
            self._db.close()
            self._db = None


def known_markets(path: Path, place: str) -> tuple[dict[str, dict[str, Any]], dict[str, int]]:
    """The markets of a place by their symbols, and when nodes were listed by their ids, as known by now.

    Nothing of a file that is not there or cannot be read; the file stays as it is.
    """
    if not path.exists():
        return {}, {}
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as db:
            stored = _markets(db, place)
            statement = "SELECT subject, value, seen_at FROM facts WHERE place = ? AND name = 'listed'"
            found = [(row[0], Remembered(*row[1:])) for row in db.execute(statement, (place,))]
    except sqlite3.Error:
        return {}, {}
    markets = {market["symbol"]: market for market in (stored.body.markets if stored else ())}
    return markets, {
        subject: known.value for subject, known in found if known.can_be and 0 <= known.value <= known.seen_at
    }


def _put(db: sqlite3.Connection, statement: str, row: tuple[object, ...]) -> None:
    with transaction(db):
        db.execute(statement, row)


def _markets(db: sqlite3.Connection, place: str) -> StoredMarkets | None:
    row = db.execute("SELECT body, loaded_at FROM markets WHERE place = ?", (place,)).fetchone()
    body = _unpacked(row[0]) if row and isinstance(row[1], int | float) else None
    return StoredMarkets(body, row[1]) if body else None


def _packed(body: MarketList) -> bytes:
    return zlib.compress(json.dumps(body._asdict(), default=str).encode(), 1)


def _unpacked(packed: bytes) -> MarketList | None:
    """The market list of `_packed`; None for anything else."""
    try:
        unpacking = zlib.decompressobj()
        text = unpacking.decompress(packed, MAX_BYTES)
        body = MarketList(**json.loads(text)) if unpacking.eof else None
    except (zlib.error, ValueError, TypeError, RecursionError):
        return None
    if body is None or not isinstance(body.helpers, dict):
        return None
    lists = (body.markets, body.gone)
    is_whole = all(isinstance(listed, list) and all(map(_is_market, listed)) for listed in lists)
    return body if is_whole else None


def _is_market(market: Any) -> bool:
    return isinstance(market, dict) and all(isinstance(market.get(name), str) for name in ("symbol", "id"))
