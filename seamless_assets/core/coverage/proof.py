"""What proves that a bar is not there: pages, coarser bars, trades, and the reach of an exchange."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from seamless_assets.core.bars.sorted_sets import distinct
from seamless_assets.core.bars.table import timestamps
from seamless_assets.core.calendar.segment import Segment, merge_ranges, missing_ranges
from seamless_assets.core.calendar.timeframe import Timeframe
from seamless_assets.core.coverage.coverage import AbsentReason, holes
from seamless_assets.core.coverage.plan import Page, known_opens, witnessed_spans

SHORTEST_OUTAGE = 3
"""Bars; a hole of one or two says nothing of an exchange."""
ODDS = 1e-3
_LEAST_TRADED = 1e-8
_ROUNDING = 1e-12


class Proof(NamedTuple):
    """Bars of `[start, end)` that do not exist, why, and what shows it."""

    start: int
    end: int
    reason: AbsentReason
    evidence: str

    @property
    def segment(self) -> Segment:
        """Its range alone."""
        return Segment(self.start, self.end)


@dataclass(frozen=True, slots=True)
class Trades:
    """An answered page of trades: their times in epoch seconds, sorted, as far as they lie in `asked`."""

    asked: Segment
    times: np.ndarray


@dataclass(frozen=True, slots=True)
class Reach:
    """Where a series begins and ends for us, in epoch seconds; None where that is not known.

    `listed`: open of its first bar ever. `oldest`: open of the oldest bar that the exchange still serves.
    `delisted`: close of its last bar, where it is no longer traded.
    """

    listed: int | None = None
    oldest: int | None = None
    delisted: int | None = None

    def proofs(self, window: Segment) -> list[Proof]:
        """What of `window` lies out of reach, ascending."""
        start, end = window
        first = min(max(self.listed or start, start), end)
        served = min(max(self.oldest or first, first), end)
        last = max(min(end if self.delisted is None else self.delisted, end), served)
        found = [
            Proof(start, first, "pre_listing", f"first bar at {self.listed}"),
            Proof(first, served, "retention", f"nothing before {self.oldest} is served"),
            Proof(last, end, "post_delisting", f"no longer traded, last bar closed at {self.delisted}"),
        ]
        return [proof for proof in found if proof.start < proof.end]


def left_open(
    wanted: Sequence[Segment], settled: Sequence[Proof | Segment], timeframe: Timeframe
) -> list[Segment]:
    """What of the ascending disjoint `wanted` ranges is not settled."""
    ranges = merge_ranges([(part[0], part[1]) for part in settled], timeframe)
    starts, ends = [part.start for part in ranges], [part.end for part in ranges]
    return [
        part
        for segment in wanted
        for part in missing_ranges(
            ranges[bisect_right(ends, segment.start) : bisect_left(starts, segment.end)], segment, timeframe
        )
    ]


def silent(pages: Sequence[Page], bounds: Segment, timeframe: Timeframe) -> list[Segment]:
    """Holes in `bounds` between two bars of one page."""
    opens = known_opens(pages, timeframe)
    found: list[Segment] = []
    for span in witnessed_spans(pages, timeframe):
        part = span.intersect(bounds)
        low, high = np.searchsorted(opens, part)
        found += holes(timeframe, part, opens[low:high])
    return found


def surprising(quiet: Sequence[Segment], pages: Sequence[Page], timeframe: Timeframe) -> list[Segment]:
    """Those of the `quiet` holes between bars of `pages` that are too long for chance."""
    counts = [timeframe.count(*hole) for hole in quiet]
    bars = len(known_opens(pages, timeframe)) + sum(counts)
    return [
        hole
        for hole, count in zip(quiet, counts, strict=True)
        if is_surprising(count, sum(counts) - count, bars)
    ]


def by_coarser(
    open_holes: Sequence[Segment],
    timeframe: Timeframe,
    coarser: Timeframe,
    pages: Sequence[Page],
    bars: pa.Table,
) -> list[Proof]:
    """Proofs that `coarser` pages give for holes, `bars` being the sound bars known around them.

    A coarser bar of no volume, and one whose volume is that of the bars inside it, show that nothing else
    was traded.
    """
    opens, volumes = _volumes(pages, coarser)
    ts, traded = timestamps(bars), np.concatenate(([0.0], np.cumsum(bars.column("volume").to_numpy())))
    found: list[Proof] = []
    for hole in open_holes:
        first, last = np.searchsorted(opens, [coarser.floor(hole.start), hole.end])
        for opened, volume in zip(opens[first:last].tolist(), volumes[first:last].tolist(), strict=True):
            cell = Segment(opened, coarser.shift(opened, 1))
            low, high = np.searchsorted(ts, cell)
            evidence = _coarse_evidence(volume, float(traded[high] - traded[low]))
            if evidence and not hole.intersect(cell).is_empty:
                told = evidence.format(coarser=coarser, fine=timeframe)
                found.append(Proof(*hole.intersect(cell), "no_trades", told))
    return _joined(found)


def _coarse_evidence(volume: float, inside: float) -> str | None:
    if volume == 0:
        return "the {coarser} bar has no volume"
    if abs(volume - inside) <= _LEAST_TRADED + _ROUNDING * volume:
        return "the {coarser} bar holds the volume of its {fine} bars and no more"
    return None


def _volumes(pages: Sequence[Page], timeframe: Timeframe) -> tuple[np.ndarray, np.ndarray]:
    """Opens and volumes of sound coarse bars, sorted by open."""
    found: dict[int, float] = {}
    for page in pages:
        ts, volumes = timestamps(page.candles), page.candles.column("volume").to_numpy()
        for opened, volume in zip(ts.tolist(), volumes.tolist(), strict=True):
            if (
                opened % 1000 == 0
                and timeframe.floor(opened // 1000) == opened // 1000
                and volume is not None
            ):
                found[opened // 1000] = volume
    opens = np.array(sorted(found), dtype=np.int64)
    return opens, np.array([found[int(ts)] for ts in opens])


def by_trades(open_holes: Sequence[Segment], timeframe: Timeframe, answers: Sequence[Trades]) -> list[Proof]:
    """Proofs that pages of trades give: a bar without a trade, between two trades of one page."""
    times = distinct(np.concatenate([answer.times for answer in answers])) if answers else np.array([])
    shown = merge_ranges(
        [(int(answer.times[0]), int(answer.times[-1])) for answer in answers if len(answer.times)], 1
    )
    traded = distinct(np.array([timeframe.floor(int(time)) for time in times], dtype=np.int64))
    found: list[Proof] = []
    for hole in open_holes:
        for span in shown:
            part = span.whole_bars(timeframe.grid).intersect(hole)
            low, high = np.searchsorted(traded, part)
            found += [
                Proof(*quiet, "no_trades", "trades before and after, none within")
                for quiet in holes(timeframe, part, traded[low:high])
            ]
    return _joined(found)


def is_surprising(bars: int, absent: int, of: int) -> bool:
    """Whether a hole of `bars` is too long for chance in a page of `of` bars, `absent` of them elsewhere."""
    quiet = max(absent, 1) / max(of - bars, 1)
    return bars >= SHORTEST_OUTAGE and (quiet < 1) and of * quiet**bars < ODDS


def _joined(proofs: Sequence[Proof]) -> list[Proof]:
    joined: list[Proof] = []
    for proof in sorted(proofs):
        if joined and joined[-1].end == proof.start and joined[-1][2:] == proof[2:]:
            joined[-1] = Proof(joined[-1].start, *proof[1:])
        else:
            joined.append(proof)
    return joined
