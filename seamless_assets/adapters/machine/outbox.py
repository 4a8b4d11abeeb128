"""Messages of sessions that wait for their receiver, in the file that holds the sessions themselves.

One transaction changes a session and leaves the message about it, so no crash parts the two.
"""

from __future__ import annotations

import secrets
import sqlite3

from seamless_assets.adapters.machine.file import MachineFile
from seamless_assets.adapters.sqlite.file import Database
from seamless_assets.adapters.sqlite.marks import MarkedTable, Row
from seamless_assets.core.sharing.events import SessionEvent, WebhookEvent
from seamless_assets.core.worlds.webhook import (
    CLAIM_S,
    LONGEST_PAUSE_S,
    LONGEST_RETRY_AFTER_S,
    MOST_WAITING,
    WebhookMessage,
    dropped_event,
    webhook_message,
)
from seamless_assets.errors import SessionStoreError

SCHEMA = (
    """CREATE TABLE IF NOT EXISTS messages (
    world_id TEXT NOT NULL, sequence INTEGER NOT NULL, message_id TEXT NOT NULL, body TEXT NOT NULL,
    mark INTEGER NOT NULL, PRIMARY KEY (world_id, sequence)
)""",
    """CREATE TABLE IF NOT EXISTS streams (
    world_id TEXT PRIMARY KEY, stream TEXT NOT NULL, sequence INTEGER NOT NULL, mark INTEGER NOT NULL
)""",
    """CREATE TABLE IF NOT EXISTS sending (
    world_id TEXT PRIMARY KEY, attempts INTEGER NOT NULL, next_at REAL NOT NULL,
    holder TEXT NOT NULL, claimed_until REAL NOT NULL
)""",
)
MAX_ATTEMPTS = 1_000_000
_MESSAGES = MarkedTable("messages", {"world_id": str, "sequence": int, "message_id": str, "body": str})
_STREAMS = MarkedTable("streams", {"world_id": str, "stream": str, "sequence": int})
_DUE = """SELECT t.world_id, (SELECT min(sequence) FROM messages m WHERE m.world_id = t.world_id) AS first,
    coalesce(s.attempts, 0)
FROM streams t LEFT JOIN sending s ON s.world_id = t.world_id
WHERE first IS NOT NULL AND (s.world_id IS NULL OR (
    NOT (s.next_at > :now AND s.next_at <= :latest_pause)
    AND NOT (s.holder NOT IN ('', :holder) AND s.claimed_until > :now AND s.claimed_until <= :latest_claim)
))
ORDER BY coalesce(s.next_at, 0), t.world_id LIMIT 1"""
"""A time that lies further ahead than any we write was written before the clock was set back."""


def append_message(db: sqlite3.Connection, event: SessionEvent) -> list[WebhookEvent]:
    """Leave the message of an event, inside the transaction that changes its session.

    What is to be told of messages that are dropped for it is returned.
    """
    found = _sound(_STREAMS, db, event.world_id, None)
    # Where a damaged stream was deleted a new one goes on behind what still waits.
    waiting = "SELECT coalesce(max(sequence), 0) FROM messages WHERE world_id = ?"
    (last_waiting,) = db.execute(waiting, (event.world_id,)).fetchone()
    stream, last = (found[1], found[2]) if found else (secrets.token_hex(8), last_waiting)
    message = webhook_message(event, stream, last + 1)
    _STREAMS.put(db, [(event.world_id, stream, message.sequence)])
    _MESSAGES.put(db, [(message.world_id, message.sequence, message.message_id, message.body)])
    return _drop_oldest(db, event.world_id)


def _drop_oldest(db: sqlite3.Connection, world_id: str) -> list[WebhookEvent]:
    """Drop the oldest messages of a world of which too many wait."""
    beyond = (
        "SELECT sequence, message_id FROM messages WHERE world_id = ? "
        "ORDER BY sequence DESC LIMIT -1 OFFSET ?"
    )
    oldest = db.execute(beyond, (world_id, MOST_WAITING)).fetchall()
    gone = [(world_id, sequence) for sequence, _ in oldest]
    db.executemany("DELETE FROM messages WHERE world_id = ? AND sequence = ?", gone)
    return [dropped_event(world_id, str(message_id)) for _, message_id in reversed(oldest)]


