"""Longer bars of shorter ones: complete, or not there."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from seamless_assets.core.bars.table import BARS_SCHEMA, between, empty_bars, timestamps
from seamless_assets.core.bars.trades import decimal_sums
from seamless_assets.core.calendar.segment import Segment
from seamless_assets.core.calendar.timeframe import Timeframe
from seamless_assets.core.deriving.recipes import UNKNOWN, SourceBars


def resampled(source: SourceBars, timeframe: Timeframe, window: Segment) -> pa.Table:
    """The bars of `timeframe` in `window` of which every part is present or proven absent, and one present.

    Volumes are what those of the parts add up to as their decimals say.
    """
    parts = between(source.bars, *window)
    if parts.num_rows == 0:
        return empty_bars()
    grid = timeframe.opens_array(*window)
    place = np.searchsorted(grid, timestamps(parts), side="right") - 1
    first = np.flatnonzero(np.append(True, place[1:] != place[:-1]))
    last = np.append(first[1:], len(place)) - 1
    opened, high, low, close, volume = (parts.column(name).to_numpy() for name in BARS_SCHEMA.names[1:])
    unknown = np.isnan(volume)
    sums = decimal_sums(np.where(unknown, 0.0, volume), first)
    columns = [
        grid[place[first]],
        opened[first],
        np.maximum.reduceat(high, first),
        np.minimum.reduceat(low, first),
        close[last],
        np.where(np.logical_or.reduceat(unknown, first), np.nan, sums),
    ]
    made = pa.table([pa.array(column) for column in columns], BARS_SCHEMA)
    return made.filter(pa.array(~_is_torn(source, grid, window)[place[first]]))


def _is_torn(source: SourceBars, grid: np.ndarray, window: Segment) -> np.ndarray:
    """Mask of the bars of the grid a part of which nobody can account for."""
    torn = np.zeros(len(grid), dtype=bool)
    for gap in source.gaps:
        part = gap.segment.intersect(window)
        if gap.reason in UNKNOWN and not part.is_empty:
            first = np.searchsorted(grid, part.start, side="right") - 1
            torn[max(first, 0) : np.searchsorted(grid, part.end)] = True
    return torn
