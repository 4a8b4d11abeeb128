"""Proofs that bars do not exist, and the reach of a series."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

from seamless_assets.core.calendar.instant import OLDEST_MARKET
from seamless_assets.core.calendar.segment import Segment, merge_ranges, outside
from seamless_assets.core.calendar.timeframe import Timeframe
from seamless_assets.core.coverage.coverage import HALTED, NO_TRADES, PAUSES, AbsentReason, Gap

SHORTEST_HALT_S = 60 * 86_400
"""A pause of two months or more is no matter of nobody having traded for a while."""


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


class Denial(NamedTuple):
    """Bars of `[start, end)` that exist though they were not sent, and what shows it."""

    start: int
    end: int
    evidence: str

    @property
    def segment(self) -> Segment:
        """Its range alone."""
        return Segment(self.start, self.end)


S = TypeVar("S", Proof, Denial)


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


def before_markets(timeframe: Timeframe, window: Segment) -> list[Gap]:
    """The bars of `window` (on the grid) that closed before there was any market."""
    end = min(timeframe.floor(OLDEST_MARKET), window.end)
    return [Gap(window.start, end, "pre_listing")] if window.start < end else []


def pause_reason(pause: Segment) -> AbsentReason:
    """Why there are no bars in a pause that is proven, given all of it."""
    return HALTED if pause.end - pause.start >= SHORTEST_HALT_S else NO_TRADES


def named_by_pause(proofs: Sequence[Proof]) -> list[Proof]:
    """The proofs, those of nobody having traded named by the pause that they make with what they touch."""
    quiet = [proof for proof in proofs if proof.reason in PAUSES]
    pauses = merge_ranges([proof.segment for proof in quiet], 1)
    starts = [pause.start for pause in pauses]
    halted = {proof.segment for proof in quiet if proof.reason == HALTED}
    whole = {pauses[bisect_right(starts, part.start) - 1] for part in halted}
    named: list[Proof] = []
    for proof in proofs:
        pause = pauses[bisect_right(starts, proof.start) - 1] if proof.reason in PAUSES else None
        is_halt = pause is not None and (pause in whole or pause_reason(pause) == HALTED)
        named.append(proof._replace(reason=HALTED) if is_halt else proof)
    return named


def subtract(
    wanted: Sequence[Segment], settled: Sequence[Proof | Denial | Segment], timeframe: Timeframe
) -> list[Segment]:
    """What of the disjoint `wanted` ranges (on the grid) is not settled, each in pieces, in their order."""
    ranges = merge_ranges([(part[0], part[1]) for part in settled], timeframe)
    starts, ends = [part.start for part in ranges], [part.end for part in ranges]
    left: list[Segment] = []
    for segment in wanted:
        first, last = bisect_right(ends, segment.start), bisect_left(starts, segment.end)
        left += outside(segment, ranges[first:last]) if first < last else [segment]
    return left


def common(wanted: Sequence[Segment], others: Sequence[Segment]) -> list[Segment]:
    """What ascending disjoint ranges share with other such ranges, ascending."""
    starts, ends = [other.start for other in others], [other.end for other in others]
    return [
        segment.intersect(others[at])
        for segment in wanted
        for at in range(bisect_right(ends, segment.start), bisect_left(starts, segment.end))
    ]


def clipped(said: Sequence[S], parts: Sequence[Segment]) -> list[S]:
    """What was said, of the `parts` alone."""
    return [
        one._replace(start=part.start, end=part.end) for one in said for part in common([one.segment], parts)
    ]


def joined(proofs: Sequence[Proof]) -> list[Proof]:
    """Proofs of one reason and evidence that touch, as one each."""
    found: list[Proof] = []
    for proof in sorted(proofs):
        if found and found[-1].end == proof.start and found[-1][2:] == proof[2:]:
            found[-1] = Proof(found[-1].start, *proof[1:])
        else:
            found.append(proof)
    return found
