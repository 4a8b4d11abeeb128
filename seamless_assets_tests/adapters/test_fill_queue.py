"""What every queue of wanted fills promises: the same, whoever keeps it, and each fill is taken once."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import closing
from pathlib import Path
from random import Random
from typing import Any
from uuid import uuid4

import pytest
from redis.asyncio import Redis
from support.services import RedisServer

from seamless_assets.adapters.machine.clock import SystemClock
from seamless_assets.adapters.machine.fill_queue import MachineFillQueue
from seamless_assets.adapters.redis.fill_queue import PREFIX, RedisFillQueue
from seamless_assets.core.calendar.segment import Segment
from seamless_assets.core.node import NodeId
from seamless_assets.core.sharing import fills
from seamless_assets.core.sharing.events import DamagedState, Event
from seamless_assets.core.sharing.fills import LONGEST_HOLD_S, WantedFill, retry_delay_s
from seamless_assets.errors import FillQueueUnavailable
from seamless_assets.testing import InMemoryFillQueue

NODES = [
    NodeId.parse(f"ohlcv:{name}:1m") for name in ("binance:BTC/USDT", "okx:BTC/USDT:USDT", "okx:1000X/USD")
]
ALL = {"binance", "okx"}
AGES = 600.0
"""Longer than any of these tests takes."""
OpenQueue = Callable[[], Any]


@pytest.fixture(params=["memory", "machine", "redis"])
async def open_queue(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[OpenQueue]:
    """Opens the queue anew, as another process would; closed with the test."""
    opened: list[Any] = []
    in_memory, place = InMemoryFillQueue(SystemClock()), uuid4().hex
    kinds: dict[str, OpenQueue] = {
        "memory": lambda: in_memory,
        "machine": lambda: MachineFillQueue(tmp_path / "fills.sqlite"),
        "redis": lambda: RedisFillQueue(request.getfixturevalue("redis_server").url, place),
    }

    def build() -> Any:
        opened.append(kinds[request.param]())
        return opened[-1]

    yield build
    for queue in opened:
        await queue.close()


def known(taken: WantedFill | None) -> tuple[NodeId, Segment, int] | None:
    return None if taken is None else (taken.node, taken.segment, taken.attempts)


async def test_a_fill_is_of_who_holds_it_and_then_anybodys(open_queue: OpenQueue) -> None:
    queue, other = open_queue(), open_queue()
    whole = Segment(60, 600)
    await queue.add(NODES[0], whole, AGES)
    assert await other.take(ALL, AGES) is None
    assert await other.count() == 1
    assert 0 < await other.next_due_in(ALL) <= AGES and await other.next_due_in({"okx"}) is None
    await queue.hold(NODES[0], whole, 0.0)
    assert await other.next_due_in(ALL) == 0 and await other.take({"okx"}, AGES) is None
    assert known(await other.take(ALL, AGES)) == (NODES[0], whole, 2)
    assert await queue.take(ALL, AGES) is None
    await other.hold(NODES[0], whole, 0.0)
    assert known(await queue.take(ALL, 0.0)) == (NODES[0], whole, 3)
    await queue.hold(NODES[0], whole, AGES)
    assert await queue.take(ALL, AGES) is None
    await queue.remove(NODES[0], whole)
    assert await queue.next_due_in(ALL) is None and await queue.count() == 0
    # Who says that it lives says nothing of what is off the record.
    await queue.hold(NODES[0], whole, AGES)
    assert await queue.next_due_in(ALL) is None


async def test_what_lies_in_another_is_wanted_once_and_filled_with_it(open_queue: OpenQueue) -> None:
    queue = open_queue()
    for segment in (Segment(0, 60), Segment(300, 360), Segment(0, 240), Segment(60, 120), Segment(0, 240)):
        await queue.add(NODES[1], segment, 0.0)
    await queue.add(NODES[2], Segment(60, 120), 0.0)
    taken = [known(await queue.take(ALL, AGES)) for _ in range(4)]
    expected = {(NODES[1], 0, 60), (NODES[1], 300, 360), (NODES[1], 0, 240), (NODES[2], 60, 120)}
    assert {(node, *segment) for node, segment, _ in filter(None, taken)} == expected
    assert await queue.take(ALL, AGES) is None
    await queue.remove(NODES[1], Segment(0, 300))
    for node, segment in ((NODES[1], Segment(300, 360)), (NODES[2], Segment(60, 120))):
        await queue.hold(node, segment, 0.0)
        assert known(await queue.take(ALL, AGES)) == (node, segment, 3)
    await queue.remove(NODES[2], Segment(0, 600))
    await queue.remove(NODES[1], Segment(0, 600))
    assert await queue.next_due_in(ALL) is None


async def test_many_who_take_get_each_once_the_oldest_first(open_queue: OpenQueue) -> None:
    queues = [open_queue() for _ in range(4)]
    wanted = [(NODES[n % 3], Segment(60 * n, 60 * n + 60)) for n in range(20)]
    for node, segment in wanted:
        await queues[0].add(node, segment, 0.0)
    taken = await asyncio.gather(*(queue.take(ALL, AGES) for queue in queues for _ in range(6)))
    assert taken.count(None) == 4
    found = sorted(known(one)[1].start for one in taken if one is not None)  # type: ignore[index]
    assert found == [segment.start for _, segment in wanted]
    for node, segment in wanted[:2]:
        await queues[1].hold(node, segment, 0.0)
    assert known(await queues[2].take(ALL, AGES))[1] == wanted[0][1]  # type: ignore[index]


@pytest.mark.parametrize("luck", range(4))
async def test_all_do_the_same_sums(open_queue: OpenQueue, luck: int) -> None:
    """Holds are of no time or of ages, so no clock decides."""
    rng, queue, model = Random(luck), open_queue(), InMemoryFillQueue(SystemClock())
    for _ in range(120):
        op = rng.choice(["add", "add", "hold", "remove", "take"])
        start, hold_s = 60 * rng.randrange(6), rng.choice([0.0, AGES])
        node, segment = rng.choice(NODES), Segment(start, start + 60 * rng.randrange(1, 4))
        if op == "take":
            exchanges = rng.choice([{"okx"}, {"binance"}, ALL])
            assert known(await queue.take(exchanges, hold_s)) == known(await model.take(exchanges, hold_s))
        elif op == "remove":
            await queue.remove(node, segment)
            await model.remove(node, segment)
        else:
            await getattr(queue, op)(node, segment, hold_s)
            await getattr(model, op)(node, segment, hold_s)
        due_in, expected = await queue.next_due_in(ALL), await model.next_due_in(ALL)
        assert (due_in is None) is (expected is None) and (not due_in) is (not expected)


async def test_a_full_queue_says_so_and_keeps_what_it_has(
    open_queue: OpenQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fills, "MAX_WANTED", 3)
    monkeypatch.setattr("seamless_assets.adapters.redis.fill_queue.MAX_WANTED", 3)
    queue = open_queue()
    for number in range(3):
        await queue.add(NODES[0], Segment(100 * number, 100 * number + 60), 0.0)
    with pytest.raises(FillQueueUnavailable, match="drain_fills"):
        await queue.add(NODES[0], Segment(900, 960), 0.0)
    await queue.add(NODES[0], Segment(100, 160), AGES)
    assert [await queue.take(ALL, AGES) is not None for _ in range(3)] == [True, True, False]


def test_what_was_held_before_a_clock_was_set_back_is_anybodys() -> None:
    wanted = WantedFill(NODES[0], 0, 60, 1e9, 1e9 + 60)
    assert not wanted.is_due(1e9) and wanted.is_due(1e9 + 60)
    assert wanted.is_due(1e9 - 2 * LONGEST_HOLD_S) and wanted.is_due(float("nan"))


def test_delays_grow_and_are_bounded() -> None:
    delays = [retry_delay_s(attempts) for attempts in range(1, 40)]
    assert delays[:3] == [30, 60, 120] and delays == sorted(delays) and delays[-1] == 3_600


async def test_a_damaged_row_or_file_is_as_if_it_were_not_there(tmp_path: Path) -> None:
    path, heard = tmp_path / "fills.sqlite", list[Event]()
    queue = MachineFillQueue(path, heard.append)
    for number in range(3):
        await queue.add(NODES[0], Segment(60 * number, 60 * number + 60), 0.0)
    with closing(sqlite3.connect(path)) as db:
        db.execute('UPDATE wanted_fills SET "end" = 9000000 WHERE start = 60')
        db.commit()
    taken = [known(await queue.take(ALL, AGES)) for _ in range(3)]
    assert [one and one[1].start for one in taken] == [0, 120, None]
    assert [type(event) for event in heard] == [DamagedState]
    await queue.close()
    path.write_bytes(b"nothing of ours" * 1000)
    again = MachineFillQueue(path, heard.append)
    await again.add(NODES[1], Segment(0, 60), 0.0)
    assert known(await again.take(ALL, AGES)) == (NODES[1], Segment(0, 60), 2) and len(heard) == 2
    await again.close()


async def test_what_others_wrote_into_redis_is_nobodys(redis_server: RedisServer) -> None:
    place = uuid4().hex
    client = Redis.from_url(redis_server.url)
    odd = {"0 60 nonsense": "1 1 1", "x": "1 1 1", "0 60 ohlcv:binance:A/B:1m": "1 x 1", "5 nan a": "1 1 1"}
    odd |= {"0 60 ohlcv:binance:odd:1m:x:y": "1 1 1", "0 60 ohlcv:okx:E/F:1m": "nan 1 1"}
    await client.hset(PREFIX + place, mapping=odd)  # type: ignore[misc]
    queue = RedisFillQueue(redis_server.url, place)
    await queue.add(NODES[0], Segment(0, 60), 0.0)
    assert known(await queue.take(ALL, AGES)) == (NODES[0], Segment(0, 60), 2)
    assert await queue.take(ALL, AGES) is None
    await client.aclose()
    await queue.close()


async def test_a_queue_that_cannot_be_used_says_so(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    for queue in (
        MachineFillQueue(blocked / "f.sqlite"),
        RedisFillQueue("redis://u:hidden@127.0.0.1:1/0", "x"),
    ):
        with pytest.raises(FillQueueUnavailable) as raised:
            await queue.add(NODES[0], Segment(0, 60), AGES)
        assert "hidden" not in str(raised.value)
        await queue.close()
