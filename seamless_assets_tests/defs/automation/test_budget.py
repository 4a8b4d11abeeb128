"""What a day of all schedules and sensors asks for, of a node that gets all of it: the budget of the docs."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from seamless_assets.core.calendar.partition import PartitionUnit, window_of_key
from seamless_assets.core.calendar.segment import join_segments
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

HOUR, MINUTE = 3_600, 60


class Released:
    """A node that gets whatever is asked for, and how many materializations that takes."""

    def __init__(self, grid: PartitionGrid) -> None:
        self.grid, self.materializations = grid, 0
        self.state = NodeState(NodeId("okx", "BTC/USDT", grid.timeframe))

    def take(self, found: Iterable[Batch], now: float) -> None:
        """Materialize what is due."""
        for batch in found:
            first, last = (window_of_key(self.grid.timeframe, key) for key in (batch.first, batch.last))
            within = [part for part in self.grid.last(40, now) if first.start <= part.window.start < last.end]
            parts = [self.grid.settled_part(part, now) for part in within]
            self.state = NodeState(self.state.node, tuple(join_segments([*self.state.in_force, *parts])))
            self.materializations += len(parts)


@pytest.mark.parametrize(
    ("timeframe", "unit", "max_lag_s", "most"),
    [
        ("1m", "day", 900, 100),
        ("1m", "day", 3_600, 30),
        ("5m", "day", 900, 100),
        ("1h", "month", 900, 30),
        ("1d", "year", 900, 4),
    ],
)
def test_a_day_of_all_that_is_switched_on_costs_a_node_so_many_materializations(
    timeframe: str, unit: PartitionUnit, max_lag_s: int, most: int
) -> None:
    node = Released(PartitionGrid(Timeframe(timeframe), unit, START, 2))
    how = Freshness(max_lag_s, retry_s=300, partitions=3)
    looked: float | None = None
    next_at, before = 0.0, 0
    for now in range(START + 34 * DAY, START + 36 * DAY, MINUTE):
        if now == START + 35 * DAY:
            before = node.materializations
        if now >= next_at:
            look = look_at(node.grid, [node.state], now, looked, how)
            looked, next_at = now, look.next_at
            node.take(look.batches, now)
        if now % HOUR == 10 * MINUTE:
            node.take(unfinished(node.grid, [node.state], now, 7 * DAY), now)
        if now % HOUR == 20 * MINUTE:
            node.take(unreleased(node.grid, [node.state], 3, now), now)
        if now % DAY == 90 * MINUTE:
            node.take(changeable(node.grid, [node.state], 2, now), now)
    assert 0 < node.materializations - before <= most
    assert node.state.in_force[-1].end >= node.grid.settled_until(START + 36 * DAY - MINUTE) - max_lag_s - 60