class MachineOutbox:
    """An `Outbox` in a file of `SCHEMA`.

    A message that was changed behind our back holds up its world until it is restored or deleted, and is
    reported each time that it is looked at.
    """

    def __init__(self, file: MachineFile) -> None:
        self._file = file

    async def claim(self, holder: str, now: float) -> WebhookMessage | None:
        """The oldest message of a world that is due and that no other sender holds, for `CLAIM_S`."""
        return await self._file.run(lambda db: _claim(db, holder, now))

    async def delivered(self, message: WebhookMessage, holder: str) -> int:
        """Forget a message that was taken, and let go of its world; may be said more than once."""

        def work(db: Database) -> int:
            where = "WHERE world_id = ? AND sequence = ?"
            db.execute(f"DELETE FROM messages {where}", (message.world_id, message.sequence))  # noqa: S608
            db.execute("DELETE FROM sending WHERE world_id = ? AND holder = ?", (message.world_id, holder))
            return _count(db)

        return await self._file.run(work)

    async def failed(self, message: WebhookMessage, holder: str, retry_at: float) -> int:
        """Keep a message that was not taken, and its world's later ones, until `retry_at`; how many wait."""

        def work(db: Database) -> int:
            set_back = (
                "UPDATE sending SET attempts = ?, next_at = ?, holder = '', claimed_until = 0 "
                "WHERE world_id = ? AND holder = ?"
            )
            db.execute(set_back, (message.attempts + 1, retry_at, message.world_id, holder))
            return _count(db)

        return await self._file.run(work)

    async def count_pending(self) -> int:
        """How many messages wait."""
        return await self._file.run(_count)


def count_sound(db: sqlite3.Connection) -> int:
    """How many messages wait. Raises `SessionStoreError` where one of them, or its stream, is damaged."""
    worlds = db.execute("SELECT world_id FROM messages UNION SELECT world_id FROM streams ORDER BY 1")
    waiting = 0
    for (world_id,) in worlds.fetchall():
        _sound(_STREAMS, db, world_id, None)
        sequences = db.execute("SELECT sequence FROM messages WHERE world_id = ?", (world_id,)).fetchall()
        for (sequence,) in sequences:
            _sound(_MESSAGES, db, world_id, sequence)
        waiting += len(sequences)
    return waiting


def _count(db: sqlite3.Connection) -> int:
    (waiting,) = db.execute("SELECT count(*) FROM messages").fetchone()
    return int(waiting)


def _claim(db: Database, holder: str, now: float) -> WebhookMessage | None:
    latest = {"latest_pause": now + LONGEST_RETRY_AFTER_S, "latest_claim": now + CLAIM_S}
    while due := db.execute(_DUE, {"now": now, "holder": holder, **latest}).fetchone():
        world_id, sequence, attempted = due
        # How often it failed decides nothing but the pause.
        attempts = attempted if type(attempted) is int and 0 <= attempted < MAX_ATTEMPTS else 0
        try:
            row = _sound(_MESSAGES, db, world_id, sequence)
        except SessionStoreError as damage:
            db.damage.append(str(damage))
            _note_sending(db, world_id, attempts, next_at=now + LONGEST_PAUSE_S)
            continue
        assert row is not None
        _note_sending(db, world_id, attempts, holder=holder, claimed_until=now + CLAIM_S)
        _, _, message_id, body = row
        return WebhookMessage(world_id, sequence, message_id, body, attempts)
    return None


def _note_sending(
    db: Database,
    world_id: str,
    attempts: int,
    *,
    next_at: float = 0.0,
    holder: str = "",
    claimed_until: float = 0.0,
) -> None:
    values = (world_id, attempts, next_at, holder, claimed_until)
    db.execute("INSERT OR REPLACE INTO sending VALUES (?, ?, ?, ?, ?)", values)


def _sound(table: MarkedTable, db: sqlite3.Connection, world_id: str, sequence: int | None) -> Row | None:
    """The row as it was written, None where there is none."""
    where = "WHERE world_id = ?" if sequence is None else "WHERE world_id = ? AND sequence = ?"
    sound, damaged = table.rows(db, where, (world_id,) if sequence is None else (world_id, sequence))
    if damaged:
        raise SessionStoreError(
            f"what waits for the webhook of world {world_id!r} was changed behind our back; restore the file "
            f"sessions.sqlite of seamless.state_dir, or delete that world's rows of its table {table.name}",
            world_id=world_id,
        )
    return sound[0] if sound else None
