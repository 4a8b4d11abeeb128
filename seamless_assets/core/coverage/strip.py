"""A window in equal cells, as people look at coverage: how much of each is missing, how much absent."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from seamless_assets.core.calendar.segment import Segment
from seamless_assets.core.coverage.coverage import DECLARED, MISSING, RETENTION, Gap


def shares(window: Segment, gaps: Iterable[Gap], cells: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The shares (0..1) of time of each of `cells` equal cells that gaps leave missing, absent, and unproven.

    What is out of retention, and what is declared absent, is unproven: nobody knows that it never was.
    """
    missing, absent, unproven = np.zeros(cells), np.zeros(cells), np.zeros(cells)
    width = (window.end - window.start) / cells
    if width <= 0:
        return missing, absent, unproven
    for gap in gaps:
        into = {MISSING: missing, RETENTION: unproven, DECLARED: unproven}.get(gap.reason, absent)
        _add(into, *_within(gap, window, width))
    return np.clip(missing, 0, 1), np.clip(absent, 0, 1), np.clip(unproven, 0, 1)


def _within(gap: Gap, window: Segment, width: float) -> tuple[float, float]:
    """Where a gap begins and ends, in cells from the window's start."""
    start, end = max(gap.start, window.start), min(gap.end, window.end)
    return (start - window.start) / width, (max(start, end) - window.start) / width


def _add(cells: np.ndarray, begin: float, end: float) -> None:
    """Add the range `[begin, end)` of cells, cut at the cells' bounds."""
    first, last = int(begin), min(int(np.ceil(end)), len(cells))
    for at in range(first, last):
        cells[at] += min(end, at + 1) - max(begin, at)
