"""What was learned of exchanges, kept between processes: markets, listing dates, page sizes; and what lists
of markets said of declared symbols at which time.

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
from collections.abc import Callable, Iterable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from seamless_assets.adapters.ccxt.clock import happened_within
from seamless_assets.adapters.sqlite.file import empty_database, is_damage, open_database, transaction
from seamless_assets.aio.shield import shielded
from seamless_assets.core.calendar.instant import OLDEST_MARKET
from seamless_assets.errors import StoreError

T = TypeVar("T")
SCHEMA_VERSION = 2
MAX_BYTES = 256 * 1024 * 1024
"""The longest market list that is read."""
_TURN = ("markets", "turn")
LISTINGS_APART_S = 86_400.0
"""What changes all the time is kept once a day."""
_SCHEMA = (
    """CREATE TABLE IF NOT EXISTS markets (
    place TEXT PRIMARY KEY, loaded_at REAL NOT NULL, body BLOB NOT NULL
)""",
    """CREATE TABLE IF NOT EXISTS facts (
    place TEXT NOT NULL, subject TEXT NOT NULL, name TEXT NOT NULL,
    value INTEGER NOT NULL, seen_at REAL NOT NULL, PRIMARY KEY (place, subject, name)
) WITHOUT ROWID""",
    """CREATE TABLE IF NOT EXISTS listings (
    place TEXT NOT NULL, symbol TEXT NOT NULL, since REAL NOT NULL, body BLOB NOT NULL,
    PRIMARY KEY (place, symbol, since)
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
    """What a client knows of an exchange's markets: the listed ones, those that are gone, and its helpers;
    and of assets, where the exchange tells anybody of them."""

    markets: list[dict[str, Any]]
    gone: list[dict[str, Any]]
    helpers: dict[str, Any]
    assets: dict[str, Any]


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

    async def markets_loaded_at(self, place: str) -> float | None:
        """When the market list of a place was loaded, epoch seconds; None where there is none."""
        return await self._run(lambda db: _markets_loaded_at(db, place))

    async def store_markets(self, place: str, body: MarketList) -> None:
        """Keep a market list that was loaded just now."""
        row = (place, time.time(), _packed(body))
        await self._run(lambda db: _put(db, "INSERT OR REPLACE INTO markets VALUES (?, ?, ?)", row))

    async def take_turn(self, place: str, seconds: float, holder: int) -> bool:
        """Take the turn to ask a place for its markets; False while another holder has it.

        It lasts so many seconds at most, so that one whose holder was killed ends too.
        """
        return await self._run(lambda db: _take_turn(db, place, seconds, holder))

    async def end_turn(self, place: str, holder: int) -> None:
        """Give up the turn before it ends, where the holder has it."""
        statement = "DELETE FROM facts WHERE place = ? AND subject = ? AND name = ? AND value = ?"
        await self._run(lambda db: _put(db, statement, (place, *_TURN, holder)))

    async def keep_listings(self, place: str, bodies: Mapping[str, bytes]) -> None:
        """Keep what the list of a place says of symbols just now, where it said something else before.

        What is dated ahead was written by a clock that was wrong, and is dropped. While our clock shows a
        time before there was any market, nothing is kept and nothing dropped.
        """
        await self._run(lambda db: _keep_listings(db, place, bodies))

    async def listings(self, place: str, symbols: Iterable[str], at: float) -> dict[str, bytes]:
        """What was kept last by epoch seconds `at` of each symbol, or first after it, where that is all."""
        return await self._run(lambda db: _listings(db, place, symbols, at))

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
                # It is learned again, but for what lists of markets said before.
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


def _markets_loaded_at(db: sqlite3.Connection, place: str) -> float | None:
    row = db.execute("SELECT loaded_at FROM markets WHERE place = ?", (place,)).fetchone()
    return row[0] if row and isinstance(row[0], int | float) else None


def _take_turn(db: sqlite3.Connection, place: str, seconds: float, holder: int) -> bool:
    with transaction(db):
        # Read in the transaction: what others wrote while it was waited for does not lie ahead.
        now = time.time()
        taken = db.execute(
            "SELECT value, seen_at FROM facts WHERE place = ? AND subject = ? AND name = ?", (place, *_TURN)
        ).fetchone()
        known = Remembered(*taken) if taken else None
        if known and known.can_be and happened_within(seconds, known.seen_at, now):
            return False
        db.execute("INSERT OR REPLACE INTO facts VALUES (?, ?, ?, ?, ?)", (place, *_TURN, holder, now))
    return True


def _keep_listings(db: sqlite3.Connection, place: str, bodies: Mapping[str, bytes]) -> None:
    with transaction(db):
        # As with turns, it is no earlier than what others kept.
        now = time.time()
        if now < OLDEST_MARKET:
            return
        for symbol, body in bodies.items():
            db.execute(
                "DELETE FROM listings WHERE place = ? AND symbol = ? AND since > ?", (place, symbol, now)
            )
            last = db.execute(
                "SELECT since, body FROM listings WHERE place = ? AND symbol = ? ORDER BY since DESC LIMIT 1",
                (place, symbol),
            ).fetchone()
            packed = zlib.compress(body)
            if last is None or (packed != last[1] and now >= last[0] + LISTINGS_APART_S):
                db.execute("INSERT INTO listings VALUES (?, ?, ?, ?)", (place, symbol, now, packed))


def _listings(db: sqlite3.Connection, place: str, symbols: Iterable[str], at: float) -> dict[str, bytes]:
    found = {}
    known = "SELECT body FROM listings WHERE place = ? AND symbol = ?"
    for symbol in symbols:
        row = db.execute(
            f"{known} AND since <= ? ORDER BY since DESC LIMIT 1", (place, symbol, at)
        ).fetchone()
        row = row or db.execute(f"{known} ORDER BY since LIMIT 1", (place, symbol)).fetchone()
        body = _whole(row[0]) if row else None
        if body is not None:
            found[symbol] = body
    return found


def _whole(packed: Any) -> bytes | None:
    """What was packed; None for anything that was damaged."""
    try:
        unpacking = zlib.decompressobj()
        body = unpacking.decompress(packed, MAX_BYTES)
    except (zlib.error, TypeError):
        return None
    return body if unpacking.eof else None


def _packed(body: MarketList) -> bytes:
    return zlib.compress(json.dumps(body._asdict(), default=str).encode(), 1)


def _unpacked(packed: bytes) -> MarketList | None:
    """The market list of `_packed`; None for anything else."""
    try:
        text = _whole(packed)
        body = MarketList(**{"assets": {}, **json.loads(text)}) if text is not None else None
    except (ValueError, TypeError, RecursionError):
        return None
    if body is None or not isinstance(body.helpers, dict) or not isinstance(body.assets, dict):
        return None
    lists = (body.markets, body.gone)
    is_whole = all(isinstance(listed, list) and all(map(_is_market, listed)) for listed in lists)
    return body if is_whole else None


def _is_market(market: Any) -> bool:
    return isinstance(market, dict) and all(isinstance(market.get(name), str) for name in ("symbol", "id"))
