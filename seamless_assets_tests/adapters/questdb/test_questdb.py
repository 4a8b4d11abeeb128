"""What only a QuestDB server can get wrong: late rows, partitions, few exports, silence, earlier schemas."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
from adapters.conftest import address, table
from adapters.test_hot_store import seen
from adapters.test_hot_store_faults import NODE, TESTS, batch, opened
from support.services import QuestDbServer, free_port

from seamless_assets.adapters.questdb import wire as questdb_wire
from seamless_assets.adapters.questdb.address import QuestDbAddress
from seamless_assets.adapters.questdb.client import QuestDbClient
from seamless_assets.adapters.questdb.rows import facts_frame
from seamless_assets.adapters.questdb.schema import FACTS
from seamless_assets.adapters.questdb.store import QuestDbHotStore
from seamless_assets.core.bars.table import COLUMNS, Written
from seamless_assets.core.calendar.segment import Segment
from seamless_assets.core.coverage.ledger import Fact
from seamless_assets.core.node import NodeId
from seamless_assets.core.sharing.lease import Fence
from seamless_assets.errors import HotStoreError, StaleToken
from seamless_assets.testing import DAY, START, random_walk

HOUR = Segment(START, START + 3600)
BARS = random_walk(START, START + 600)
OTHER = {ts: tuple(value * 2 for value in row) for ts, row in BARS.items()}
FACT = Fact(START, START + 60, "missing", "not sent", 1.0)
OLD, NEW = Fence(HOUR, 1_736_000_000_000_000), Fence(HOUR, 1_736_000_000_000_001)


def before(call: Callable[..., Awaitable[Any]], first: Callable[[], Awaitable[Any]]) -> Callable[..., Any]:
    """`call`, with `first` done before its first run."""
    waiting = [first]

    async def late(*arguments: Any) -> Any:
        if waiting:
            await waiting.pop()()
        return await call(*arguments)

    return late


@pytest.mark.parametrize("newer", [BARS, OTHER], ids=["the values held", "other values"])
async def test_a_stale_holder_loses_to_whatever_the_newer_one_saw(
    questdb_server: QuestDbServer, node: NodeId, newer: dict[int, tuple[float, ...]]
) -> None:
    late = {ts: tuple(value * 7 for value in row) for ts, row in BARS.items()}
    async with opened(address(questdb_server)) as stale, opened(address(questdb_server)) as store:
        await store.write_bars(node, table(BARS), [], recorded_at=1.0)

        async def overtake() -> None:
            await store.write_bars(node, table(newer), [], recorded_at=2.0, fence=NEW)

        stale._client.ingest = before(stale._client.ingest, overtake)  # type: ignore[method-assign]
        with pytest.raises(StaleToken):
            await stale.write_bars(node, table(late), [], recorded_at=3.0, fence=OLD)
        for window in (HOUR, Segment(START, START + 30 * DAY)):
            assert await store.load_bars(node, window) == table(newer)
        revisions = (await store.load_revisions(node, HOUR)).to_pylist()
        assert {row["new_close"] for row in revisions} == {
            newer[ts][3] for ts in newer if newer[ts] != BARS[ts]
        }


async def test_looking_again_and_again_adds_no_row(questdb_server: QuestDbServer, node: NodeId) -> None:
    async with opened(address(questdb_server)) as store:
        for look in range(4):
            fence = Fence(HOUR, OLD.token + look)
            written = await store.write_bars(node, table(BARS), [], recorded_at=float(look), fence=fence)
            assert written == Written(0 if look else len(BARS), 0)
        ((rows,),) = await store._client.execute(
            f"SELECT count() FROM seamless_bars_fine WHERE node = '{node}'"
        )
        assert rows == len(BARS)


async def test_a_write_into_a_partition_on_its_way_out_is_not_lost(
    questdb_server: QuestDbServer, node: NodeId
) -> None:
    async with opened(address(questdb_server)) as evictor, opened(address(questdb_server)) as writer:
        start = START - 8_000 * DAY  # no other test writes near it
        hour, other = Segment(start, start + 3600), replace(node, exchange="okx")
        released, late = random_walk(start, start + 600), random_walk(start + 1200, start + 1800, seed=3)
        await evictor.write_bars(node, table(released), [], recorded_at=1.0)
        evictable = {node: [await seen(evictor, node, hour)]}
        writing: list[asyncio.Task[Written]] = []

        async def write_meanwhile() -> None:
            applied = asyncio.Event()
            wait = writer._client.await_applied

            async def tell(*tables: str) -> None:
                await wait(*tables)
                applied.set()

            writer._client.await_applied = tell  # type: ignore[method-assign]
            for one in (node, other):
                write = writer.write_bars(one, table(late), [], recorded_at=2.0)
                writing.append(asyncio.create_task(write))
                await applied.wait()
                applied.clear()

        client = evictor._client
        client.execute_once = before(client.execute_once, write_meanwhile)  # type: ignore[method-assign]
        assert await evictor.evict(evictable, 3.0) == len(released)
        assert await asyncio.gather(*writing) == [Written(len(late), 0)] * 2
        assert await writer.load_bars(node, hour) == await writer.load_bars(other, hour) == table(late)
        assert await evictor.evict(evictable, 4.0) == 0


async def test_a_bar_that_changes_just_before_its_partition_is_announced_keeps_all_of_it(
    questdb_server: QuestDbServer, node: NodeId
) -> None:
    async with opened(address(questdb_server)) as evictor, opened(address(questdb_server)) as writer:
        start = START - 10_000 * DAY  # no other test writes near it
        hour, bars = Segment(start, start + 3600), random_walk(start, start + 600)
        await evictor.write_bars(node, table(bars), [], recorded_at=1.0)
        evictable = {node: [await seen(evictor, node, hour)]}
        changed = {start + 60: (1.0, 2.0, 0.5, 1.5, 3.0)}
        execute = evictor._client.execute

        async def announce(sql: str) -> list[list[Any]]:
            if "INSERT INTO seamless_sweeps" in sql and "null" in sql:
                await writer.write_bars(node, table(changed), [], recorded_at=2.0)
            return await execute(sql)

        evictor._client.execute = announce  # type: ignore[method-assign]
        assert await evictor.evict(evictable, 3.0) == 0
        assert await writer.load_bars(node, hour) == table(bars | changed)
        assert await writer.load_evictions(node, hour) == []


async def test_an_abandoned_sweep_holds_writers_up_for_a_while_only(
    questdb_server: QuestDbServer, node: NodeId
) -> None:
    async with opened(address(questdb_server, timeout_s=1.0)) as store:
        start = START - 9_000 * DAY  # no other test writes near it
        hour, bars, more = (
            Segment(start, start + 3600),
            random_walk(start, start + 600),
            random_walk(start, start + 600, seed=5),
        )
        await store.write_bars(node, table(bars), [], recorded_at=1.0)
        evictable = {node: [await seen(store, node, hour)]}

        async def die() -> None:
            raise HotStoreError("killed here")

        asked, store._client.execute_once = (  # type: ignore[method-assign]
            store._client.execute_once,
            before(store._client.execute_once, die),
        )
        with pytest.raises(HotStoreError, match="killed here"):
            await store.evict(evictable, 2.0)
        store._client.execute_once = asked  # type: ignore[method-assign]
        assert await store.write_bars(node, table(more), [], recorded_at=3.0) == Written(0, len(bars))
        assert await store.load_bars(node, hour) == table(more)


async def test_a_statement_that_must_not_run_twice_is_asked_once() -> None:
    client = QuestDbClient(QuestDbAddress("127.0.0.1", free_port(), free_port()))
    async with asyncio.timeout(20):
        with pytest.raises(HotStoreError, match="may have run or not"):
            await client.execute_once("SELECT 1")
    await client.close()


async def test_many_long_reads_of_a_server_that_is_away_end_together() -> None:
    client = QuestDbClient(QuestDbAddress("127.0.0.1", free_port(), free_port(), retry_s=2.0))
    async with asyncio.timeout(15):
        outcomes = await asyncio.gather(
            *(client.export("SELECT 1") for _ in range(20)), return_exceptions=True
        )
    assert all(isinstance(error, HotStoreError) for error in outcomes)
    await client.close()


async def test_more_long_reads_than_the_server_exports_at_once_all_come(
    questdb_server: QuestDbServer, node: NodeId
) -> None:
    stores = [QuestDbHotStore(address(questdb_server)) for _ in range(4)]
    bars = table(random_walk(START, START + 5 * DAY))
    await stores[0].write_bars(node, bars, [], recorded_at=1.0)
    reads = (store.load_bars(node, Segment(START, START + 30 * DAY)) for store in stores for _ in range(4))
    assert all(read == bars for read in await asyncio.gather(*reads))
    for store in stores:
        await store.close()


async def test_a_question_that_outlives_its_store_leaves_no_connection_open(
    questdb_server: QuestDbServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that was given up goes on in its thread; its answer may come after the store was closed."""
    asked, is_closed, used = threading.Event(), threading.Event(), []
    plain = questdb_wire._plain

    def slow(connection: Any, sql: str, values: Sequence[Any]) -> list[Any]:
        used.append(connection)
        asked.set()
        assert is_closed.wait(30)
        return plain(connection, sql, values)

    monkeypatch.setattr(questdb_wire, "_plain", slow)
    wire = questdb_wire.PostgresWire(address(questdb_server), asyncio.to_thread)
    asking = asyncio.create_task(wire.rows("SELECT 1", []))
    await asyncio.to_thread(asked.wait)
    wire.close()
    is_closed.set()
    assert await asking == [(1,)]
    assert [connection.closed for connection in used] == [True]


