"""Bars made by seed: the same arguments make the same bars on every machine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from seamless_assets.core.bars.table import BARS_SCHEMA, table_of
from seamless_assets.core.calendar.instant import epoch_seconds
from seamless_assets.core.calendar.segment import Segment
from seamless_assets.core.calendar.timeframe import Timeframe

DAY = 86_400
START = 1_735_689_600
"""2025-01-01T00:00:00Z"""
Row = tuple[float, ...]
"""Open, high, low, close and volume of a bar."""


def random_walk(
    start: int, end: int, step: int = 60, skip: float = 0.0, seed: int = 7, first: float = 100.0
) -> dict[int, Row]:
    """Bars of `[start, end)` by open, one each `step` seconds, beginning at the price `first`.

    A share `skip` of them is left out, as an exchange leaves out bars without trades.
    """
    return _walk(range(start, end, step), skip, seed, first)


def make_bars(
    start: Any, end: Any, timeframe: str | Timeframe = "1m", *, seed: int = 7, skip: float = 0.0
) -> pa.Table:
    """The same as a table of six columns, on the grid of any timeframe.

    `start` and `end` are epoch seconds, ISO 8601 texts or aware datetimes. Raises `InvalidTimestamp`,
    `InvalidSegment`, `InvalidTimeframe`.
    """
    window = Segment(epoch_seconds(start, "start", round_up=True), epoch_seconds(end, "end"))
    return bars_table(_walk(Timeframe.parse(timeframe).opens(*window), skip, seed, 100.0))


def bars_table(bars: Mapping[int, Row]) -> pa.Table:
    """Bars by open as a table, in their order."""
    if not bars:
        return BARS_SCHEMA.empty_table()
    columns = [tuple(bars), *zip(*bars.values(), strict=True)]
    return pa.table([pa.array(c, f.type) for c, f in zip(columns, BARS_SCHEMA, strict=True)], BARS_SCHEMA)


def candles(rows: Sequence[Row]) -> pa.Table:
    """Rows `(ts in seconds, o, h, l, c, v)` as an exchange sends them, `ts` in ms."""
    return table_of(((int(row[0]) * 1000, *row[1:]) for row in rows), BARS_SCHEMA)


def _walk(opens: Sequence[int], skip: float, seed: int, first: float) -> dict[int, Row]:
    rng = np.random.default_rng(seed)
    price, bars = first, dict[int, Row]()
    for ts in opens:
        close = price * (1 + rng.normal(0, 0.001))
        if rng.random() >= skip:
            high, low = max(price, close) * 1.0005, min(price, close) * 0.9995
            bars[ts] = (price, high, low, close, rng.random() * 9)
        price = close
    return bars
