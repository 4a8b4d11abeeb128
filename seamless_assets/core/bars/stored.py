"""What may be in a store: bars that are read back are judged like those that come from outside."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from seamless_assets.core.bars.sorted_sets import is_ascending
from seamless_assets.core.bars.table import PRICES, timestamps
from seamless_assets.core.calendar.segment import Segment
from seamless_assets.core.calendar.timeframe import FixedGrid, Timeframe


def possible_rows(bars: pa.Table, timeframe: Timeframe, window: Segment) -> np.ndarray:
    """Mask, shape `(rows,)`, of the rows that a store may hold of `window`.

    They open in `window` and on the grid, their prices are finite, and their volume is finite or not known.
    """
    possible = possible_opens(timestamps(bars), timeframe, window)
    for name in PRICES:
        possible &= np.isfinite(np.asarray(bars.column(name)))
    possible &= ~np.isinf(np.asarray(bars.column("volume")))
    return possible


def possible_opens(ts: np.ndarray, timeframe: Timeframe, window: Segment) -> np.ndarray:
    """Mask of the opens (epoch seconds) that lie in `window` and on the grid."""
    possible: np.ndarray = (window.start <= ts) & (ts < window.end)
    if possible.all():
        return _on_grid(ts, timeframe)
    possible[possible] = _on_grid(ts[possible], timeframe)
    return possible


def misplaced(ts: np.ndarray, timeframe: Timeframe, window: Segment) -> str | None:
    """What is wrong with where the bars of an artifact over `window` open; None where nothing is."""
    if not is_ascending(ts) or (len(ts) and (ts[0] < window.start or ts[-1] >= window.end)):
        return "its bars are not ascending inside its range"
    return None if _on_grid(ts, timeframe).all() else "its bars are off the grid"


def _on_grid(ts: np.ndarray, timeframe: Timeframe) -> np.ndarray:
    grid = timeframe.grid
    if isinstance(grid, FixedGrid):
        since = ts - grid.anchor
        # Several times as fast as the remainder, which numpy takes number by number.
        floors = since // grid.seconds
        floors *= grid.seconds
        aligned: np.ndarray = floors == since
        return aligned
    return np.fromiter((timeframe.floor(int(at)) == at for at in ts), dtype=bool, count=len(ts))
