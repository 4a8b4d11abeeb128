"""Stabilisation: what is settled, by time alone."""

from __future__ import annotations

from seamless_assets.core.calendar.segment import Segment
from seamless_assets.core.calendar.timeframe import Timeframe


def watermark(timeframe: Timeframe, now: float, stabilization_bars: int) -> int:
    """Exclusive end (epoch seconds) of settled time: `stabilization_bars` before the forming bar.

    `now` is the earlier of our clock and the exchange's, in epoch seconds.
    """
    return timeframe.shift(int(now // 1), -stabilization_bars)


def settled(window: Segment, timeframe: Timeframe, now: float, stabilization_bars: int) -> Segment:
    """The whole bars of `window` that are settled; empty where none is."""
    limit = watermark(timeframe, now, stabilization_bars)
    return Segment(window.start, max(window.start, min(window.end, limit))).whole_bars(timeframe.grid)
