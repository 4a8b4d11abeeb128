"""Whose value stands, in what order things came, and what eviction spares: tried on each hot store."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from adapters.conftest import OpenStore, table
from adapters.test_hot_store import seen

from seamless_assets.core.bars.table import Written, empty_bars
from seamless_assets.core.calendar.segment import Segment
from seamless_assets.core.calendar.timeframe import Timeframe
from seamless_assets.core.coverage.ledger import Fact, facts_of
from seamless_assets.core.node import NodeId
from seamless_assets.core.sharing.lease import Fence
from seamless_assets.errors import StaleToken
from seamless_assets.testing import DAY, START, random_walk

HOUR = Segment(START, START + 3600)
MONTH = Segment(START, START + 30 * DAY)
BARS = random_walk(START, START + 600)
OTHER = {ts: tuple(value * 2 for value in row) for ts, row in BARS.items()}
OLD, NEW = Fence(HOUR, 1_736_000_000_000_000), Fence(HOUR, 1_736_000_000_000_001)


@pytest.mark.parametrize("brought", [{}, BARS], ids=["nothing", "the same bars"])
async def test_a_later_holder_outranks_an_earlier_one_even_if_it_changed_nothing(
    open_store: OpenStore, node: NodeId, brought: dict[int, tuple[float, ...]]
) -> None:
    store = open_store()
    await store.write_bars(node, table(BARS), [], recorded_at=1.0)
    await store.write_bars(node, table(brought) if brought else empty_bars(), [], recorded_at=2.0, fence=NEW)
    fact = Fact(START + 600, START + 660, "no_trades", "bars on both sides", 3.0)
    for facts in ([], [fact]):
        with pytest.raises(StaleToken):
            await store.write_bars(node, table(OTHER), facts, recorded_at=3.0, fence=OLD)
    assert await store.load_bars(node, HOUR) == table(BARS)
    assert (await store.load_facts(node, HOUR)).num_rows == 0


async def test_a_write_without_a_lease_wins_over_what_is_held_and_blocks_no_holder(
    open_store: OpenStore, node: NodeId
) -> None:
    store = open_store()
    third = {ts: tuple(value * 3 for value in row) for ts, row in BARS.items()}
    assert await store.write_bars(node, table(BARS), [], recorded_at=9e9, fence=OLD) == Written(10, 0)
    assert await store.write_bars(node, table(OTHER), [], recorded_at=1.0) == Written(0, 10)
    assert await store.load_bars(node, HOUR) == table(OTHER)
    assert await store.write_bars(node, table(third), [], recorded_at=2.0, fence=OLD) == Written(0, 10)
    assert await store.load_bars(node, HOUR) == table(third)
    assert await store.write_bars(node, table(BARS), [], recorded_at=3.0, fence=NEW) == Written(0, 10)
    assert await store.load_bars(node, HOUR) == await store.load_bars(node, MONTH) == table(BARS)


async def test_a_write_without_a_lease_over_two_chunks_blocks_the_holder_of_neither(
    open_store: OpenStore, node: NodeId
) -> None:
    store, half = open_store(), START + 300
    first, second = Fence(Segment(START, half), 5), Fence(Segment(half, START + 600), 9)
    for fence in (first, second):
        await store.write_bars(node, table(within(fence, 1)), [], recorded_at=1.0, fence=fence)
    more = OTHER | random_walk(START + 600, START + 660)
    assert await store.write_bars(node, table(more), [], recorded_at=2.0) == Written(1, 10)
    assert await store.load_bars(node, HOUR) == table(more)
    for fence in (first, second, replace(first, token=7)):
        part = table(within(fence, fence.token))
        assert await store.write_bars(node, part, [], recorded_at=3.0, fence=fence) == Written(0, 5)
        assert await store.load_bars(node, fence.chunk) == part


def within(fence: Fence, factor: float) -> dict[int, tuple[float, ...]]:
    """`BARS` of the fence's chunk, their values multiplied."""
    start, end = fence.chunk
    return {ts: tuple(value * factor for value in row) for ts, row in BARS.items() if start <= ts < end}


