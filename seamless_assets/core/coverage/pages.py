"""What an answered page shows: bars, bars that the exchange says are none, and what it proves of the rest."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pyarrow as pa

from seamless_assets.core.bars.epochs import SECONDS_LIMIT
from seamless_assets.core.bars.sorted_sets import difference, distinct, is_in
from seamless_assets.core.bars.table import PRICES, timestamps
from seamless_assets.core.calendar.segment import Segment, merge_ranges, missing_ranges
from seamless_assets.core.calendar.timeframe import Timeframe
from seamless_assets.core.coverage.alignment import floored, misaligned, off_grid_rows, tolerance_ms
from seamless_assets.core.node import NodeId

NO_OPENS = np.array([], dtype=np.int64)


@dataclass(frozen=True, slots=True)
class Page:
    """An answered page: candles inside the asked window (`ts` in ms), and how many rows were sent at all.

    `off_grid`: bars of which rows of another grid hold trades; the page shows nothing of them. `untraded`:
    opens (epoch seconds, sorted) of bars of which the exchange itself says that nobody traded. `is_whole`:
    every row that was sent could be read, so that a bar between two others that is not there was not sent.
    """

    asked: Segment
    candles: pa.Table
    served: int
    off_grid: tuple[Segment, ...] = ()
    untraded: np.ndarray = field(default_factory=lambda: NO_OPENS, compare=False)
    is_whole: bool = True
    _opens: dict[Timeframe, np.ndarray] = field(default_factory=dict, compare=False, repr=False)

    def opens(self, timeframe: Timeframe) -> np.ndarray:
        """Sorted unique opens of its bars in epoch seconds, on the grid; a row of zeros is no bar."""
        if timeframe not in self._opens:
            self._opens[timeframe] = distinct(floored(bar_times(self.candles) // 1000, timeframe))
        return self._opens[timeframe]

    def witnessed(self, timeframe: Timeframe) -> Segment | None:
        """From its first bar to its last: inside, a bar that is not there was not sent."""
        opens = self.opens(timeframe)
        if len(opens) == 0:
            return None
        return Segment(int(opens[0]), timeframe.shift(int(opens[-1]), 1))


def bar_times(candles: pa.Table) -> np.ndarray:
    """Sorted unique times (ms) of the rows that are bars."""
    prices = [candles.column(name).to_numpy() for name in PRICES]
    return distinct(timestamps(candles)[np.logical_or.reduce([price != 0 for price in prices])])


def page_of(
    node: NodeId, asked: Segment, sent: pa.Table, served: Iterable[Timeframe] = (), unreadable: int = 0
) -> Page:
    """The page that an answer makes: its rows inside the `asked` window, without the few of another grid.

    `unreadable` rows were sent besides. Raises `MisalignedTimeframe` where most rows are of another grid;
    `served` are the timeframes that the exchange has instead.
    """
    count = sent.num_rows + unreadable
    rows = sent.filter(pa.array(np.abs(timestamps(sent)) <= SECONDS_LIMIT * 1000))
    is_whole = rows.num_rows == count
    rows, untraded = _split_untraded(rows, asked, node.timeframe)
    timeframe = node.timeframe
    ts, found = timestamps(rows), off_grid_rows(bar_times(rows), timeframe)
    if found is not None and found.is_grid:
        raise misaligned(node, found, served)
    is_kept = (ts >= asked.start * 1000) & (ts < asked.end * 1000)
    if found is None:
        return Page(asked, rows.filter(pa.array(is_kept)), count, (), untraded, is_whole)
    kept = rows.filter(pa.array(is_kept & ~is_in(ts, found.times)))
    touched = floored(found.times // 1000, timeframe)
    touched = distinct(np.append(touched, [timeframe.shift(int(ts), 1) for ts in touched]))
    touched = difference(touched, floored(bar_times(kept) // 1000, timeframe))
    bars = [Segment(int(ts), timeframe.shift(int(ts), 1)) for ts in touched]
    return Page(asked, kept, count, tuple(merge_ranges(bars, timeframe)), untraded, is_whole)


def closed_part(page: Page, timeframe: Timeframe, closed: int) -> Page:
    """The page without rows whose own bar is still forming at `closed`, though the one they lie in is not."""
    latest = timeframe.shift(closed, -1) * 1000 + tolerance_ms(timeframe)
    is_closed = timestamps(page.candles) <= latest
    untraded = page.untraded[page.untraded < timeframe.floor(closed)]
    if is_closed.all() and len(untraded) == len(page.untraded):
        return page
    return replace(page, candles=page.candles.filter(pa.array(is_closed)), untraded=untraded, _opens={})


def unwitnessed(pages: Sequence[Page], wanted: Sequence[Segment], timeframe: Timeframe) -> list[Segment]:
    """What of `wanted` no page has shown between two of its bars."""
    spans = witnessed_spans(pages, timeframe)
    return [hole for segment in wanted for hole in missing_ranges(spans, segment, timeframe)]


def witnessed_spans(pages: Sequence[Page], timeframe: Timeframe) -> list[Segment]:
    """Joined ranges that pages have shown between two of their bars, ascending."""
    spans = [(page, span) for page in pages if (span := page.witnessed(timeframe)) is not None]
    return merge_ranges(
        [
            part
            for page, span in spans
            for part in (missing_ranges(page.off_grid, span, timeframe) if page.off_grid else [span])
        ],
        timeframe,
    )


def known_opens(pages: Sequence[Page], timeframe: Timeframe) -> np.ndarray:
    """Sorted unique opens that any page has shown."""
    every = [page.opens(timeframe) for page in pages]
    return distinct(np.concatenate(every)) if every else NO_OPENS


def untraded_opens(pages: Sequence[Page], timeframe: Timeframe) -> np.ndarray:
    """Sorted opens of which pages say that nobody traded, and none that there was a bar."""
    said = distinct(np.concatenate([page.untraded for page in pages])) if pages else NO_OPENS
    return difference(said, known_opens(pages, timeframe))


def merged_candles(pages: Sequence[Page]) -> pa.Table:
    """Candles of all pages; an open that several pages sent is kept as the latest page sent it.

    In no order, and with the repeats that one page held.
    """
    sent = pa.concat_tables([page.candles for page in pages], promote_options="permissive")
    page_of_row = np.repeat(np.arange(len(pages)), [page.candles.num_rows for page in pages])
    opens, open_of = np.unique(timestamps(sent), return_inverse=True)
    latest = np.zeros(len(opens), dtype=np.int64)
    np.maximum.at(latest, open_of, page_of_row)
    return sent.filter(pa.array(page_of_row == latest[open_of]))


def _split_untraded(rows: pa.Table, asked: Segment, timeframe: Timeframe) -> tuple[pa.Table, np.ndarray]:
    """The rows without those of no prices and volume 0, and the opens in `asked` that those name."""
    is_blank = np.logical_and.reduce([np.isnan(_numbers(rows, name)) for name in PRICES])
    is_blank &= _numbers(rows, "volume") == 0
    if not is_blank.any():
        return rows, NO_OPENS
    opens = distinct(timestamps(rows)[is_blank] // 1000)
    is_open = (floored(opens, timeframe) == opens) & (opens >= asked.start) & (opens < asked.end)
    return rows.filter(pa.array(~is_blank)), opens[is_open]


def _numbers(rows: pa.Table, name: str) -> np.ndarray:
    """A column of numbers, NaN where there is none."""
    return np.asarray(rows.column(name).to_numpy(), dtype=np.float64)
