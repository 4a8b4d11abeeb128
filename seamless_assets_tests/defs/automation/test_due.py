"""What is due at any time, from what is released: pure functions over made-up states."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seamless_assets.core.calendar.partition import partitions
from seamless_assets.core.calendar.segment import Segment, join_segments
from seamless_assets.core.calendar.timeframe import Timeframe
from seamless_assets.core.node import NodeId
from seamless_assets.defs.automation.due import (
    Batch,
    Freshness,
    NodeState,
    PartitionGrid,
    changeable,
    look_at,
    unfinished,
    unreleased,
)
from seamless_assets.testing import DAY, START

BTC, ETH = NodeId.parse("ohlcv:okx:BTC/USDT:1m"), NodeId.parse("ohlcv:okx:ETH/USDT:1m")
MINUTES = PartitionGrid(Timeframe("1m"), "day", START, 2)
HOUR, WEEK = 3_600, 7 * DAY
HOW = Freshness(max_lag_s=900, retry_s=300, partitions=3)
GRIDS = [
    MINUTES,
    PartitionGrid(Timeframe("1h"), "month", START, 2),
    PartitionGrid(Timeframe("1d"), "year", START, 0),
    PartitionGrid(Timeframe("1w"), "year", START, 1),
    PartitionGrid(Timeframe("1M"), "year", START, 2),
]


def held(node: NodeId, *spans: tuple[int, int], pinned: tuple[tuple[int, int], ...] = ()) -> NodeState:
    """A node of which spans (seconds after the start) are in force."""
    moved = [tuple(Segment(START + low, START + high) for low, high in some) for some in (spans, pinned)]
    return NodeState(node, *moved)


def keys(found: list[Batch]) -> list[tuple[str, str, int]]:
    return [(batch.first, batch.last, len(batch.nodes)) for batch in found]


def test_the_last_partitions_are_filled_where_they_are_not_released() -> None:
    now = START + 5 * DAY + 12 * HOUR
    states = [held(BTC, (0, 4 * DAY)), held(ETH)]
    assert keys(unreleased(MINUTES, states, 3, now)) == [("2025-01-04", "2025-01-06", 2)]
    (found,) = unreleased(MINUTES, states[:1], 3, now)
    assert (found.first, found.last, found.nodes) == ("2025-01-05", "2025-01-06", (BTC,))
    settled = 5 * DAY + 12 * HOUR - 120
    assert unreleased(MINUTES, [held(BTC, (0, settled))], 3, now) == []
    assert keys(unreleased(MINUTES, [held(BTC, (0, settled))], 3, now + 60)) == [
        ("2025-01-06", "2025-01-06", 1)
    ]


def test_partitions_apart_are_runs_apart() -> None:
    now = START + 5 * DAY
    states = [held(BTC, (DAY, 2 * DAY), (3 * DAY, 5 * DAY)), held(ETH, (0, 3 * DAY), (4 * DAY, 5 * DAY))]
    assert keys(unreleased(MINUTES, states, 9, now)) == [
        ("2025-01-01", "2025-01-01", 1),
        ("2025-01-03", "2025-01-04", 2),
    ]


def test_what_a_person_pinned_is_left_alone() -> None:
    now = START + 3 * DAY
    state = held(BTC, (0, DAY), (2 * DAY, 3 * DAY - 120), pinned=((DAY, 2 * DAY),))
    assert unreleased(MINUTES, [state], 3, now) == []
    assert look_at(MINUTES, [state], now, None, HOW).batches == ()
    withdrawn = held(BTC, pinned=((0, 3 * DAY),))
    assert unreleased(MINUTES, [withdrawn], 3, now) == []


def test_only_what_is_over_and_released_in_part_is_finished() -> None:
    now = START + 4 * DAY + 300
    states = [held(BTC, (0, DAY + 7 * HOUR), (3 * DAY, 4 * DAY - 600)), held(ETH, (0, 2 * DAY))]
    assert keys(unfinished(MINUTES, states, now, WEEK)) == [
        ("2025-01-02", "2025-01-02", 1),
        ("2025-01-04", "2025-01-04", 1),
    ]
    # Two bars after its end, not one.
    early = [held(BTC, (3 * DAY, 4 * DAY - 600))]
    assert unfinished(MINUTES, early, START + 4 * DAY + 119, WEEK) == []
    assert keys(unfinished(MINUTES, early, START + 4 * DAY + 120, WEEK)) == [("2025-01-04", "2025-01-04", 1)]


@pytest.mark.parametrize("give_up_s", [HOUR, DAY, WEEK, 30 * DAY])
def test_what_was_over_long_ago_is_not_finished_any_more(give_up_s: int) -> None:
    # Of each of sixty days half is released.
    state = held(BTC, *((day * DAY, day * DAY + 12 * HOUR) for day in range(60)))
    for hours in (1, 25, 47):
        now = START + 58 * DAY + hours * HOUR
        over = [day for day in range(60) if 120 <= now - START - (day + 1) * DAY < give_up_s]
        found = unfinished(MINUTES, [state], now, give_up_s)
        asked = [part.key for part in MINUTES.last(60, now) if (part.window.start - START) // DAY in over]
        assert [(batch.first, batch.last) for batch in found] == ([(asked[0], asked[-1])] if asked else [])


def test_what_may_still_change_is_asked_for_anew_where_it_is_released() -> None:
    now = START + 4 * DAY + 300
    states = [held(BTC, (0, 4 * DAY + 60)), held(ETH, (0, 3 * DAY))]
    assert keys(changeable(MINUTES, states, 1, now)) == [("2025-01-04", "2025-01-04", 1)]
    assert keys(changeable(MINUTES, states, 2, now)) == [("2025-01-03", "2025-01-04", 2)]
    assert changeable(MINUTES, [held(BTC)], 2, now) == []


@pytest.mark.parametrize("grid", GRIDS, ids=lambda grid: str(grid.timeframe))
@pytest.mark.parametrize("after", [-1.0, 0.0, 1.0, 59.9])
def test_before_anything_is_settled_nothing_is_due(grid: PartitionGrid, after: float) -> None:
    state = NodeState(BTC)
    for finder in (lambda: unreleased(grid, [state], 3, START + after), lambda: grid.last(3, START + after)):
        assert finder() == []
    look = look_at(grid, [state], START + after, None, HOW)
    assert look.batches == () and look.next_at > START + after


@given(
    grid=st.sampled_from(GRIDS),
    now=st.integers(START, START + 3 * 366 * DAY),
    spans=st.lists(st.tuples(st.integers(0, 1100), st.integers(0, 40)), max_size=4),
    count=st.integers(1, 5),
)
def test_what_is_due_is_just_what_is_lacking(
    grid: PartitionGrid, now: int, spans: list[tuple[int, int]], count: int
) -> None:
    in_force = join_segments(Segment(START + a * DAY, START + (a + n) * DAY) for a, n in spans)
    state = NodeState(BTC, tuple(in_force))
    recent = grid.last(count, now)
    assert len(recent) <= count
    every = partitions(grid.timeframe, grid.unit, Segment(START, max(START, grid.settled_until(now))))
    settled = [part for part in every if not grid.settled_part(part, now).is_empty]
    assert recent == settled[-count:]
    due = {part.key for part in recent if state.lacks(grid.settled_part(part, now))}
    found = unreleased(grid, [state], count, now)
    order = [part.key for part in recent]
    asked = [key for one in found for key in order[order.index(one.first) : order.index(one.last) + 1]]
    assert set(asked) == due and len(asked) == len(due)
    done = NodeState(BTC, tuple(join_segments([*in_force, *(part.window for part in recent)])))
    assert unreleased(grid, [done], count, now) == []


def test_a_fresh_node_is_left_alone_until_it_is_stale() -> None:
    now = START + DAY + HOUR
    state = held(BTC, (0, DAY + HOUR - 120))
    look = look_at(MINUTES, [state], now, None, HOW)
    assert look.batches == () and look.next_at == now + 900 + 60
    for at, is_stale in ((look.next_at - 1, False), (look.next_at, True)):
        assert bool(look_at(MINUTES, [state], at, None, HOW).batches) is is_stale


@pytest.mark.parametrize("grid", GRIDS, ids=lambda grid: str(grid.timeframe))
def test_the_next_look_is_when_the_first_node_is_stale(grid: PartitionGrid) -> None:
    now = float(START + 400 * DAY + 5 * HOUR + 17)
    state = NodeState(BTC, (Segment(START, grid.settled_until(now)),))
    for _ in range(3):
        at = look_at(grid, [state], now, None, HOW).next_at
        assert look_at(grid, [state], at - 1, None, HOW).batches == ()
        assert look_at(grid, [state], at, None, HOW).batches != ()
        now = at
        state = NodeState(BTC, (Segment(START, grid.settled_until(now)),))


def test_stale_nodes_of_a_shard_are_one_run_over_what_they_lack() -> None:
    now = START + 3 * DAY + HOUR
    states = [held(BTC, (0, 2 * DAY + HOUR)), held(ETH, (0, 3 * DAY + 600))]
    (found,) = look_at(MINUTES, states, now, None, HOW).batches
    assert (found.first, found.last, found.nodes) == ("2025-01-03", "2025-01-04", (BTC, ETH))


def test_no_more_is_asked_for_than_the_last_partitions() -> None:
    (found,) = look_at(MINUTES, [held(BTC, (0, DAY))], START + 30 * DAY + HOUR, None, HOW).batches
    assert (found.first, found.last) == ("2025-01-29", "2025-01-31")


def looks(states: list[NodeState], since: float, until: float, was_outage: bool) -> list[float]:
    """The instants at which a sensor that looks every minute asks, nothing being released meanwhile."""
    asked, now, looked, next_at = [], since, None, since
    while now < until:
        if next_at <= now:
            look = look_at(MINUTES, states, now, looked, HOW, was_outage)
            if look.batches:
                asked.append(now)
            looked, next_at = now, look.next_at
        now += 60
    return asked


def test_while_an_exchange_is_away_it_is_asked_again_within_ten_minutes() -> None:
    away = START + 3 * DAY
    states = [held(BTC, (0, 3 * DAY)), held(ETH, (0, 3 * DAY))]
    assert looks(states, away, away + DAY, False)[0] <= away + 900 + 240
    pinned = held(ETH, pinned=((0, 30 * DAY),))
    for some in (states, [held(BTC), held(ETH)], [held(BTC, (0, 60))], [held(BTC, (0, 60)), pinned]):
        asked = looks(some, away, away + 5 * DAY, True)
        assert max(later - earlier for earlier, later in pairwise(asked)) <= 360


@pytest.mark.parametrize("symbols", [1, 2, 5])
def test_nodes_that_fail_their_checks_are_asked_for_ever_less_often(symbols: int) -> None:
    since = START + 3 * DAY
    states = [
        NodeState(NodeId("okx", f"{name}/USDT", Timeframe("1m")), (Segment(START, since),))
        for name in "ABCDE"[:symbols]
    ]
    asked = looks(states, since, since + 5 * DAY, False)
    waits = [later - earlier for earlier, later in pairwise(asked)]
    assert waits[0] <= 360 and min(waits[-3:]) >= 2 * HOUR and len(asked) <= 150


def test_a_node_that_never_comes_is_asked_for_ever_less_often() -> None:
    since = START + 10 * DAY

    def others(now: float) -> NodeState:
        return NodeState(ETH, (Segment(START, int(now)),))

    lame = held(BTC, (0, 2 * DAY))
    asked, looked = [], None
    for at in range(since, since + 2 * DAY, 300):
        look = look_at(MINUTES, [lame, others(at)], at, looked, HOW)
        asked += [at] if look.batches else []
        assert all(BTC in batch.nodes and ETH not in batch.nodes for batch in look.batches)
        looked = at
    assert 8 <= len(asked) <= 24
