"""Bars that a damaged hot store hands over are not sealed; the partition says why, and stops no other."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from support.worlds import END_OF_JANUARY, NODE, World, day

from seamless_assets.core.calendar.segment import Segment
from seamless_assets.errors import SealRefused
from seamless_assets.flows.releasing.materialize import materialize, publish
from seamless_assets.testing import DAY

Damage = Callable[[pa.Table], pa.Table]


def with_value(column: str, value: float) -> Damage:
    def damaged(bars: pa.Table) -> pa.Table:
        values = bars[column].to_numpy().copy()
        values[3] = value
        return bars.set_column(bars.column_names.index(column), column, pa.array(values))

    return damaged


class DamagedHotStore:
    """A hot store that hands the bars of one window over as they are not."""

    def __init__(self, hot: Any, window: Segment, damage: Damage) -> None:
        self._hot, self._window, self._damage = hot, window, damage

    def __getattr__(self, name: str) -> Any:
        return getattr(self._hot, name)

    async def load_bars(self, node: object, window: Segment) -> pa.Table:
        bars = await self._hot.load_bars(node, window)
        return self._damage(bars) if window == self._window and bars.num_rows else bars


@pytest.mark.parametrize(
    "damage",
    [
        with_value("ts", day(300).start),
        with_value("ts", day(29).start - 31 * DAY),
        with_value("close", np.nan),
        with_value("open", np.inf),
    ],
    ids=["later", "earlier", "no close", "infinite"],
)
async def test_what_is_not_sound_is_not_sealed(tmp_path: Path, damage: Damage) -> None:
    world = World(tmp_path, END_OF_JANUARY)
    await world.refill(END_OF_JANUARY)
    damaged = replace(world.ports, hot=DamagedHotStore(world.ports.hot, day(29), damage))  # type: ignore[arg-type]
    report = await materialize(damaged, NODE, END_OF_JANUARY)
    assert [part.released for part in report.partitions] == [True, False, True]
    assert not report.released and report.problems
    assert all("2025-01-30" not in ref.partition for entry in await world.log() for ref in entry.added)
    with pytest.raises(SealRefused):
        await publish(damaged, NODE, day(29))
    assert await world.materialize(END_OF_JANUARY)