async def test_a_server_that_falls_silent_is_not_waited_for_forever(own_questdb: QuestDbServer) -> None:
    hasty = address(own_questdb, timeout_s=2.0, retry_s=0.0)
    async with opened(address(own_questdb)) as patient, opened(hasty) as store:
        await patient.write_bars(NODE, table(batch(0)), [], recorded_at=1.0)
        await store.load_bars(NODE, HOUR)
        own_questdb.hang()
        calls: list[Callable[[], Awaitable[Any]]] = [
            lambda: store.load_bars(NODE, HOUR),
            lambda: store.load_facts(NODE, HOUR),
            lambda: store.load_bars(NODE, Segment(START, START + 30 * DAY)),
            lambda: store.write_bars(NODE, table(batch(1)), [], recorded_at=2.0),
            lambda: store._client.ingest(FACTS, facts_frame(NODE, [FACT], 1, 0)),
        ]
        async with asyncio.timeout(60):
            for call in calls:
                with pytest.raises(HotStoreError, match="does not answer"):
                    await call()
        own_questdb.go_on()
        assert await patient.load_bars(NODE, HOUR) == table(batch(0))


NODES = "ts TIMESTAMP, node SYMBOL CAPACITY 4096"
BARS_V1 = f"{NODES}, token LONG, recorded_at DOUBLE, " + ", ".join(f"{name} DOUBLE" for name in COLUMNS[1:])
FACTS_V1 = (
    f'{NODES}, token LONG, seq LONG, start LONG, "end" LONG, reason SYMBOL, evidence VARCHAR, '
    "recorded_at DOUBLE, attempts LONG, next_try DOUBLE"
)
FIRST_SCHEMA = (
    ("seamless_bars_fine", BARS_V1, "WEEK", "ts, node, token"),
    ("seamless_bars_medium", BARS_V1, "MONTH", "ts, node, token"),
    ("seamless_bars_coarse", BARS_V1, "YEAR", "ts, node, token"),
    ("seamless_facts", FACTS_V1, "MONTH", "ts, node, token, seq"),
    ("seamless_evictions", f'{NODES}, start LONG, "end" LONG', "YEAR", "ts, node, start"),
    ("seamless_versions", "ts TIMESTAMP, version LONG", "YEAR", "ts, version"),
)


