"""What every hot store promises, tried on each: SQLite embedded, and a real QuestDB server."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from adapters.conftest import OpenStore, table
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from seamless_assets.adapters.sqlite.store import SqliteHotStore
from seamless_assets.core.bars.table import BARS_SCHEMA, Written, empty_bars
from seamless_assets.core.calendar.segment import Segment
from seamless_assets.core.calendar.timeframe import Timeframe
from seamless_assets.core.coverage.ledger import Fact, facts_of
from seamless_assets.core.node import NodeId
from seamless_assets.core.sharing.lease import Fence
from seamless_assets.core.sharing.retention import Evictable, digest_of
from seamless_assets.errors import StaleToken
from seamless_assets.flows.ports import HotStore
from seamless_assets.testing import DAY, START, random_walk

HOUR = Segment(START, START + 3600)
ODD_SYMBOLS = ["A';DROP/TABLE--", 'B"/C', "D\\/E", "F%s/G", "{H}/I", "$1/J", "BTC/USDT:USDT-251226", "Ü/Ω"]


async def test_a_write_says_what_it_changed_and_again_changes_nothing(
    open_store: OpenStore, node: NodeId
) -> None:
    store, bars = open_store(), random_walk(START, START + 600)
    assert await store.write_bars(node, table(bars), [], recorded_at=1.0) == Written(10, 0)
    assert await store.write_bars(node, table(bars), [], recorded_at=2.0) == Written(0, 0)
    more = bars | random_walk(START + 600, START + 720)
    assert await store.write_bars(node, table(more), [], recorded_at=3.0) == Written(2, 0)
    assert await store.load_bars(node, HOUR) == table(more)
    assert (await store.load_revisions(node, HOUR)).num_rows == 0


async def test_the_last_write_wins_and_leaves_a_revision(open_store: OpenStore, node: NodeId) -> None:
    store, bars = open_store(), random_walk(START, START + 600)
    await store.write_bars(node, table(bars), [], recorded_at=1.0)
    lower = {START + 60: tuple(value / 2 for value in bars[START + 60])}
    assert await store.write_bars(node, table(bars | lower), [], recorded_at=2.0) == Written(0, 1)
    assert await store.write_bars(node, table(bars), [], recorded_at=3.0) == Written(0, 1)
    assert await store.load_bars(node, HOUR) == table(bars)
    revisions = (await store.load_revisions(node, HOUR)).to_pylist()
    assert [(row["ts"], row["old_close"], row["new_close"], row["recorded_at"]) for row in revisions] == [
        (START + 60, bars[START + 60][3], lower[START + 60][3], 2.0),
        (START + 60, lower[START + 60][3], bars[START + 60][3], 3.0),
    ]


async def test_the_newest_bar_is_revised_alone_and_beside_a_newer_one(
    open_store: OpenStore, node: NodeId
) -> None:
    store, bars = open_store(), random_walk(START, START + 240)
    await store.write_bars(node, table(dict(list(bars.items())[:3])), [], recorded_at=1.0)
    newest = {START + 120: tuple(value * 2 for value in bars[START + 120])}
    assert await store.write_bars(node, table(newest), [], recorded_at=2.0) == Written(0, 1)
    last_two = {ts: bars[ts] for ts in (START + 120, START + 180)}
    assert await store.write_bars(node, table(last_two), [], recorded_at=3.0) == Written(1, 1)
    assert await store.load_bars(node, HOUR) == table(bars)


async def test_windows_are_half_open_and_unsorted_batches_are_sorted(
    open_store: OpenStore, node: NodeId
) -> None:
    store, bars = open_store(), random_walk(START, START + 600)
    await store.write_bars(node, table(dict(reversed(bars.items()))), [], recorded_at=1.0)
    read = await store.load_bars(node, Segment(START + 60, START + 180))
    assert read["ts"].to_pylist() == [START + 60, START + 120] and read.schema == BARS_SCHEMA
    opens = await store.load_opens(node, Segment(START + 60, START + 180))
    assert opens.tolist() == [START + 60, START + 120] and opens.dtype == np.int64
    for empty in (Segment(START, START), Segment(START - DAY, START), Segment(START + 600, START + DAY)):
        assert await store.load_bars(node, empty) == empty_bars()
        assert (await store.load_opens(node, empty)).tolist() == []


async def test_short_and_long_reads_agree(open_store: OpenStore, node: NodeId) -> None:
    store, bars = open_store(), random_walk(START, START + 6 * DAY, skip=0.1)
    await store.write_bars(node, table(bars), [], recorded_at=1.0)
    week = Segment(START, START + 7 * DAY)
    whole = await store.load_bars(node, week)
    days = [await store.load_bars(node, Segment(START + n * DAY, START + (n + 1) * DAY)) for n in range(7)]
    assert whole == table(bars) == pa.concat_tables(days)
    assert (await store.load_opens(node, week)).tolist() == sorted(bars)


@pytest.mark.parametrize("symbol", ODD_SYMBOLS)
async def test_any_name_is_a_value_and_never_a_statement(
    open_store: OpenStore, node: NodeId, symbol: str
) -> None:
    store = open_store()
    odd = replace(node, symbol=f"{symbol}{node.symbol.split('/')[0]}")
    fact = Fact(START + 600, START + 660, "no_trades", f"evidence of {symbol}", 1.0)
    await store.write_bars(odd, table(random_walk(START, START + 600)), [fact], recorded_at=1.0)
    week = Segment(START, START + 30 * DAY)
    assert (
        await store.load_bars(odd, HOUR)
        == await store.load_bars(odd, week)
        == table(random_walk(START, START + 600))
    )
    assert facts_of(await store.load_facts(odd, HOUR)) == [fact]
    assert await store.load_bars(node, HOUR) == empty_bars()


async def test_calendar_bars_are_kept_too(open_store: OpenStore, node: NodeId) -> None:
    store, months = open_store(), replace(node, timeframe=Timeframe("1M"))
    window = Segment(START - 366 * DAY, START)
    bars = dict.fromkeys(months.timeframe.opens(*window), (1.0, 2.0, 0.5, 1.5, 3.0))
    await store.write_bars(months, table(bars), [], recorded_at=1.0)
    assert await store.load_bars(months, window) == table(bars) and len(bars) == 12


async def test_the_ledger_keeps_every_fact_in_order(open_store: OpenStore, node: NodeId) -> None:
    store = open_store()
    facts = [
        Fact(START, START + 60, "missing", "not sent", 5.25, 1, 9.5),
        Fact(START, START + 60, "missing", "not sent", 6.0, 2, 99.0),
        Fact(START + 60, START + 180, "outage", "shared by 3 symbols", 6.0),
        Fact(START, START + 60, "no_trades", "bars on both sides", 7.0),
    ]
    await store.write_bars(node, empty_bars(), facts[:1], recorded_at=5.25)
    await store.write_bars(node, empty_bars(), facts[1:3], recorded_at=6.0)
    await store.write_bars(node, empty_bars(), facts[3:], recorded_at=7.0)
    assert facts_of(await store.load_facts(node, HOUR)) == facts
    assert facts_of(await store.load_facts(node, Segment(START + 120, START + 200))) == [facts[2]]
    assert (await store.load_facts(node, Segment(START + 180, START + DAY))).num_rows == 0


async def test_a_stale_holder_is_refused_and_changes_nothing(open_store: OpenStore, node: NodeId) -> None:
    store, chunk = open_store(), Segment(START, START + 1200)
    old, new = Fence(chunk, 1_000_000), Fence(chunk, 2_000_000)
    bars = random_walk(START, START + 600)
    other = {ts: tuple(value * 2 for value in row) for ts, row in bars.items()}
    await store.write_bars(node, table(bars), [], recorded_at=1.0, fence=old)
    await store.write_bars(node, table(other), [], recorded_at=2.0, fence=new)
    with pytest.raises(StaleToken) as refused:
        await store.write_bars(node, table(bars), [], recorded_at=3.0, fence=old)
    assert (refused.value.token, refused.value.newest) == (1_000_000, 2_000_000)
    assert await store.load_bars(node, HOUR) == table(other)
    await store.write_bars(node, table(other), [], recorded_at=4.0, fence=new)
    beside = Fence(Segment(START + 1200, START + 2400), 1_500_000)
    late = random_walk(START + 1200, START + 1800)
    assert await store.write_bars(node, table(late), [], recorded_at=5.0, fence=beside) == Written(10, 0)


async def test_of_many_writes_at_once_one_that_is_refused_keeps_nothing_from_the_others(
    open_store: OpenStore, node: NodeId
) -> None:
    store, bars = open_store(), table(random_walk(START, START + 600))
    nodes = [replace(node, symbol=f"{number}{node.symbol}") for number in range(4)]
    held = Fence(HOUR, 2_000_000)
    await store.write_bars(nodes[2], empty_bars(), [], recorded_at=1.0, fence=held)
    outcomes = await asyncio.gather(
        *(
            store.write_bars(
                one, bars, [], recorded_at=2.0, fence=Fence(HOUR, 1_000_000) if one == nodes[2] else held
            )
            for one in nodes
        ),
        return_exceptions=True,
    )
    assert isinstance(outcomes.pop(2), StaleToken) and outcomes == [Written(10, 0)] * 3
    found = [len(await store.load_opens(one, HOUR)) for one in nodes]
    assert found == [10, 10, 0, 10]


async def test_facts_alone_raise_the_fence_too(open_store: OpenStore, node: NodeId) -> None:
    store, chunk = open_store(), Segment(START, START + 600)
    fact = Fact(START, START + 600, "missing", "not sent", 1.0, 1, 9.0)
    await store.write_bars(node, empty_bars(), [fact], recorded_at=1.0, fence=Fence(chunk, 2_000_000))
    with pytest.raises(StaleToken):
        await store.write_bars(
            node, table(random_walk(START, START + 600)), [], recorded_at=2.0, fence=Fence(chunk, 1_000_000)
        )
    assert await store.load_bars(node, HOUR) == empty_bars()


async def test_eviction_takes_only_what_it_may_and_remembers_it(open_store: OpenStore, node: NodeId) -> None:
    store, start = open_store(), 1_293_926_400  # Sunday, 2011-01-02: no other test writes near it
    monday, weeks = start + DAY, 3
    bars = random_walk(monday, monday + weeks * 7 * DAY, step=300)
    fine = replace(node, timeframe=Timeframe("5m"))
    await store.write_bars(fine, table(bars), [], recorded_at=1.0)
    whole = Segment(monday, monday + weeks * 7 * DAY)
    assert await store.evict({}, 2.0) == 0
    assert await store.evict({node: [await seen(store, node, whole)]}, 2.0) == 0
    aged = Segment(monday, monday + 15 * DAY)
    dropped = await store.evict({fine: [await seen(store, fine, part) for part in days(aged)]}, 3.0)
    left = (await store.load_opens(fine, whole)).tolist()
    assert dropped == len(bars) - len(left) >= 14 * 288
    assert left[-1] == max(bars) and {ts for ts in bars if ts >= aged.end} <= set(left)
    (remembered,) = await store.load_evictions(fine, whole)
    gone = set(bars) - set(left)
    assert all(remembered.start <= ts < remembered.end for ts in gone)
    assert remembered.end <= aged.end and await store.load_evictions(node, whole) == []
    again = {min(bars): bars[min(bars)]}
    assert await store.write_bars(fine, table(again), [], recorded_at=4.0) == Written(1, 0)


async def test_all_is_there_after_it_was_opened_anew(open_store: OpenStore, node: NodeId) -> None:
    first, bars = open_store(), random_walk(START, START + 3600)
    fence = Fence(HOUR, 2_000_000)
    fact = Fact(START + 3600, START + 3660, "no_trades", "bars on both sides", 1.0)
    await first.write_bars(node, table(bars), [fact], recorded_at=1.0, fence=fence)
    await first.close()
    second = open_store()
    assert await second.load_bars(node, HOUR) == table(bars)
    assert facts_of(await second.load_facts(node, Segment(START, START + DAY))) == [fact]
    with pytest.raises(StaleToken):
        await second.write_bars(node, table(bars), [], recorded_at=2.0, fence=Fence(HOUR, 1_000_000))


async def test_a_million_bars_come_back(open_store: OpenStore, node: NodeId) -> None:
    rows = 1_000_000
    store, rng = open_store(), np.random.default_rng(3)
    ts = START + 60 * np.arange(rows)
    bars = pa.table([ts, *(rng.random(rows) for _ in range(5))], BARS_SCHEMA)
    window = Segment(START, START + 60 * rows)
    assert await store.write_bars(node, bars, [], recorded_at=1.0) == Written(rows, 0)
    assert (await store.load_bars(node, window)).equals(bars)
    np.testing.assert_array_equal(await store.load_opens(node, window), ts)


async def test_writers_and_readers_at_once_lose_and_tear_nothing(open_store: OpenStore, node: NodeId) -> None:
    stores, bars = [open_store() for _ in range(4)], random_walk(START, START + DAY)
    opens = sorted(bars)
    day = Segment(START, START + DAY)
    written = asyncio.Event()

    async def write(store: int) -> None:
        for at in range(store * 60, len(opens), 240):
            part = {ts: bars[ts] for ts in opens[at : at + 60]}
            await stores[store].write_bars(node, table(part), [], recorded_at=float(at + 1))

    async def watch() -> None:
        while not written.is_set():
            for row in (await stores[3].load_bars(node, day)).to_pylist():
                assert tuple(row.values())[1:] == bars[row["ts"]]

    watching = asyncio.create_task(watch())
    await asyncio.gather(*(write(store) for store in range(4)))
    written.set()
    await watching
    assert await stores[0].load_bars(node, day) == table(bars)


async def seen(store: HotStore, node: NodeId, segment: Segment) -> Evictable:
    """A range as it is held now."""
    return Evictable(segment, digest_of(await store.load_bars(node, segment)))


def days(window: Segment) -> list[Segment]:
    """The days of `window`."""
    return [Segment(start, start + DAY) for start in range(window.start, window.end, DAY)]


WRITES = st.lists(
    st.tuples(st.lists(st.integers(0, 30), min_size=1, max_size=6, unique=True), st.integers(1, 4)),
    max_size=6,
)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(writes=WRITES)
async def test_any_row_of_writes_ends_as_a_dictionary_would(
    open_store: OpenStore, node: NodeId, writes: list[tuple[list[int], int]]
) -> None:
    fresh = replace(node, symbol=f"{node.symbol}{np.random.default_rng().integers(10**12)}")
    store, oracle, revised = open_store(), dict[int, tuple[float, ...]](), 0
    for moment, (minutes, value) in enumerate(writes, start=1):
        batch = {START + 60 * m: (float(value),) * 5 for m in minutes}
        written = await store.write_bars(fresh, table(batch), [], recorded_at=float(moment))
        changed = sum(ts in oracle and oracle[ts] != row for ts, row in batch.items())
        assert written == Written(sum(ts not in oracle for ts in batch), changed)
        oracle, revised = oracle | batch, revised + changed
    expected = table(dict(sorted(oracle.items()))) if oracle else empty_bars()
    assert await store.load_bars(fresh, HOUR) == expected
    assert (await store.load_revisions(fresh, HOUR)).num_rows == revised


async def test_a_mark_is_another_one_once_anybody_has_changed_anything(
    open_store: OpenStore, node: NodeId
) -> None:
    store, other = open_store(), open_store()
    bars = table(random_walk(START, START + 600))
    hole = Segment(START + 600, START + 660)
    facts = [Fact(*hole, reason="no_trades", evidence="page", attempts=1, recorded_at=1.0)]
    day = Segment(START, START + DAY)
    await store.write_bars(node, bars, [], recorded_at=1.0)
    changes = (
        lambda: other.write_bars(node, table(random_walk(START, START + 600, seed=8)), [], recorded_at=2.0),
        lambda: store.write_bars(node, empty_bars(), facts, recorded_at=3.0),
        lambda: other.evict({node: [Evictable(HOUR, digest_of(known))]}, 4.0),
    )
    for change in changes:
        mark, known = store.change_mark(), await store.load_bars(node, HOUR)
        await store.load_facts(node, day)
        assert store.change_mark() == mark, "nothing is changed by reading"
        await change()
        told = await asyncio.to_thread(store.change_mark)
        assert (mark, told) == (None, None) or (None not in (mark, told) and mark != told)
    assert (store.change_mark() is not None) is isinstance(store, SqliteHotStore), "a file tells it at once"
    await store.close()
    assert store.change_mark() is None
