"""Sessions of worlds in a SQLite file that all processes of this machine share."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from dataclasses import astuple, replace
from pathlib import Path

from cachetools import LRUCache
from msgspec.json import Decoder, encode

from seamless_assets.adapters.machine import outbox
from seamless_assets.adapters.machine.file import MachineFile, Notify, nobody
from seamless_assets.adapters.sqlite.marks import MarkedTable
from seamless_assets.adapters.sqlite.version import FileVersion, Version
from seamless_assets.core.sharing.events import SessionEvent, WebhookEvent
from seamless_assets.core.sharing.health import StoreStatus
from seamless_assets.core.worlds.session import Change, SessionKey, SessionRecord, session_event
from seamless_assets.errors import SessionStoreError

SCHEMA_VERSION = 2
KEPT_VERDICTS = 20_000
"""Verdicts of sessions that a process keeps in memory, a session without any counting as one."""
_SCHEMA = (
    """CREATE TABLE IF NOT EXISTS sessions (
    world_id TEXT NOT NULL, domain TEXT NOT NULL, node_id TEXT NOT NULL, bound TEXT NOT NULL,
    record TEXT NOT NULL, mark INTEGER NOT NULL, PRIMARY KEY (world_id, domain, node_id, bound)
)""",
    *outbox.SCHEMA,
)
_TABLE = MarkedTable("sessions", dict.fromkeys(("world_id", "domain", "node_id", "bound", "record"), str))
_WHERE = "WHERE world_id = ? AND domain = ? AND node_id = ? AND bound = ?"
_DECODER = Decoder(SessionRecord)


class MachineSessions:
    """A `SessionStore` in a file. What cannot be read back is an error: an `as_of` must not be forgotten.

    What was read is kept as long as nobody writes to the file, so that a read which changes nothing of its
    session waits for no disk. With `on_message` each change that others should hear of leaves a message in
    the `outbox`, and then it is called.
    """

    def __init__(
        self, path: Path, on_message: Callable[[], None] | None = None, notify: Notify = nobody
    ) -> None:
        self._file = MachineFile(
            path, _SCHEMA, SCHEMA_VERSION, "the session file", SessionStoreError, notify=notify, lasting=True
        )
        self._on_message, self._notify = on_message, notify
        self._version = FileVersion(path)
        self._read_at: Version | None = None
        self._updating = 0
        self._known: LRUCache[SessionKey, SessionRecord] = LRUCache(KEPT_VERDICTS, getsizeof=_size_of)

    @property
    def outbox(self) -> outbox.MachineOutbox:
        """The messages that wait in the same file."""
        return outbox.MachineOutbox(self._file)

    async def load(self, key: SessionKey) -> SessionRecord:
        """What is remembered; an empty record where nothing is."""
        known, version = self.load_at_hand(key), self._read_at
        if known is None:
            known = await self._file.run(lambda db: _load(db, key))
            # Where others wrote since the look, the next one tells.
            if version is not None and version == self._read_at:
                self._known[key] = known
        return known

    async def update(self, key: SessionKey, change: Change) -> tuple[SessionRecord, SessionRecord]:
        """Change a record in one transaction; the record before and after.

        Where `change` leaves it as it is, nothing is written.
        """
        if self.is_unchanged_at_hand(key, change):
            known = self._known[key]
            return known, known
        has_receiver = self._on_message is not None
        self._updating += 1
        try:
            before, after, event, dropped = await self._file.run(
                lambda db: _update(db, key, change, has_receiver)
            )
        finally:
            self._updating -= 1
        for lost in dropped:
            self._notify(lost)
        if self._on_message is not None and event is not None:
            self._on_message()
        return before, after

    def load_at_hand(self, key: SessionKey) -> SessionRecord | None:
        """What is remembered, where it was read and nobody wrote to the file since; None else."""
        self._look()
        return self._known.get(key)

    def is_unchanged_at_hand(self, key: SessionKey, change: Change) -> bool:
        """Whether `change` leaves the record as it is, by what was read and nobody changes meanwhile."""
        known = self.load_at_hand(key)
        # An update under way may still change what is known; this one then goes behind it.
        return known is not None and not self._updating and change(known) == known

    async def list_keys(self) -> list[SessionKey]:
        """Every session that is remembered, in order."""
        return await self._file.run(_list_keys)

    async def count(self) -> int:
        """How many sessions are remembered."""
        return await self._file.run(_count)

    async def load_all(self, world_id: str | None = None) -> dict[SessionKey, SessionRecord]:
        """Every session that is remembered, of one world where it is named, in order of the keys."""
        return await self._file.run(lambda db: _load_all(db, world_id))

    async def status(self) -> StoreStatus:
        """What an operator wants to know of the file, all of which was read.

        Raises `SessionStoreError`, also for what was changed in it behind our back.
        """
        kept, waiting = await self._file.run(_examine)
        status = await self._file.status("sessions")
        return replace(status, lag=f"{kept} sessions, {waiting} messages wait for the webhook")

    async def close(self) -> None:
        """Close the file."""
        self._version.close()
        self._known.clear()
        await self._file.close()

    def _look(self) -> None:
        """Forget what was read where the file was written to since, by whomever."""
        version = self._version.current()
        if version is None or version != self._read_at:
            self._known.clear()
            self._read_at = version


def _size_of(record: SessionRecord) -> int:
    return 1 + len(record.verdicts)


def _load(db: sqlite3.Connection, key: SessionKey) -> SessionRecord:
    sound, damaged = _TABLE.rows(db, _WHERE, astuple(key))
    if damaged:
        raise SessionStoreError(
            f"what is remembered of session {key.world_id!r} of {key.node_id} was changed behind our back; "
            "restore the file sessions.sqlite of seamless.state_dir, or remove it to begin its sessions anew",
            key=key,
        )
    return _DECODER.decode(sound[0][-1]) if sound else SessionRecord()


def _update(
    db: sqlite3.Connection, key: SessionKey, change: Change, has_receiver: bool
) -> tuple[SessionRecord, SessionRecord, SessionEvent | None, list[WebhookEvent]]:
    before = _load(db, key)
    after = change(before)
    if after != before:
        _TABLE.put(db, [(*astuple(key), encode(after).decode())])
    event = session_event(key, before, after) if has_receiver else None
    dropped = outbox.append_message(db, event) if event is not None else []
    return before, after, event, dropped


def _load_all(db: sqlite3.Connection, world_id: str | None) -> dict[SessionKey, SessionRecord]:
    where, values = ("WHERE world_id = ?", (world_id,)) if world_id is not None else ("", ())
    sound, damaged = _TABLE.rows(db, f"{where} ORDER BY world_id, domain, node_id, bound", values)
    if damaged:
        raise SessionStoreError(
            f"what is remembered of {damaged} sessions was changed behind our back; restore the file "
            "sessions.sqlite of seamless.state_dir, or remove it to begin its sessions anew",
            damaged=damaged,
        )
    return {SessionKey(*cells): _DECODER.decode(record) for *cells, record in sound}


def _examine(db: sqlite3.Connection) -> tuple[int, int]:
    """How many sessions and messages there are, all of them sound."""
    return len(_load_all(db, None)), outbox.count_sound(db)


def _count(db: sqlite3.Connection) -> int:
    return int(db.execute("SELECT count(*) FROM sessions").fetchone()[0])


def _list_keys(db: sqlite3.Connection) -> list[SessionKey]:
    rows = db.execute("SELECT world_id, domain, node_id, bound FROM sessions ORDER BY 1, 2, 3, 4")
    return [SessionKey(*row) for row in rows]
