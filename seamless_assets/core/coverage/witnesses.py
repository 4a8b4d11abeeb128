"""What other series of a symbol, and its trades, say of bars that are not there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from seamless_assets.core.bars.sorted_sets import difference, distinct, is_in, require_ascending
from seamless_assets.core.bars.table import timestamps
from seamless_assets.core.calendar.segment import Segment, merge_ranges, outside
from seamless_assets.core.calendar.timeframe import WEEK, Timeframe
from seamless_assets.core.coverage.alignment import floored
from seamless_assets.core.coverage.coverage import bars_of, holes
from seamless_assets.core.coverage.pages import NO_OPENS, Page, witnessed_spans
from seamless_assets.core.coverage.proof import Denial, Proof, joined

DAY = 86_400
NEAREST, NEXT = 5, 60
"""Bars of the finer series in one of the coarser ones: the nearest says most, pages of the next span more."""
_LEAST_TRADED = 1e-8
_ROUNDING = 1e-12
_FAITHFUL_SHARE = 0.9
_FEWEST_CELLS = 3


@dataclass(frozen=True, slots=True)
class Trades:
    """An answered page of trades: their times in epoch seconds, sorted, as far as they lie in `asked`.

    `is_bounded`: the end of `asked` was sent too, so that they may be the last ones before it. `prices` and
    `amounts` are theirs, in that order; None where one of them has none.
    """

    asked: Segment
    times: np.ndarray
    is_bounded: bool = False
    prices: np.ndarray | None = None
    amounts: np.ndarray | None = None

    def __post_init__(self) -> None:
        if not (np.isfinite(self.times).all() and (self.times[1:] >= self.times[:-1]).all()):
            raise AssertionError("times of trades are not sorted, or none")


@dataclass(frozen=True, slots=True)
class Volumes:
    """Bars of one series as far as their volume tells something: opens (sorted), volumes, and where they are
    `complete`: inside these ranges every bar there is was sent."""

    timeframe: Timeframe
    opens: np.ndarray
    traded: np.ndarray
    complete: tuple[Segment, ...]

    def __post_init__(self) -> None:
        require_ascending(self.opens, "opens")

    def near(self, parts: Sequence[Segment]) -> Volumes:
        """The bars from the one that holds the beginning of `parts` to the one that holds their end."""
        if not parts:
            return self
        start = self.timeframe.floor(min(part.start for part in parts))
        low, high = np.searchsorted(self.opens, (start, max(part.end for part in parts)))
        return Volumes(self.timeframe, self.opens[low:high], self.traded[low:high], self.complete)

    def with_others(self, others: Volumes, own: Segment) -> Volumes:
        """These inside `own`, and outside of it the others, where they have a bar."""
        is_new = (others.opens < own.start) | (others.opens >= own.end)
        # What is stored there may be older than what the others were just sent.
        is_kept = ~is_in(self.opens, others.opens[is_new])
        opens = np.concatenate([self.opens[is_kept], others.opens[is_new]])
        traded = np.concatenate([self.traded[is_kept], others.traded[is_new]])
        order = np.argsort(opens, kind="stable")
        beyond = [part for span in others.complete for part in outside(span, [own])]
        complete = merge_ranges([*self.complete, *beyond], self.timeframe)
        return Volumes(self.timeframe, opens[order], traded[order], tuple(complete))

    def is_complete(self, part: Segment) -> bool:
        """Whether nothing is left out of a part."""
        return any(span.start <= part.start and part.end <= span.end for span in self.complete)


@dataclass(frozen=True, slots=True)
class Testimony:
    """What a witness says of holes: bars proven absent, and bars that it says exist."""

    proofs: tuple[Proof, ...] = ()
    denials: tuple[Denial, ...] = ()


def coarser_frames(timeframe: Timeframe, served: Sequence[Timeframe]) -> list[Timeframe]:
    """Of the ascending `served` timeframes, those to ask whose bars are made of whole bars of `timeframe`.

    The nearest, one of some dozens of bars, the day, and the month (or the week) for pauses of years.
    """
    own = timeframe.seconds
    if own is None:
        return []
    whole = [f for f in served if f > timeframe and _holds_whole_bars(f, own)]
    within_a_day = [f for f in whole if f.approximate_seconds <= DAY]
    near = (
        next((f for f in within_a_day if f.approximate_seconds >= n * own), None) for n in (NEAREST, NEXT)
    )
    days = within_a_day[-1:] if within_a_day and within_a_day[-1].seconds == DAY else []
    longest = [f for f in whole if f.text == "1M"] or [f for f in whole if f.seconds == WEEK]
    return sorted({f for f in (*near, *days, *longest) if f is not None})


def finer_frames(timeframe: Timeframe, served: Sequence[Timeframe]) -> list[Timeframe]:
    """Of the ascending `served` timeframes, the longest of whose whole bars `timeframe` is made, if any."""
    whole = [f for f in served if f < timeframe and f.seconds and _holds_whole_bars(timeframe, f.seconds)]
    return [f for f in whole if f.approximate_seconds >= 60][-1:]


def volumes_of(pages: Sequence[Page], timeframe: Timeframe) -> Volumes:
    """The bars of pages that open on the grid and have a volume; of repeats the one that came last.

    Where a row has none that can be, nothing is complete.
    """
    found: dict[int, float] = {}
    unsound = [NO_OPENS]
    for page in pages:
        ts = timestamps(page.candles)
        volumes = np.asarray(page.candles.column("volume").to_numpy(), dtype=np.float64)
        is_on_grid = (ts % 1000 == 0) & (floored(ts // 1000, timeframe) * 1000 == ts)
        is_sound = is_on_grid & (volumes >= 0)
        unsound.append(ts[is_on_grid & ~is_sound] // 1000)
        found.update(zip((ts[is_sound] // 1000).tolist(), volumes[is_sound].tolist(), strict=True))
    opens = np.array(sorted(found), dtype=np.int64)
    spans = witnessed_spans([page for page in pages if page.is_whole], timeframe)
    left_out = bars_of(difference(distinct(np.concatenate(unsound)), opens), timeframe)
    complete = tuple(part for span in spans for part in outside(span, left_out))
    return Volumes(timeframe, opens, np.array([found[ts] for ts in opens.tolist()]), complete)


def volumes_in(bars: pa.Table, timeframe: Timeframe, complete: Sequence[Segment]) -> Volumes:
    """The same of sound bars, sorted by `ts`."""
    return Volumes(timeframe, timestamps(bars), bars.column("volume").to_numpy(), tuple(complete))


def by_volume(empty: Sequence[Segment], bars: Volumes, coarser: Volumes) -> Testimony:
    """What the volumes of coarser bars say of `empty` ranges among `bars`.

    A coarser bar of no volume, and one whose volume is that of the bars inside it, show that nothing else
    was traded. One that holds more, where all that was sent of its range is known, says that a bar was not
    sent; it is heard where its series agrees with the finer one elsewhere.
    """
    frame = coarser.timeframe
    coarser = coarser.near([*empty, *bars.complete])
    ends = np.array([frame.shift(int(ts), 1) for ts in coarser.opens], dtype=np.int64)
    total = np.concatenate(([0.0], np.cumsum(bars.traded)))
    low, high = np.searchsorted(bars.opens, coarser.opens), np.searchsorted(bars.opens, ends)
    more = coarser.traded - (total[high] - total[low])
    is_equal = np.abs(more) <= _LEAST_TRADED + _ROUNDING * coarser.traded
    is_heard = _is_faithful(bars, coarser.opens, ends, high - low, is_equal)
    proofs: list[Proof] = []
    denials: list[Denial] = []
    for hole in empty:
        first, last = np.searchsorted(ends, hole.start, "right"), np.searchsorted(coarser.opens, hole.end)
        for at in range(int(first), int(last)):
            cell = Segment(int(coarser.opens[at]), int(ends[at]))
            part = hole.intersect(cell)
            if coarser.traded[at] == 0:
                proofs.append(Proof(*part, "no_trades", f"the {frame} bar has no volume"))
            elif is_equal[at]:
                evidence = f"the {frame} bar holds the volume of its {bars.timeframe} bars and no more"
                proofs.append(Proof(*part, "no_trades", evidence))
            elif is_heard and more[at] > 0 and bars.is_complete(cell):
                denials.append(Denial(*part, f"the {frame} bar holds more than its {bars.timeframe} bars"))
    return Testimony(tuple(joined(proofs)), tuple(denials))


def by_times(
    empty: Sequence[Segment], timeframe: Timeframe, spans: Sequence[Segment], times: np.ndarray, what: str
) -> Testimony:
    """What the sorted `times` at which something was traded say of `empty` ranges, known within `spans`.

    `what` names them: a bar that holds one of them exists, and one inside the spans that holds none does not.
    """
    traded = distinct(floored(np.floor(times).astype(np.int64), timeframe))
    shown = merge_ranges(spans, 1)
    proofs: list[Proof] = []
    denials: list[Denial] = []
    for hole in empty:
        low, high = np.searchsorted(traded, hole)
        busy = [(int(ts), timeframe.shift(int(ts), 1)) for ts in traded[low:high]]
        denials += [Denial(*part, f"{what} within") for part in merge_ranges(busy, timeframe)]
        for span in shown:
            part = span.whole_bars(timeframe.grid).intersect(hole)
            first, last = np.searchsorted(traded, part)
            proofs += [
                Proof(*quiet, "no_trades", f"{what} before and after, none within")
                for quiet in holes(timeframe, part, traded[first:last])
            ]
    return Testimony(tuple(joined(proofs)), tuple(denials))


def _is_faithful(
    bars: Volumes, opens: np.ndarray, ends: np.ndarray, counts: np.ndarray, is_equal: np.ndarray
) -> bool:
    """Whether the coarser series holds what the finer one holds: of coarser bars whose finer bars are all
    there nearly all agree; where there are too few of those, of all coarser bars most do."""
    cells = [Segment(int(start), int(end)) for start, end in zip(opens, ends, strict=True)]
    known = np.array([bars.is_complete(cell) for cell in cells], dtype=bool)
    full = np.array([bars.timeframe.count(*cell) for cell in cells], dtype=np.int64)
    is_full = known & (counts == full)
    if np.count_nonzero(is_full) >= _FEWEST_CELLS:
        return bool(np.mean(is_equal[is_full]) >= _FAITHFUL_SHARE)
    return bool(known.any() and 2 * np.count_nonzero(is_equal & known) > np.count_nonzero(known))


def _holds_whole_bars(coarser: Timeframe, own: int) -> bool:
    """Whether each bar of `coarser` is made of whole bars of `own` seconds, for frames worth asking."""
    if coarser.is_calendar:
        return coarser.text == "1M" and DAY % own == 0
    length = coarser.approximate_seconds
    return length % own == 0 and (DAY % length == 0 or (length == WEEK and DAY % own == 0))
