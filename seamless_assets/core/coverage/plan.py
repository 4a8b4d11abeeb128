"""Which pages to ask for."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from seamless_assets.core.calendar.segment import Segment
from seamless_assets.core.calendar.timeframe import Timeframe
from seamless_assets.core.coverage.pages import Page, known_opens

SMALLEST_PAGE = 10
"""Bars; no exchange is believed to send less."""
MOST_SHARED = 5
"""Bars that a page shares with its neighbour. Of a market with trades in two of three minutes all five are
absent at one page's edge in 250, and one more request asks there what lies between."""


def chunk_bars(page: int, window_bars: int) -> int:
    """Bars of one chunk: whole pages near `window_bars`, so that no request goes out half empty.

    Pages share a margin with each other and with the chunk's neighbours. Where `window_bars` is less than
    half a page, it is taken as it is.
    """
    pages = window_bars // page or int(2 * window_bars >= page)
    return pages * page - (pages + 1) * margin(page) if pages else window_bars


def margin(page: int) -> int:
    """Bars that a full page of `page` shares with its neighbour.

    One of them has to be there to show that nothing lies between the two pages, and in a market where
    minutes without trades are common a single one often is not. More than `MOST_SHARED` cost more requests
    than they spare.
    """
    return max(1, min(page // 100, MOST_SHARED))


def pages_over(wanted: Sequence[Segment], timeframe: Timeframe, size: int, closed: int) -> list[Segment]:
    """The fewest pages of at most `size` bars over ascending segments on the grid.

    Pages reach over the edges and share bars, as many as are free, up to `closed` (end of closed bars).
    """
    runs: list[Segment] = []
    for segment in wanted:
        if runs and _is_cheaper(runs[-1], segment, timeframe, size):
            runs[-1] = Segment(runs[-1].start, segment.end)
        elif not segment.is_empty:
            runs.append(segment)
    return [page for run in runs for page in _tiles(run, timeframe, size, closed)]


def _is_cheaper(run: Segment, following: Segment, timeframe: Timeframe, size: int) -> bool:
    joined = _requests(timeframe.count(run.start, following.end), size)
    return joined <= _requests(timeframe.count(*run), size) + _requests(timeframe.count(*following), size) - 1


def _requests(bars: int, size: int) -> int:
    """Pages for `bars` where each shares a bar with its neighbours."""
    return -(-(bars + 1) // (size - 1))


def _tiles(run: Segment, timeframe: Timeframe, size: int, closed: int) -> list[Segment]:
    bars = timeframe.count(*run)
    pages = _requests(bars, size)
    shared = min((pages * size - bars) // (pages + 1), max(2, size // 50))
    length = -(-(bars + (pages + 1) * shared) // pages)
    grid = timeframe.grid
    first, last = grid.index(run.start) - shared, min(grid.index(run.end) + shared, grid.index(closed))
    starts = (first + page * (length - shared) for page in range(pages))
    return [Segment(grid.open(at), grid.open(min(at + length, last))) for at in starts if at < last]


def probe(hole: Segment, known: np.ndarray, timeframe: Timeframe, size: int, closed: int) -> Segment | None:
    """The page that could settle `hole`: one whose answer may have bars on both sides.

    Between known bars it spans from the one to the other; where one side is unknown it reaches out as far
    as a page can. At the end of closed time, where nothing can follow, it is what a page that was cut left
    out. None where no page can bracket the hole.
    """
    at_left, at_right = np.searchsorted(known, hole.start), np.searchsorted(known, hole.end)
    left = int(known[at_left - 1]) if at_left else None
    right = timeframe.shift(int(known[at_right]), 1) if at_right < len(known) else None
    if right is None and hole.end >= closed:
        return None if left is None else Segment(left, min(timeframe.shift(left, size), closed))
    low = hole.start if left is None else left
    high = hole.end if right is None else right
    room = size - timeframe.count(low, high)
    if room < (left is None) + (right is None):
        return None
    if left is None:
        low = timeframe.shift(low, -(room // 2 if right is None else room))
    if right is None:
        high = min(timeframe.shift(low, size), closed)
    return Segment(low, high)


def may_be_cut(pages: Sequence[Page], hole: Segment) -> bool:
    """Whether a page that was asked for `hole` came back with so many rows that it may have been full."""
    return any(page.served >= SMALLEST_PAGE and not page.asked.intersect(hole).is_empty for page in pages)


def learned_page_size(pages: Sequence[Page], timeframe: Timeframe) -> int | None:
    """Rows of the fullest page, where other pages prove that some were cut; None where none was.

    A page that is short by accident is not the exchange's limit while another one holds more.
    """
    known = known_opens(pages, timeframe)
    for page in pages:
        within = np.count_nonzero((known >= page.asked.start) & (known < page.asked.end))
        if page.served and len(page.opens(timeframe)) < within:
            return max(SMALLEST_PAGE, max(page.served for page in pages))
    return None
