"""Sessions of worlds in a SQLite file that all processes of this machine share."""

from __future__ import annotations

import sqlite3
from dataclasses import astuple
from pathlib import Path

from msgspec import ValidationError
from msgspec.json import Decoder, encode

from seamless_assets.adapters.machine.file import MachineFile
from seamless_assets.core.worlds.session import Change, SessionKey, SessionRecord
from seamless_assets.errors import SessionStoreError

SCHEMA_VERSION = 1
_SCHEMA = (
    """CREATE TABLE IF NOT EXISTS sessions (
    world_id TEXT NOT NULL, domain TEXT NOT NULL, node_id TEXT NOT NULL, bound TEXT NOT NULL,
    record BLOB NOT NULL, PRIMARY KEY (world_id, domain, node_id, bound)
)""",
)
_DECODER = Decoder(SessionRecord)
_SELECT = "SELECT record FROM sessions WHERE world_id = ? AND domain = ? AND node_id = ? AND bound = ?"


class MachineSessions:
    """A `SessionStore` in a file. What cannot be read back is an error: an `as_of` must not be forgotten."""

    def __init__(self, path: Path) -> None:
        self._file = MachineFile(path, _SCHEMA, SCHEMA_VERSION, "the session file", SessionStoreError)

    async def load(self, key: SessionKey) -> SessionRecord:
        """What is remembered; an empty record where nothing is."""
        return await self._file.run(lambda db: _load(db, key))

    async def update(self, key: SessionKey, change: Change) -> tuple[SessionRecord, SessionRecord]:
        """Change a record in one transaction; the record before and after."""
        return await self._file.run(lambda db: _update(db, key, change))

    async def list_keys(self) -> list[SessionKey]:
        """Every session that is remembered, in order."""
        return await self._file.run(_list_keys)

    async def close(self) -> None:
        """Close the file."""
        await self._file.close()


def _load(db: sqlite3.Connection, key: SessionKey) -> SessionRecord:
    row = db.execute(_SELECT, astuple(key)).fetchone()
    if row is None:
        return SessionRecord()
    try:
        return _DECODER.decode(row[0])
    except (ValidationError, UnicodeDecodeError, ValueError) as error:
        raise SessionStoreError(
            f"what is remembered of session {key.world_id!r} of {key.node_id} cannot be read: {error}; "
            "restore the file sessions.sqlite of seamless.state_dir, or remove it to begin its sessions anew",
            key=key,
        ) from error


def _update(db: sqlite3.Connection, key: SessionKey, change: Change) -> tuple[SessionRecord, SessionRecord]:
    before = _load(db, key)
    after = change(before)
    if after != before:
        db.execute("INSERT OR REPLACE INTO sessions VALUES (?, ?, ?, ?, ?)", (*astuple(key), encode(after)))
    return before, after


def _list_keys(db: sqlite3.Connection) -> list[SessionKey]:
    rows = db.execute("SELECT world_id, domain, node_id, bound FROM sessions ORDER BY 1, 2, 3, 4")
    return [SessionKey(*row) for row in rows]