@pytest.mark.parametrize("fence", [None, OLD], ids=["no lease", "one lease"])
async def test_every_value_of_a_bar_leaves_a_revision(
    open_store: OpenStore, node: NodeId, fence: Fence | None
) -> None:
    store = open_store()
    values = [1.0, 2.0, 1.0, 1.0, 3.0]
    for value in values:
        await store.write_bars(
            node, table({START: (value,) * 5, START + 60: (7.0,) * 5}), [], recorded_at=5.0, fence=fence
        )
    revisions = (await store.load_revisions(node, HOUR)).to_pylist()
    assert [(row["ts"], row["old_close"], row["new_close"]) for row in revisions] == [
        (START, 1.0, 2.0),
        (START, 2.0, 1.0),
        (START, 1.0, 3.0),
    ]
    assert {row["recorded_at"] for row in revisions} == {5.0}
    assert await store.load_bars(node, HOUR) == table({START: (3.0,) * 5, START + 60: (7.0,) * 5})
    assert (await store.load_revisions(node, Segment(START + 60, START + 3600))).num_rows == 0


@pytest.mark.parametrize("fence", [None, OLD], ids=["no lease", "one lease"])
async def test_facts_of_one_instant_are_all_kept_in_the_order_they_were_written(
    open_store: OpenStore, node: NodeId, fence: Fence | None
) -> None:
    store = open_store()
    facts = [
        Fact(START + 60 * at, START + 60 * at + 60, reason, f"look {at}", moment)
        for at, (reason, moment) in enumerate([("missing", 9.0), ("outage", 9.0), ("missing", 4.0)])
    ]
    for fact in facts:
        await store.write_bars(node, empty_bars(), [fact], recorded_at=9.0, fence=fence)
    await store.write_bars(node, empty_bars(), facts[:2], recorded_at=9.0, fence=fence)
    assert facts_of(await store.load_facts(node, HOUR)) == [*facts, *facts[:2]]


async def test_a_value_that_is_no_number_comes_back_as_none(open_store: OpenStore, node: NodeId) -> None:
    store = open_store()
    bars = {START: (1.0, 2.0, 0.5, 1.5, math.nan), START + 60: (1.0, 2.0, 0.5, 1.5, 3.0)}
    await store.write_bars(node, table(bars), [], recorded_at=1.0)
    assert await store.write_bars(node, table(bars), [], recorded_at=2.0) == Written(0, 0)
    for window in (HOUR, MONTH):
        read = await store.load_bars(node, window)
        assert read["ts"].to_pylist() == list(bars)
        first, second = read["volume"].to_pylist()
        assert (first is None or math.isnan(first)) and second == 3.0


async def test_a_bar_that_changed_since_it_was_looked_at_is_not_evicted(
    open_store: OpenStore, node: NodeId
) -> None:
    store, monday = open_store(), 1_104_710_400  # 2005-01-03: no other test writes near it
    fine, week = replace(node, timeframe=Timeframe("5m")), Segment(monday, monday + 7 * DAY)
    bars = random_walk(monday, monday + 7 * DAY, step=300)
    await store.write_bars(fine, table(bars), [], recorded_at=1.0)
    looked_at = await seen(store, fine, week)
    changed = {monday + 600: (1.0, 2.0, 0.5, 1.5, 3.0)}
    await store.write_bars(fine, table(changed), [], recorded_at=2.0)
    assert await store.evict({fine: [looked_at]}, 3.0) == 0
    assert await store.load_bars(fine, week) == table(bars | changed)
    assert await store.load_evictions(fine, week) == []
    assert await store.evict({fine: [await seen(store, fine, week)]}, 4.0) == len(bars)
    assert await store.load_bars(fine, week) == empty_bars()
