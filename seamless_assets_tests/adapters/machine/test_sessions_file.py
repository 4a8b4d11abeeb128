"""What a world has seen is never forgotten: a damaged file of sessions is refused, not begun anew."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seamless_assets.adapters.machine import sessions as module
from seamless_assets.adapters.machine.file import MachineFile
from seamless_assets.adapters.machine.sessions import MachineSessions
from seamless_assets.adapters.sqlite.version import FileVersion
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
    assert await other.count() == 1
    await one.update(SessionKey("another", "live", KEY.node_id), lambda record: advance(record, "2025", None))
    assert await other.count() == len(await other.list_keys()) == 2
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


class Counted(MachineFile):
    """A file that counts its transactions."""

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self.asked = 0

    async def run(self, work: Any) -> Any:
        self.asked += 1
        return await super().run(work)


async def test_what_nobody_changes_is_read_once_and_not_written_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MachineFile", Counted)
    path = tmp_path / "s.sqlite"
    await stored(path)
    sessions = MachineSessions(path)
    file: Any = sessions._file
    for _ in range(5):
        assert (await sessions.load(KEY)).as_of == SEEN.as_of
    # The file was opened by the first look, and what it told counts from the second on.
    read = file.asked
    assert read <= 2
    for _ in range(5):
        before, after = await sessions.update(KEY, lambda record: record)
        assert before == after == await sessions.load(KEY)
    assert file.asked == read
    await sessions.update(KEY, lambda record: advance(record, "2026", None))
    assert file.asked == read + 1
    assert (await sessions.load(KEY)).as_of == "2026"
    await sessions.close()
    with pytest.raises(SessionStoreError, match="closed"):
        await sessions.load(KEY)


@pytest.mark.parametrize("how", ["load", "update"])
@given(steps=st.lists(st.tuples(st.sampled_from("ab"), st.booleans()), max_size=12))
@settings(max_examples=15, deadline=None)
def test_each_sees_at_once_what_any_other_wrote(
    tmp_path_factory: pytest.TempPathFactory, how: str, steps: list[tuple[str, bool]]
) -> None:
    async def scenario() -> None:
        path = tmp_path_factory.mktemp("sessions") / "s.sqlite"
        stores = {name: MachineSessions(path) for name in "ab"}
        newest = SessionRecord()
        for number, (name, is_change) in enumerate(steps):
            if is_change:
                _, newest = await stores[name].update(KEY, lambda r, at=f"{number:04}": advance(r, at, None))
            for store in stores.values():
                seen = await store.load(KEY) if how == "load" else (await store.update(KEY, lambda r: r))[1]
                assert seen == newest
        for store in stores.values():
            await store.close()

    asyncio.run(scenario())


async def test_damage_is_found_by_who_has_read_the_record_before(tmp_path: Path) -> None:
    path = tmp_path / "s.sqlite"
    await stored(path)
    sessions = MachineSessions(path)
    for _ in range(3):
        await sessions.load(KEY)
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("UPDATE sessions SET record = replace(record, '2025', '2024')")
    for ask in (sessions.load(KEY), sessions.update(KEY, lambda record: record)):
        with pytest.raises(SessionStoreError, match="behind our back"):
            await ask
    await sessions.close()


async def test_a_file_that_cannot_be_looked_at_is_asked_each_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MachineFile", Counted)
    monkeypatch.setattr(FileVersion, "_open", lambda self: sqlite3.connect(tmp_path / "no" / "such"))
    sessions = MachineSessions(tmp_path / "s.sqlite")
    for number in range(3):
        await sessions.update(KEY, lambda record, at=f"{number}": advance(record, at, None))
        assert (await sessions.load(KEY)).as_of == f"{number}"
    file: Any = sessions._file
    assert file.asked == 6
    await sessions.close()


async def test_an_update_that_changes_nothing_known_goes_behind_those_under_way(tmp_path: Path) -> None:
    path = tmp_path / "s.sqlite"
    await stored(path)
    sessions = MachineSessions(path)
    # What is known already is what the last update asks for, while another one is on its way to the file.
    known = [await sessions.load(KEY), await sessions.load(KEY)][-1]
    other = SessionRecord(as_of="2025-02-01T00:00:00.000000Z")
    (_, first), (before, last) = await asyncio.gather(
        sessions.update(KEY, lambda _: other), sessions.update(KEY, lambda _: known)
    )
    assert (first, before, last) == (other, other, known)
    assert await sessions.load(KEY) == known
    await sessions.close()
