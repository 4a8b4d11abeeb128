"""Coverage: which expected bars of a window are present, proven absent, or missing."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, NamedTuple, get_args

import numpy as np

from seamless_assets.core.segment import Segment
from seamless_assets.core.timeframe import Timeframe

AbsentReason = Literal["no_trades", "outage", "pre_listing", "post_delisting", "retention"]
ABSENT_REASONS: tuple[AbsentReason, ...] = get_args(AbsentReason)
MISSING = "missing"


class Gap(NamedTuple):
    """Bars of `[start, end)` that are not present; `reason` is an absent reason or `missing`."""

    start: int
    end: int
    reason: str

    @property
    def segment(self) -> Segment:
        """Its range alone."""
        return Segment(self.start, self.end)


@dataclass(frozen=True, slots=True)
class Fact:
    """One appended line of the coverage ledger.

    `reason` is an absent reason (a proof) or `missing` (an attempt that proved nothing).
    `recorded_at` and `next_try` are epoch seconds; `attempts` counts the looks so far.
    """

    start: int
    end: int
    reason: str
    evidence: str
    recorded_at: float
    attempts: int = 1
    next_try: float | None = None

    @property
    def is_proof(self) -> bool:
        """Whether it proves the bars absent."""
        return self.reason != MISSING


@dataclass(frozen=True, slots=True)
class Coverage:
    """Counts of bars: `expected == present + absent + missing`; `gaps` ascending and disjoint."""

    expected: int
    present: int
    absent: int
    missing: int
    gaps: tuple[Gap, ...]

    @property
    def ratio(self) -> float:
        """present / (expected - absent); 1.0 where nothing can be expected."""
        possible = self.expected - self.absent
        return self.present / possible if possible else 1.0

    @property
    def missing_gaps(self) -> tuple[Gap, ...]:
        """The gaps nobody can explain."""
        return tuple(gap for gap in self.gaps if gap.reason == MISSING)


def coverage_of(timeframe: Timeframe, window: Segment, ts: np.ndarray, absent: Iterable[Gap]) -> Coverage:
    """Coverage of the whole bars of `window`, given sorted unique opens `ts` and proven gaps.

    A present bar wins over a proof of its absence. Earlier proofs win over later ones.
    """
    bounds = window.whole_bars(timeframe.grid)
    inside = ts[(ts >= bounds.start) & (ts < bounds.end)]
    expected = timeframe.count(bounds.start, bounds.end)
    if len(inside) == expected:
        return Coverage(expected, expected, 0, 0, ())
    gaps = tuple(
        part for hole in holes(timeframe, bounds, inside) for part in _explained(hole, _inside(hole, absent))
    )
    counts = [(timeframe.count(gap.start, gap.end), gap.reason) for gap in gaps]
    missing = sum(count for count, reason in counts if reason == MISSING)
    return Coverage(expected, len(inside), expected - len(inside) - missing, missing, gaps)


def holes(timeframe: Timeframe, window: Segment, ts: np.ndarray) -> list[Segment]:
    """Ranges of whole bars of `window` (on the grid) that the sorted opens `ts` lack."""
    if window.is_empty:
        return []
    if len(ts) == 0:
        return [window]
    if timeframe.seconds is None:
        closes = np.array([timeframe.shift(int(opened), 1) for opened in ts], dtype=np.int64)
    else:
        closes = ts + timeframe.seconds
    starts = np.concatenate(([window.start], closes))
    ends = np.concatenate((ts, [window.end]))
    at = np.flatnonzero(starts < ends)
    return [Segment(int(starts[i]), int(ends[i])) for i in at]


def _inside(hole: Segment, absent: Iterable[Gap]) -> list[Gap]:
    clipped = (Gap(*hole.intersect(gap.segment), gap.reason) for gap in absent)
    return [gap for gap in clipped if gap.start < gap.end]


def _explained(hole: Segment, proofs: list[Gap]) -> list[Gap]:
    edges = sorted({hole.start, hole.end, *(gap.start for gap in proofs), *(gap.end for gap in proofs)})
    parts: list[Gap] = []
    for start, end in pairwise(edges):
        reason = next((p.reason for p in proofs if p.start <= start and end <= p.end), MISSING)
        if parts and parts[-1].reason == reason:
            parts[-1] = Gap(parts[-1].start, end, reason)
        else:
            parts.append(Gap(start, end, reason))
    return parts