async def test_what_the_first_schema_holds_is_carried_over(own_questdb: QuestDbServer) -> None:
    client = QuestDbClient(address(own_questdb))
    for name, columns, partition, keys in FIRST_SCHEMA:
        await client.execute(
            f"CREATE TABLE {name} ({columns}) TIMESTAMP(ts) PARTITION BY {partition} WAL "
            f"DEDUP UPSERT KEYS({keys})"
        )
    await client.execute("INSERT INTO seamless_versions VALUES (0, 1)")
    for token, close in ((1_000_000, 5.0), (2_000_000, 6.0)):
        await client.execute(
            f"INSERT INTO seamless_bars_fine VALUES ({START}000000, '{NODE}', {token}, {token / 1e6}, "
            f"5, 9, 1, {close}, 7)"
        )
        await client.execute(
            f"INSERT INTO seamless_facts VALUES ({token}, '{NODE}', {token}, 0, {START + 60}, {START + 120}, "
            f"'missing', 'look {token}', {token / 1e6}, 1, null)"
        )
    await client.await_applied("seamless_versions", "seamless_bars_fine", FACTS)
    await client.close()
    async with opened(address(own_questdb)) as first, opened(address(own_questdb)) as second:
        windows = [first.load_bars(NODE, HOUR), second.load_bars(NODE, Segment(START, START + 30 * DAY))]
        assert [read["close"].to_pylist() for read in await asyncio.gather(*windows)] == [[6.0], [6.0]]
        await first.write_bars(NODE, table({START: (5.0, 9.0, 1.0, 7.0, 7.0)}), [], recorded_at=3.0)
        assert (await second.load_bars(NODE, HOUR))["close"].to_pylist() == [7.0]
        revisions = (await first.load_revisions(NODE, HOUR)).to_pylist()
        assert [(row["old_close"], row["new_close"]) for row in revisions] == [(5.0, 6.0), (6.0, 7.0)]
        looks = (await first.load_facts(NODE, HOUR))["evidence"].to_pylist()
        assert looks == ["look 1000000", "look 2000000"]


