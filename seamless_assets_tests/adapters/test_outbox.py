"""The outbox, in a file and in memory: messages in order, one sender a world, nothing lost or parted."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from seamless_assets.adapters.machine import outbox as outboxes
from seamless_assets.adapters.machine.sessions import MachineSessions
from seamless_assets.core.reading.verdict import Judgement
from seamless_assets.core.sharing.events import DamagedState, Event
from seamless_assets.core.worlds.session import SessionKey, observe
from seamless_assets.core.worlds.webhook import CLAIM_S, LONGEST_PAUSE_S, LONGEST_RETRY_AFTER_S
from seamless_assets.errors import SessionStoreError
from seamless_assets.testing import InMemoryOutbox, InMemorySessionStore, worlds

NODE = "ohlcv:binance:BTC/USDT:1m"
NOW = 1_735_700_000.0
Store = MachineSessions | InMemorySessionStore


@pytest.fixture(params=["file", "memory"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    made: Store
    if request.param == "file":
        made = MachineSessions(tmp_path / "sessions.sqlite", on_message=lambda: None)
    else:
        made = InMemorySessionStore(outbox=InMemoryOutbox())
    yield made
    await made.close()


async def change(store: Store, world: str, verdict: str, at: float) -> None:
    key = SessionKey(world, "live", NODE)
    judged = Judgement(verdict, ("because: x",))  # type: ignore[arg-type]
    await store.update(key, lambda record: observe(record, judged, at, None, None))


async def test_messages_of_a_world_come_in_order_one_at_a_time_and_go_once_taken(store: Store) -> None:
    outbox = store.outbox
    assert outbox is not None
    assert await outbox.claim("a", NOW) is None
    for at, verdict in enumerate(("HOLD", "HOLD", "PASS", "PARTIAL")):
        await change(store, "w1", verdict, float(at))
    await change(store, "w2", "HOLD", 9.0)
    # The second HOLD changes nothing that others should hear of.
    assert await outbox.count_pending() == 4
    first = await outbox.claim("a", NOW)
    other = await outbox.claim("b", NOW)
    assert first is not None and other is not None
    assert (first.world_id, first.sequence, other.world_id, other.sequence) == ("w1", 1, "w2", 1)
    # Both worlds are held; who holds one goes on with it.
    assert await outbox.claim("c", NOW) is None
    assert await outbox.claim("a", NOW + 1) == first
    await outbox.delivered(first, "a")
    await outbox.delivered(first, "a")
    second = await outbox.claim("c", NOW)
    assert second is not None and (second.sequence, json.loads(second.body)["data"]["after"]) == (2, "ACTIVE")
    assert second.message_id != first.message_id and first.message_id in first.body
    assert await outbox.count_pending() == 3


async def test_a_failed_message_waits_with_those_behind_it_and_counts_its_attempts(store: Store) -> None:
    outbox = store.outbox
    assert outbox is not None
    for at, verdict in enumerate(("HOLD", "PASS")):
        await change(store, "w1", verdict, float(at))
    for attempts in range(3):
        message = await outbox.claim("a", NOW + 100 * attempts)
        assert message is not None and (message.sequence, message.attempts) == (1, attempts)
        await outbox.failed(message, "a", NOW + 100 * attempts + 50)
        assert await outbox.claim("b", NOW + 100 * attempts + 49) is None
    # A clock that is set back leaves nothing waiting longer than anybody may ask for.
    assert await outbox.claim("b", NOW - 10 * LONGEST_RETRY_AFTER_S) is not None


async def test_a_sender_that_vanished_loses_its_claim_and_what_it_says_later_harms_nobody(
    store: Store,
) -> None:
    outbox = store.outbox
    assert outbox is not None
    for at, verdict in enumerate(("HOLD", "PASS")):
        await change(store, "w1", verdict, float(at))
    lost = await outbox.claim("a", NOW)
    assert lost is not None and await outbox.claim("b", NOW + CLAIM_S - 1) is None
    again = await outbox.claim("b", NOW + CLAIM_S)
    assert again == lost
    # The first one wakes: its failure is not the other's, its success is everybody's.
    await outbox.failed(lost, "a", NOW + 3_000)
    assert await outbox.claim("b", NOW + CLAIM_S) == lost
    await outbox.delivered(lost, "a")
    assert await outbox.claim("c", NOW + CLAIM_S) is None
    await outbox.delivered(again, "b")
    following = await outbox.claim("c", NOW + CLAIM_S)
    assert following is not None and following.sequence == 2


async def test_a_change_that_is_refused_leaves_no_message(store: Store) -> None:
    def refuse(record: object) -> object:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        await store.update(SessionKey("w1", "live", NODE), refuse)  # type: ignore[arg-type]
    assert store.outbox is not None and await store.outbox.count_pending() == 0


async def test_many_processes_claim_each_world_once(tmp_path: Path) -> None:
    stores = [MachineSessions(tmp_path / "s.sqlite", on_message=lambda: None) for _ in range(4)]
    for number in range(10):
        await change(stores[number % 4], f"w{number}", "HOLD", 1.0)
    found = await asyncio.gather(
        *(store.outbox.claim(f"{lane}/{at}", NOW) for at, store in enumerate(stores) for lane in range(5))
    )
    taken = [message.world_id for message in found if message]
    assert sorted(taken) == sorted(set(taken)) == sorted(f"w{number}" for number in range(10))
    for store in stores:
        await store.close()


async def test_without_a_webhook_nothing_is_left_and_a_file_of_before_is_read_on(tmp_path: Path) -> None:
    path = tmp_path / "s.sqlite"
    plain = MachineSessions(path)
    await change(plain, "w1", "HOLD", 1.0)
    assert await plain.outbox.count_pending() == 0
    await plain.close()
    with sqlite3.connect(path) as db:
        for table in ("messages", "streams", "sending"):
            db.execute(f"DROP TABLE {table}")
        db.execute("PRAGMA user_version = 1")
        db.execute("PRAGMA application_id = 0")
    db.close()
    notifying = MachineSessions(path, on_message=lambda: None)
    assert (await notifying.load(SessionKey("w1", "live", NODE))).state == "HOLD"
    await change(notifying, "w1", "PASS", 2.0)
    assert await notifying.outbox.count_pending() == 1
    await notifying.close()


@pytest.mark.parametrize("spoil", ["UPDATE messages SET body = '{}'", "UPDATE streams SET sequence = 7"])
async def test_a_message_that_was_changed_behind_our_back_is_not_sent(tmp_path: Path, spoil: str) -> None:
    path = tmp_path / "s.sqlite"
    told: list[Event] = []
    store = MachineSessions(path, lambda: None, told.append)
    await change(store, "w1", "HOLD", 1.0)
    with sqlite3.connect(path) as db:
        db.execute(spoil)
    db.close()
    if "messages" in spoil:
        assert await store.outbox.claim("a", NOW) is None
        (damage,) = told
        assert isinstance(damage, DamagedState) and "behind our back" in damage.what
    else:
        with pytest.raises(SessionStoreError, match="behind our back"):
            await change(store, "w1", "PASS", 2.0)
    with pytest.raises(SessionStoreError, match="behind our back"):
        await store.status()
    await store.close()


@pytest.mark.parametrize("bad", range(4))
async def test_a_message_that_was_changed_holds_up_its_world_alone_until_it_is_mended(
    tmp_path: Path, bad: int
) -> None:
    path, told = tmp_path / "s.sqlite", list[Event]()
    store = MachineSessions(path, lambda: None, told.append)
    for number in range(4):
        await change(store, f"w{number}", "HOLD", 1.0)
        await change(store, f"w{number}", "PASS", 2.0)

    async def sent(now: float) -> list[tuple[str, int]]:
        found = []
        while (message := await store.outbox.claim("a", now)) is not None:
            found.append((message.world_id, message.sequence))
            await store.outbox.delivered(message, "a")
        return found

    with closing(sqlite3.connect(path)) as db, db:
        mend = db.execute("SELECT mark FROM messages WHERE world_id = ? AND sequence = 1", (f"w{bad}",))
        (mark,) = mend.fetchone()
        db.execute("UPDATE messages SET mark = 7 WHERE world_id = ? AND sequence = 1", (f"w{bad}",))
    others = [(f"w{number}", at) for number in range(4) if number != bad for at in (1, 2)]
    assert sorted(await sent(NOW)) == others
    # It is looked at again after a pause, and not before.
    assert await sent(NOW + LONGEST_PAUSE_S - 1) == [] and len(told) == 1
    assert await sent(NOW + LONGEST_PAUSE_S) == [] and len(told) == 2
    assert await store.outbox.count_pending() == 2
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("UPDATE messages SET mark = ? WHERE world_id = ? AND sequence = 1", (mark, f"w{bad}"))
    assert await sent(NOW + 3 * LONGEST_PAUSE_S) == [(f"w{bad}", 1), (f"w{bad}", 2)]
    await store.close()


async def test_of_too_many_messages_of_a_world_the_oldest_are_dropped_and_told_of(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (outboxes, worlds):
        monkeypatch.setattr(module, "MOST_WAITING", 3)
    told: list[Any] = []
    monkeypatch.setattr(store, "_notify", told.append, raising=False)
    for at in range(5):
        await change(store, "w1", ("HOLD", "PASS")[at % 2], float(at))
        await change(store, "w2", ("HOLD", "PASS")[at % 2], float(at)) if at < 3 else None
    found = []
    assert store.outbox is not None
    while (message := await store.outbox.claim("a", NOW)) is not None:
        found.append((message.world_id, message.sequence))
        assert await store.outbox.delivered(message, "a") == 6 - len(found)
    assert sorted(found) == [("w1", 3), ("w1", 4), ("w1", 5), ("w2", 1), ("w2", 2), ("w2", 3)]
    if isinstance(store, MachineSessions):
        dropped = [(event.world_id, event.message_id[-2:], event.is_dropped) for event in told]
        assert dropped == [("w1", "_1", True), ("w1", "_2", True)]


@pytest.mark.parametrize("attempts", ["'x'", "-3", "1e300", "9223372036854775807"])
@pytest.mark.parametrize("until", ["0", "'x'", "1e300"])
async def test_a_count_or_a_time_that_was_changed_holds_no_message_up(
    tmp_path: Path, attempts: str, until: str
) -> None:
    path = tmp_path / "s.sqlite"
    store = MachineSessions(path, on_message=lambda: None)
    await change(store, "w1", "HOLD", 1.0)
    with sqlite3.connect(path) as db:
        db.execute(f"INSERT INTO sending VALUES ('w1', {attempts}, {until}, 'gone', {until})")
    db.close()
    claimed = await store.outbox.claim("a", NOW)
    assert claimed is not None and claimed.attempts == 0
    await store.outbox.failed(claimed, "a", NOW + 1)
    again = await store.outbox.claim("b", NOW + 2)
    assert again is not None and again.attempts == 1
    await store.close()


async def test_reasons_that_no_file_takes_are_written_out(store: Store) -> None:
    key = SessionKey("w1", "live", NODE)
    judged = Judgement("HOLD", ('fill_failed: the answer is "\ud800"',))
    await store.update(key, lambda record: observe(record, judged, 1.0, None, None))
    assert (await store.load(key)).verdicts[-1].reasons == ('fill_failed: the answer is "\\ud800"',)
    assert store.outbox is not None
    message = await store.outbox.claim("a", NOW)
    assert message is not None and json.loads(message.body)["data"]["reasons"][0].endswith('\\ud800"')


async def test_a_stream_that_was_deleted_loses_no_message_that_waits(tmp_path: Path) -> None:
    store = MachineSessions(tmp_path / "sessions.sqlite", on_message=lambda: None)
    await change(store, "w1", "HOLD", 1.0)
    await change(store, "w1", "PASS", 2.0)
    with sqlite3.connect(tmp_path / "sessions.sqlite") as db:
        db.execute("DELETE FROM streams")
    await change(store, "w1", "PARTIAL", 3.0)
    sequences = []
    while (message := await store.outbox.claim("a", NOW)) is not None:
        sequences.append(message.sequence)
        await store.outbox.delivered(message, "a")
    assert sequences == [1, 2, 3]
    await store.close()
