"""Coverage: which expected bars of a window are present, proven absent, or missing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise, repeat
from typing import Literal, NamedTuple, get_args

import numpy as np

from seamless_assets.core.bars.sorted_sets import distinct, require_ascending
from seamless_assets.core.calendar.segment import Segment
from seamless_assets.core.calendar.timeframe import Timeframe

AbsentReason = Literal[
    "no_trades", "outage", "halted", "pre_listing", "post_delisting", "retention", "declared"
]
ABSENT_REASONS: tuple[AbsentReason, ...] = get_args(AbsentReason)
MISSING = "missing"
NO_TRADES: AbsentReason = "no_trades"
HALTED: AbsentReason = "halted"
PAUSES = (NO_TRADES, HALTED)
SHOWN_GAPS = 3
RETENTION: AbsentReason = "retention"
DECLARED: AbsentReason = "declared"


class Gap(NamedTuple):
    """Bars of `[start, end)` that are not present; `reason` is an absent reason or `missing`."""

    start: int
    end: int
    reason: str

    @property
    def segment(self) -> Segment:
        """Its range alone."""
        return Segment(self.start, self.end)


@dataclass(frozen=True, slots=True, repr=False)
class Coverage:
    """Counts of bars: `expected == present + absent + missing`; `gaps` ascending and disjoint.

    Of the absent ones `retention` are those that the exchange no longer serves, and `declared` those that an
    operator says do not exist: of neither is it proven that they never were.
    """

    expected: int
    present: int
    absent: int
    missing: int
    gaps: tuple[Gap, ...]
    retention: int = 0
    declared: int = 0

    def __repr__(self) -> str:
        """All counts, and the first gaps: a year of minutes may have thousands."""
        shown = [repr(gap) for gap in self.gaps[:SHOWN_GAPS]]
        more = len(self.gaps) - len(shown)
        gaps = ", ".join(shown) + (f", and {more} more" if more else "")
        return f"Coverage({self.counts}, of {self.expected}; gaps: [{gaps}])"

    @property
    def ratio(self) -> float:
        """present / (expected - absent); 1.0 where nothing can be expected."""
        possible = self.expected - self.absent
        return self.present / possible if possible else 1.0

    @property
    def proven(self) -> int:
        """The absent bars that never were."""
        return self.absent - self.retention - self.declared

    @property
    def held_ratio(self) -> float:
        """present / (expected - proven): what is held of all that may have been; 1.0 where nothing was."""
        possible = self.expected - self.proven
        return self.present / possible if possible else 1.0

    @property
    def absences(self) -> str:
        """The absent bars in words: `30 proven absent, 1300 out of retention, 10 declared absent`."""
        said = [f"{self.proven} proven absent"]
        said += [f"{self.retention} out of retention"] if self.retention else []
        said += [f"{self.declared} declared absent"] if self.declared else []
        return ", ".join(said)

    @property
    def missing_gaps(self) -> tuple[Gap, ...]:
        """The gaps nobody can explain."""
        return tuple(gap for gap in self.gaps if gap.reason == MISSING)

    @property
    def counts(self) -> str:
        """All counts in words."""
        return f"{self.present} present, {self.absences}, {self.missing} missing"


def coverage_of(timeframe: Timeframe, window: Segment, ts: np.ndarray, absent: Iterable[Gap]) -> Coverage:
    """Coverage of the whole bars of `window`, given sorted unique opens `ts` and proven gaps.

    A present bar wins over a proof of its absence. Earlier proofs win over later ones.
    """
    bounds = window.whole_bars(timeframe.grid)
    low, high = np.searchsorted(require_ascending(ts, "opens"), bounds)
    inside = ts[low:high]
    expected = timeframe.count(bounds.start, bounds.end)
    if len(inside) == expected:
        return Coverage(expected, expected, 0, 0, ())
    starts, ends = _holes(timeframe, bounds, inside)
    proofs = list(absent)
    if not proofs:
        return counted(timeframe, expected, tuple(map(Gap, starts, ends, repeat(MISSING))))
    return counted(timeframe, expected, _explained(list(map(Segment, starts, ends)), proofs))


def with_absent(known: Coverage, timeframe: Timeframe, absent: Sequence[Gap]) -> Coverage:
    """Coverage with those of its missing bars as absent that gaps say are; the first of several counts."""
    if not absent or not known.missing:
        return known
    others = [gap for gap in known.gaps if gap.reason != MISSING]
    explained = _explained([gap.segment for gap in known.missing_gaps], absent)
    return counted(timeframe, known.expected, sorted([*others, *explained]))


def counted(timeframe: Timeframe, expected: int, gaps: Sequence[Gap]) -> Coverage:
    """Coverage of `expected` bars, all there but those in the ascending disjoint `gaps` (on the grid)."""
    bars: Counter[str] = Counter()
    step = timeframe.seconds
    for start, end, reason in gaps:
        bars[reason] += timeframe.count(start, end) if step is None else (end - start) // step
    empty, missing = bars.total(), bars[MISSING]
    return Coverage(
        expected=expected,
        present=expected - empty,
        absent=empty - missing,
        missing=missing,
        gaps=tuple(gaps),
        retention=bars[RETENTION],
        declared=bars[DECLARED],
    )


def holes(timeframe: Timeframe, window: Segment, ts: np.ndarray) -> list[Segment]:
    """Ranges of whole bars of `window` (on the grid) that the sorted opens `ts` lack."""
    return list(map(Segment, *_holes(timeframe, window, ts)))


def _holes(timeframe: Timeframe, window: Segment, ts: np.ndarray) -> tuple[list[int], list[int]]:
    """Where they start, and where they end."""
    if window.is_empty or len(ts) == 0:
        return ([], []) if window.is_empty else ([window.start], [window.end])
    require_ascending(ts, "opens")
    starts = np.concatenate(([window.start], _closes(ts, timeframe)))
    ends = np.concatenate((ts, [window.end]))
    at = np.flatnonzero(starts < ends)
    return starts[at].tolist(), ends[at].tolist()


def holes_in(timeframe: Timeframe, spans: Iterable[Segment], ts: np.ndarray) -> list[Segment]:
    """The same of several ranges."""
    return [hole for span in spans for hole in holes(timeframe, span, ts[slice(*np.searchsorted(ts, span))])]


def bars_of(opens: np.ndarray, timeframe: Timeframe) -> list[Segment]:
    """The joined ranges of the bars that open at sorted `opens`."""
    if len(opens) == 0:
        return []
    closes = _closes(require_ascending(opens, "opens"), timeframe)
    is_cut = closes[:-1] != opens[1:]
    starts, ends = opens[np.append(True, is_cut)], closes[np.append(is_cut, True)]
    return [Segment(start, end) for start, end in zip(starts.tolist(), ends.tolist(), strict=True)]


def _closes(opens: np.ndarray, timeframe: Timeframe) -> np.ndarray:
    if timeframe.seconds is None:
        return np.array([timeframe.shift(int(opened), 1) for opened in opens], dtype=np.int64)
    closes: np.ndarray = opens + timeframe.seconds
    return closes


def _explained(empty: Sequence[Segment], proofs: Sequence[Gap]) -> tuple[Gap, ...]:
    """The disjoint ascending ranges of `empty`, cut and named by what `proofs` say of them."""
    bounds = np.array([*empty, *((proof.start, proof.end) for proof in proofs)], dtype=np.int64)
    edges = distinct(bounds.ravel())
    at = np.searchsorted(edges, bounds)
    named = np.full(len(edges), MISSING, dtype=object)
    for (first, last), proof in zip(at[len(empty) :][::-1], reversed(proofs), strict=True):
        named[first:last] = proof.reason
    gaps: list[Gap] = []
    for first, last in at[: len(empty)]:
        cuts = [first, *(i for i in range(first + 1, last) if named[i] != named[i - 1]), last]
        gaps += [Gap(int(edges[i]), int(edges[j]), named[i]) for i, j in pairwise(cuts)]
    return tuple(gaps)
