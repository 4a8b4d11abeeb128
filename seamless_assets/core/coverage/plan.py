"""Which pages to ask for, and what an answered page shows."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from seamless_assets.core.bars.sorted_sets import difference, distinct, is_in
from seamless_assets.core.bars.table import PRICES, timestamps
from seamless_assets.core.calendar.segment import Segment, merge_ranges, missing_ranges
from seamless_assets.core.calendar.timeframe import Timeframe
from seamless_assets.core.coverage.alignment import floored, misaligned, slip_ms, strays
from seamless_assets.core.node import NodeId

SMALLEST_PAGE = 10
WITNESS_RATIOS = (5, 60, 1_440)


@dataclass(frozen=True, slots=True)
class Page:
    """An answered page: candles inside the asked window (`ts` in ms), and how many rows were sent at all.

    `astray`: bars of which rows of another grid hold trades; the page shows nothing of them.
    """

    asked: Segment
    candles: pa.Table
    served: int
    astray: tuple[Segment, ...] = ()
    _opens: dict[Timeframe, np.ndarray] = field(default_factory=dict, compare=False, repr=False)

    def opens(self, timeframe: Timeframe) -> np.ndarray:
        """Sorted unique opens of its bars in epoch seconds, on the grid; a row of zeros is no bar."""
        if timeframe not in self._opens:
            self._opens[timeframe] = distinct(floored(told_times(self.candles) // 1000, timeframe))
        return self._opens[timeframe]

    def witnessed(self, timeframe: Timeframe) -> Segment | None:
        """From its first bar to its last: inside, a bar that is not there had no trades."""
        opens = self.opens(timeframe)
        if len(opens) == 0:
            return None
        return Segment(int(opens[0]), timeframe.shift(int(opens[-1]), 1))


def told_times(candles: pa.Table) -> np.ndarray:
    """Sorted unique times (ms) of the rows that are bars."""
    prices = [candles.column(name).to_numpy() for name in PRICES]
    return distinct(timestamps(candles)[np.logical_or.reduce([price != 0 for price in prices])])


def page_of(node: NodeId, asked: Segment, sent: pa.Table, served: Iterable[Timeframe] = ()) -> Page:
    """The page that an answer makes: its rows inside the `asked` window, without the few of another grid.

    Raises `MisalignedTimeframe` where most are of another; `served` are what the exchange has instead.
    """
    timeframe = node.timeframe
    ts, found = timestamps(sent), strays(told_times(sent), timeframe)
    if found is not None and found.is_grid:
        raise misaligned(node, found, served)
    is_kept = (ts >= asked.start * 1000) & (ts < asked.end * 1000)
    if found is None:
        return Page(asked, sent.filter(pa.array(is_kept)), len(ts))
    kept = sent.filter(pa.array(is_kept & ~is_in(ts, found.opens)))
    touched = floored(found.opens // 1000, timeframe)
    touched = distinct(np.append(touched, [timeframe.shift(int(ts), 1) for ts in touched]))
    touched = difference(touched, floored(told_times(kept) // 1000, timeframe))
    bars = [Segment(int(ts), timeframe.shift(int(ts), 1)) for ts in touched]
    return Page(asked, kept, len(ts), tuple(merge_ranges(bars, timeframe)))


def closed_part(page: Page, timeframe: Timeframe, closed: int) -> Page:
    """The page without rows whose own bar is still forming at `closed`, though the one they lie in is not."""
    latest = timeframe.shift(closed, -1) * 1000 + slip_ms(timeframe)
    is_closed = timestamps(page.candles) <= latest
    if is_closed.all():
        return page
    return Page(page.asked, page.candles.filter(pa.array(is_closed)), page.served, page.astray)


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
    minutes without trades are common a single one often is not.
    """
    return max(1, page // 100)


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


def page_around(wanted: Segment, timeframe: Timeframe, size: int, closed: int) -> Segment:
    """One page with `wanted` in its middle, up to `closed`; its first `size` bars where it is longer."""
    room = max(0, size - timeframe.count(*wanted))
    high = min(timeframe.shift(wanted.end, room // 2), closed)
    low = timeframe.shift(wanted.start, -(room - room // 2))
    return Segment(low, max(low, min(high, timeframe.shift(low, size))))


def unwitnessed(pages: Sequence[Page], wanted: Sequence[Segment], timeframe: Timeframe) -> list[Segment]:
    """What of `wanted` no page has shown between two of its bars."""
    spans = witnessed_spans(pages, timeframe)
    return [hole for segment in wanted for hole in missing_ranges(spans, segment, timeframe)]


def witnessed_spans(pages: Sequence[Page], timeframe: Timeframe) -> list[Segment]:
    """Joined ranges that pages have shown between two of their bars."""
    spans = [(page, span) for page in pages if (span := page.witnessed(timeframe)) is not None]
    return merge_ranges(
        [
            part
            for page, span in spans
            for part in (missing_ranges(page.astray, span, timeframe) if page.astray else [span])
        ],
        timeframe,
    )


def known_opens(pages: Sequence[Page], timeframe: Timeframe) -> np.ndarray:
    """Sorted unique opens that any page has shown."""
    every = [page.opens(timeframe) for page in pages]
    return distinct(np.concatenate(every)) if every else np.array([], dtype=np.int64)


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


def merged_candles(pages: Sequence[Page]) -> pa.Table:
    """Candles of all pages; an open that several pages sent is kept as the latest page sent it."""
    sent = pa.concat_tables([page.candles for page in pages], promote_options="permissive")
    page_of = np.repeat(np.arange(len(pages)), [page.candles.num_rows for page in pages])
    opens, open_of = np.unique(timestamps(sent), return_inverse=True)
    latest = np.zeros(len(opens), dtype=np.int64)
    np.maximum.at(latest, open_of, page_of)
    return sent.filter(pa.array(page_of == latest[open_of]))


def witnesses_of(timeframe: Timeframe, served: Sequence[Timeframe]) -> list[Timeframe]:
    """Of the ascending `served` timeframes, up to three whose bars are made of whole bars of `timeframe`.

    The nearest says most; pages of the others span longer holes.
    """
    own = timeframe.seconds
    whole = [(f, f.seconds // own) for f in served if own and f.seconds and f.seconds % own == 0]
    usable = [(f, ratio) for f, ratio in whole if f.approximate_seconds <= 86_400]
    found = (next((f for f, ratio in usable if ratio >= least), None) for least in WITNESS_RATIOS)
    return [f for f in dict.fromkeys(found) if f is not None]