READER = """
import asyncio, sys
sys.path[:0] = [sys.argv[1]]
from adapters.test_hot_store_faults import DAY, QuestDbAddress, QuestDbHotStore, START, Segment, batch
from seamless_assets.core.node import NodeId
NODE = NodeId.parse(sys.argv[4])
WINDOWS = Segment(START, START + DAY), Segment(START, START + 30 * DAY)
async def main():
    store = QuestDbHotStore(QuestDbAddress("127.0.0.1", int(sys.argv[2]), int(sys.argv[3])))
    whole = {ts: row for number in range(24) for ts, row in batch(number).items()}
    seen, looks = set(), 0
    while len(seen) < len(whole):
        read = await store.load_bars(NODE, WINDOWS[looks % 2])
        found = {row["ts"]: tuple(row.values())[1:] for row in read.to_pylist()}
        assert all(whole[ts] == row for ts, row in found.items()), "torn"
        assert seen <= set(found), "lost"
        seen, looks = set(found), looks + 1
    print(looks)
    await store.close()
asyncio.run(main())
"""


async def test_readers_in_other_processes_never_see_a_bar_torn_or_gone(
    questdb_server: QuestDbServer, node: NodeId
) -> None:
    arguments = [str(questdb_server.http_port), str(questdb_server.pg_port), str(node)]
    readers = [
        await asyncio.create_subprocess_exec(
            sys.executable, "-c", READER, TESTS, *arguments, stdout=asyncio.subprocess.PIPE
        )
        for _ in range(3)
    ]
    async with opened(address(questdb_server)) as one, opened(address(questdb_server)) as two:

        async def write(store: QuestDbHotStore, first: int) -> None:
            for number in range(first, 24, 2):
                await store.write_bars(node, table(batch(number)), [], recorded_at=float(number))

        await asyncio.gather(write(one, 0), write(two, 1))
    looks = [int((await reader.communicate())[0]) for reader in readers]
    assert all(looks)
