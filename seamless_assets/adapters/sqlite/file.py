"""One SQLite file that many threads and processes open: WAL mode, its schema, write transactions."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

BUSY_TIMEOUT_S = 30.0
DAMAGE = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def open_database(path: Path, schema: Sequence[str], version: int) -> sqlite3.Connection:
    """A connection in WAL mode with `schema` in place; transactions are begun by hand."""
    path.parent.mkdir(parents=True, exist_ok=True)
    db = sqlite3.connect(path, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False)
    try:
        _prepare(db, schema, version)
    except BaseException:
        db.close()
        raise
    return db


def is_damage(error: Exception) -> bool:
    """Whether an error says that the file is no whole database, which no retry mends."""
    return getattr(error, "sqlite_errorcode", sqlite3.SQLITE_OK) & 0xFF in DAMAGE


def look_for_damage(db: sqlite3.Connection) -> None:
    """Look at every page of the file. Raises `sqlite3.DatabaseError`.

    It sees what no database can be; whether a value is still the one that was written it cannot tell.
    """
    (found,) = db.execute("PRAGMA quick_check(1)").fetchone()
    if found != "ok":
        damage = sqlite3.DatabaseError(" ".join(found.split()))
        damage.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
        raise damage


def _prepare(db: sqlite3.Connection, schema: Sequence[str], version: int) -> None:
    _enter_wal_mode(db)
    db.execute("PRAGMA synchronous = NORMAL")
    (found,) = db.execute("PRAGMA user_version").fetchone()
    if found > version:
        raise sqlite3.DatabaseError(f"it has schema version {found}, this program knows {version}; upgrade")
    if found < version:
        with transaction(db):
            for statement in schema:
                db.execute(statement)
            db.execute(f"PRAGMA user_version = {version}")


def _enter_wal_mode(db: sqlite3.Connection) -> None:
    """Here alone SQLite does not wait for others by itself: many that open a new file meet in this line."""
    deadline, pause = time.monotonic() + BUSY_TIMEOUT_S, 0.001
    while True:
        try:
            db.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(pause)
            pause = min(2 * pause, 0.1)
        else:
            return


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
