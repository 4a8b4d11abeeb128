"""What a world has seen is never forgotten: a damaged file of sessions is refused, not begun anew."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from seamless_assets.adapters.machine.sessions import MachineSessions
from seamless_assets.core.worlds.session import SessionKey, SessionRecord, advance, pin
from seamless_assets.errors import SessionStoreError

KEY = SessionKey("w1", "live", "ohlcv:binance:BTC/USDT:1m")
SEEN = SessionRecord(as_of="2025-01-01T00:00:00.000000Z", dataset_fingerprint="sha256:" + "a" * 64)


async def stored(path: Path) -> None:
    sessions = MachineSessions(path)
    await sessions.update(KEY, lambda record: advance(record, SEEN.as_of, SEEN.dataset_fingerprint))
    await sessions.close()


async def test_no_flipped_bit_of_a_record_makes_a_world_forget_what_it_has_seen(tmp_path: Path) -> None:
    path = tmp_path / "sessions.sqlite"
    await stored(path)
    whole = path.read_bytes()
    at = whole.index(b'{"as_of"')
    refused = 0
    for place in range(at, at + 120, 5):
        damaged = bytearray(whole)
        damaged[place] ^= 1
        path.write_bytes(damaged)
        sessions = MachineSessions(path)
        with pytest.raises(SessionStoreError, match=r"sessions\.sqlite"):
            await sessions.load(KEY)
        await sessions.close()
        refused += 1
    assert refused == 24


@pytest.mark.parametrize("at", [0, 20, 4_100])
async def test_a_damaged_file_is_refused_and_left_as_it_is(tmp_path: Path, at: int) -> None:
    path = tmp_path / "sessions.sqlite"
    await stored(path)
    damaged = bytearray(path.read_bytes())
    damaged[at : at + 60] = b"\xff" * 60
    path.write_bytes(damaged)
    sessions = MachineSessions(path)
    with pytest.raises(SessionStoreError, match="session"):
        await sessions.update(KEY, lambda record: record)
    await sessions.close()
    assert path.read_bytes()[at : at + 60] == b"\xff" * 60


async def test_two_processes_change_one_record_one_after_the_other(tmp_path: Path) -> None:
    one, other = MachineSessions(tmp_path / "s.sqlite"), MachineSessions(tmp_path / "s.sqlite")
    for number in range(10):
        for sessions in (one, other):
            await sessions.update(
                KEY, lambda record, number=number: advance(record, f"2025-01-{number + 1:02}", None)
            )
    assert (await one.load(KEY)).as_of == (await other.load(KEY)).as_of == "2025-01-10"
    assert await other.list_keys() == [KEY]
    for sessions in (one, other):
        await sessions.close()


@pytest.mark.parametrize("table", ["sessions", "messages", "streams"])
async def test_a_look_finds_what_was_changed_wherever_it_is(tmp_path: Path, table: str) -> None:
    path = tmp_path / "sessions.sqlite"
    sessions = MachineSessions(path, on_message=lambda: None)
    for world in ("w1", "w2"):
        key = SessionKey(world, "live", KEY.node_id)
        await sessions.update(key, lambda record: pin(record, "2025-01-01T00:00:00Z", None, "a test", 5.0))
    assert (await sessions.status()).lag == "2 sessions, 2 messages wait for the webhook"
    with closing(sqlite3.connect(path)) as db, db:
        db.execute(f"UPDATE {table} SET mark = mark + 1 WHERE world_id = 'w2'")
    with pytest.raises(SessionStoreError, match="changed behind our back; restore the file"):
        await sessions.status()
    await sessions.close()
