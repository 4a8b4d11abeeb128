"""One SQLite file that many threads and processes open: WAL mode, its schema, write transactions."""

from __future__ import annotations

import os
import sqlite3
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

from seamless_assets.errors import SeamlessError

T = TypeVar("T")

BUSY_TIMEOUT_S = 30.0
DAMAGE = (
    sqlite3.SQLITE_CORRUPT,
    sqlite3.SQLITE_NOTADB,
    sqlite3.SQLITE_FORMAT,
    sqlite3.SQLITE_MISMATCH,
    # A column or a table that every file of ours has is not there.
    sqlite3.SQLITE_ERROR,
)


class Database(sqlite3.Connection):
    """A connection, and what was found damaged over it, in words; whoever reads on clears that."""

    damage: list[str]

    def execute(self, sql: str, parameters: Any = (), /) -> sqlite3.Cursor:
        """Run one statement. Raises `sqlite3.Error`."""
        try:
            return super().execute(sql, parameters)
        except UnicodeDecodeError as error:
            # SQLite names what is damaged in the schema, in the very bytes that are damaged.
            raise _damage("its schema is damaged") from error


def open_database(
    path: Path,
    schema: Sequence[str],
    version: int,
    upgrade: Callable[[Database], None] | None = None,
) -> Database:
    """A connection in WAL mode with `schema` in place; transactions are begun by hand.

    A file of an earlier version gets the statements of `schema` and then `upgrade`; both may run again on a
    file that has them already. Text that is no UTF-8 is read with marks in place of what cannot be read.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    db = sqlite3.connect(
        path, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False, factory=Database
    )
    try:
        db.damage = []
        db.text_factory = _text
        _prepare(db, schema, version, upgrade)
    except BaseException:
        db.close()
        raise
    return db


def is_damage(error: Exception, path: Path) -> bool:
    """Whether an error says that the file at `path` is no whole database of ours, which no retry mends."""
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_OK)
    # A spoiled header calls the file read-only, whatever the disk says.
    may_write = os.access(path, os.W_OK) and os.access(path.parent, os.W_OK)
    return code & 0xFF in DAMAGE or (code == sqlite3.SQLITE_READONLY and may_write)


def is_busy(error: BaseException | None) -> bool:
    """Whether an error says that others lock the file for longer than is waited for."""
    return getattr(error, "sqlite_errorcode", sqlite3.SQLITE_OK) & 0xFF == sqlite3.SQLITE_BUSY


def probe_write(db: sqlite3.Connection) -> None:
    """Write what is there already, in the caller's transaction. Raises `sqlite3.Error`."""
    db.execute(f"PRAGMA user_version = {_version(db)}")


def look_for_damage(db: sqlite3.Connection) -> None:
    """Look at every page of the file. Raises `sqlite3.DatabaseError`.

    It sees what no database can be; whether a value is still the one that was written its mark tells.
    """
    (found,) = db.execute("PRAGMA quick_check(1)").fetchone()
    if found != "ok":
        raise _damage(" ".join(found.split()))


def empty_database(path: Path) -> None:
    """Make nothing of a damaged file that nobody misses.

    What SQLite can still lock is emptied in place, under those who have it open; what it cannot is moved to
    `*.damaged`. Raises `sqlite3.Error` and `OSError` where neither can be done.
    """
    try:
        with closing(sqlite3.connect(path, timeout=BUSY_TIMEOUT_S, factory=Database)) as db:
            db.text_factory = _text
            with closing(sqlite3.connect(":memory:")) as nothing:
                nothing.backup(db)
            look_for_damage(db)
    except sqlite3.DatabaseError as error:
        if not is_damage(error, path):
            raise
        for part in ("", "-wal", "-shm"):
            with suppress(FileNotFoundError):
                os.replace(f"{path}{part}", f"{path}.damaged{part}")


def _damage(what: str) -> sqlite3.DatabaseError:
    damage = sqlite3.DatabaseError(what)
    damage.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
    return damage


def _text(payload: bytes) -> str:
    return payload.decode(errors="replace")


def _prepare(
    db: Database, schema: Sequence[str], version: int, upgrade: Callable[[Database], None] | None
) -> None:
    _enter_wal_mode(db)
    db.execute("PRAGMA synchronous = NORMAL")
    if (found := _version(db)) > version:
        raise sqlite3.DatabaseError(f"it has schema version {found}, this program knows {version}; upgrade")
    if found == version:
        return
    with transaction(db):
        if (found := _version(db)) < version:
            for statement in schema:
                db.execute(statement)
            if found and upgrade is not None:
                upgrade(db)
            db.execute(f"PRAGMA user_version = {version}")
            db.execute(f"PRAGMA application_id = {_seal_of(version)}")


def _version(db: sqlite3.Connection) -> int:
    """The schema's version that the file names. Raises `sqlite3.DatabaseError` where that was spoiled."""
    # In one statement: others may be writing both.
    both = "SELECT user_version, application_id FROM pragma_user_version, pragma_application_id"
    found, seal = db.execute(both).fetchone()
    # Files of the first releases have no seal.
    if seal not in (0, _seal_of(found)):
        raise _damage(f"the version that its header names, {found}, is not the one that was written")
    return int(found)


def _seal_of(version: int) -> int:
    return zlib.crc32(f"seamless-assets {version}".encode()) >> 1


def _enter_wal_mode(db: sqlite3.Connection) -> None:
    """Here alone SQLite does not wait for others by itself: many that open a new file meet in this line."""
    deadline, pause = time.monotonic() + BUSY_TIMEOUT_S, 0.001
    while True:
        try:
            db.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if not is_busy(error) or time.monotonic() > deadline:
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
        db.execute("COMMIT")
    except BaseException:
        # SQLite may have rolled back by itself.
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise


def in_savepoint(db: sqlite3.Connection, work: Callable[[], T]) -> T | Exception:
    """The outcome of a part of a transaction, or the error that undid this part and nothing else.

    Such is a project error, or a value that SQLite cannot hold; others are raised.
    """
    db.execute("SAVEPOINT part")
    outcome: T | Exception
    try:
        outcome = work()
    except (SeamlessError, ValueError, ArithmeticError) as error:
        db.execute("ROLLBACK TO part")
        outcome = error
    db.execute("RELEASE part")
    return outcome
