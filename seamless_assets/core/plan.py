"""Which pages to ask for, and what an answered page proves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from seamless_assets.core.bars import timestamps
from seamless_assets.core.segment import Segment, merge_ranges, missing_ranges
from seamless_assets.core.timeframe import Timeframe

SMALLEST_PAGE = 10


@dataclass(frozen=True, slots=True)
class Page:
    """An answered page: candles inside the asked window (`ts` in ms), and how many rows were sent at all."""

    asked: Segment
    candles: pa.Table
    served: int

    def opens(self, timeframe: Timeframe) -> np.ndarray:
        """Its sorted unique opens in epoch seconds, on the grid."""
        seconds = np.unique(timestamps(self.candles) // 1000)
        if timeframe.seconds is None:
            return np.unique(np.array([timeframe.floor(int(ts)) for ts in seconds], dtype=np.int64))
        anchor = timeframe.floor(0)
        return np.unique((seconds - anchor) // timeframe.seconds * timeframe.seconds + anchor)

    def witnessed(self, timeframe: Timeframe) -> Segment | None:
        """From its first bar to its last: inside, a bar that is not there had no trades."""
        opens = self.opens(timeframe)
        if len(opens) == 0:
            return None
        return Segment(int(opens[0]), timeframe.shift(int(opens[-1]), 1))


def tiles(window: Segment, timeframe: Timeframe, size: int) -> list[Segment]:
    """Pages of at most `size` bars over the whole bars of `window`, each sharing one bar with the next."""
    bounds = window.whole_bars(timeframe.grid)
    pages: list[Segment] = []
    start = bounds.start
    while start < bounds.end:
        end = min(timeframe.shift(start, size), bounds.end)
        pages.append(Segment(start, end))
        start = end if end == bounds.end else timeframe.shift(end, -1)
    return pages


def unwitnessed(pages: Sequence[Page], window: Segment, timeframe: Timeframe) -> list[Segment]:
    """What of `window` no page has shown between two of its bars."""
    spans = [span for span in (page.witnessed(timeframe) for page in pages) if span is not None]
    return missing_ranges(spans, window, timeframe)


def witnessed_spans(pages: Sequence[Page], timeframe: Timeframe) -> list[Segment]:
    """Joined ranges that pages have shown between two of their bars."""
    spans = [span for span in (page.witnessed(timeframe) for page in pages) if span is not None]
    return merge_ranges(spans, timeframe)


def probes(hole: Segment, window: Segment, timeframe: Timeframe, size: int, closed: int) -> list[Segment]:
    """Pages that could settle `hole`: around it, so that an answer has bars on both sides.

    Inside `window` a hole lies between bars already seen, one more bar on each side will do; at the
    window's edge the page reaches out as far as it can, up to `closed` (end of closed bars).
    """
    room = size - timeframe.count(*hole)
    if room < 2:
        return tiles(Segment(timeframe.shift(hole.start, -1), timeframe.shift(hole.end, 1)), timeframe, size)
    open_left, open_right = hole.start <= window.start, hole.end >= window.end
    left = 1 if not open_left else (room // 2 if open_right else room - 1)
    right = 1 if not open_right else room - left
    start = timeframe.shift(hole.start, -left)
    return [Segment(start, max(hole.end, min(timeframe.shift(hole.end, right), closed)))]


def learned_page_size(pages: Sequence[Page], timeframe: Timeframe) -> int | None:
    """Rows of the shortest page that another page proves to have been cut; None where none was."""
    every = [page.opens(timeframe) for page in pages]
    known = np.unique(np.concatenate(every)) if every else np.array([], dtype=np.int64)
    cut = [
        page.served
        for page, opens in zip(pages, every, strict=True)
        if page.served
        and len(opens) < np.count_nonzero((known >= page.asked.start) & (known < page.asked.end))
    ]
    return max(SMALLEST_PAGE, min(cut)) if cut else None


def merged_candles(pages: Sequence[Page]) -> pa.Table:
    """Candles of all pages; an open that several pages sent is kept as the latest page sent it."""
    sent = pa.concat_tables([page.candles for page in pages], promote_options="permissive")
    page_of = np.repeat(np.arange(len(pages)), [page.candles.num_rows for page in pages])
    opens, open_of = np.unique(timestamps(sent), return_inverse=True)
    latest = np.zeros(len(opens), dtype=np.int64)
    np.maximum.at(latest, open_of, page_of)
    return sent.filter(pa.array(page_of == latest[open_of]))
