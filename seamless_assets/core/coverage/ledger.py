"""The coverage ledger: facts about bars that are not there, appended and never changed."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import pyarrow as pa

from seamless_assets.core.bars.epochs import SECONDS_LIMIT
from seamless_assets.core.bars.table import empty_table
from seamless_assets.core.calendar.segment import Segment, outside
from seamless_assets.core.coverage.coverage import (
    ABSENT_REASONS,
    DECLARED,
    HALTED,
    MISSING,
    NO_TRADES,
    RETENTION,
    Gap,
)

LOOKS_S = (60.0, 300.0, 1_800.0, 7_200.0, 86_400.0)
"""Seconds from a vain look to the next; the last holds for all that follow."""
SOON_LOOKS_S = (3.0, 10.0, 30.0)
"""Those before them where bars have just closed."""
UNANSWERED_S = 15.0
"""Seconds until the next look where the exchange gave no answer at all, which says nothing of the bars."""
CLOCK_TOLERANCE_S = 600.0
"""The clocks of workers differ: a look that is dated no further ahead is one of just now."""
SAME_TIME_S = 5.0
"""What is recorded so shortly before a release may be of after it: it is dated by when it began."""
DENIED = "denied"
"""The reason of a look that found bars to exist though they are not sent: no earlier proof outweighs it."""
REVOKED = "revoked"
"""The reason of taking back what an operator declared."""
FROM_TRADES = "from_trades"
"""The reason of a fact that tells of which trades the bars of its range were made, where there are any."""
FROM_CANDLES = "from_candles"
"""The reason of a fact that such bars came as candles since."""
FROM_ARCHIVE = "from_archive"
"""The reason of a fact that tells of which file of the exchange's archive the bars of its range are."""
ARCHIVE_DIFFERS = "archive_differs"
"""The reason of a fact that the exchange sent bars of its range by other values than that file has."""
_PROVENANCE = frozenset({FROM_TRADES, FROM_CANDLES, FROM_ARCHIVE, ARCHIVE_DIFFERS})
_REASONS = frozenset({*ABSENT_REASONS, MISSING, DENIED, REVOKED, *_PROVENANCE})
_UNDENIABLE = frozenset({DECLARED, RETENTION})
_MAX_LOOKS = 1_000_000
_RANKS: dict[str, int] = {"outage": -2, HALTED: -1, DECLARED: 1}
AWAITING = "bars on both sides, but too long for chance, and nothing else tells of it yet"
"""The evidence of a look at a hole that wants a second witness."""
FACTS_SCHEMA = pa.schema(
    [
        ("start", pa.int64()),
        ("end", pa.int64()),
        ("reason", pa.string()),
        ("evidence", pa.string()),
        ("recorded_at", pa.float64()),
        ("attempts", pa.int64()),
        ("next_try", pa.float64()),
    ]
)


@dataclass(frozen=True, slots=True)
class Fact:
    """One appended line of the coverage ledger, about the bars of `[start, end)`.

    `reason` is an absent reason (a proof), `missing` or `denied` (a look that proved nothing, or the
    contrary), `revoked` (an operator took back what was declared), or says what bars were made of
    (`from_trades`, `from_candles`, `from_archive`, `archive_differs`). `recorded_at` and `next_try` are
    epoch seconds; `attempts` counts the looks so far.
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
        """Whether it says that the bars do not exist."""
        return self.reason in ABSENT_REASONS

    @property
    def is_look(self) -> bool:
        """Whether it tells of a look after which bars stayed missing."""
        return self.reason in (MISSING, DENIED)

    @property
    def segment(self) -> Segment:
        """Its range alone."""
        return Segment(self.start, self.end)

    def rests_at(self, now: float) -> bool:
        """Whether it is a vain look whose next one is still to come at `now` (epoch seconds)."""
        if not self.is_look or self.next_try is None or self.is_dated_ahead(now):
            return False
        return now < self.next_try

    def is_dated_ahead(self, now: float) -> bool:
        """Whether it lies so far ahead of `now` that its clock was wrong: nothing rests on such a look."""
        return self.recorded_at - CLOCK_TOLERANCE_S > now


@dataclass(frozen=True, slots=True)
class MadeRange:
    """A range whose bars the exchange did not send as candles, and of what they are, as `evidence` tells.

    That is the number and SHA-256 of trades, or a file of the exchange's archive with its SHA-256.
    """

    start: int
    end: int
    evidence: str

    @property
    def segment(self) -> Segment:
        """Its range alone."""
        return Segment(self.start, self.end)

    def within(self, window: Segment) -> list[MadeRange]:
        """What of it lies in `window`."""
        part = self.segment.intersect(window)
        return [] if part.is_empty else [replace(self, start=part.start, end=part.end)]


def made_ranges(
    facts: Iterable[Fact], released: Sequence[MadeRange] = (), reason: str = FROM_TRADES
) -> list[MadeRange]:
    """Where bars are made of trades, or of what `reason` says; ascending and disjoint.

    That is as `released`, and as facts say since.
    """
    ranges = list(released)
    for fact in facts:
        if fact.reason in _PROVENANCE:
            ranges = without(ranges, [fact.segment])
        if fact.reason == reason:
            ranges.append(MadeRange(fact.start, fact.end, fact.evidence))
    joined: list[MadeRange] = []
    for one in sorted(ranges, key=lambda one: one.start):
        if joined and (joined[-1].end, joined[-1].evidence) == (one.start, one.evidence):
            joined[-1] = replace(joined[-1], end=one.end)
        else:
            joined.append(one)
    return joined


def without(ranges: Iterable[MadeRange], replaced: Sequence[Segment]) -> list[MadeRange]:
    """The ranges but for what was replaced of them; `replaced` are ascending and disjoint."""
    return [
        replace(one, start=part.start, end=part.end)
        for one in ranges
        for part in outside(one.segment, replaced)
    ]


def recorded_by(facts: Iterable[Fact], now: float) -> list[Fact]:
    """The facts as recorded at `now`, but for looks in vain: those are weighed with no release."""
    return [
        fact if fact.reason == MISSING or fact.recorded_at == now else _recorded_at(fact, now)
        for fact in facts
    ]


def _recorded_at(fact: Fact, now: float) -> Fact:
    pause = None if fact.next_try is None else fact.next_try - fact.recorded_at
    return replace(fact, recorded_at=now, next_try=None if pause is None else now + pause)


def resting(facts: Iterable[Fact], now: float) -> list[Segment]:
    """Ranges whose next look is still to come at `now`; what was revoked since the last is due at once."""
    found: list[Segment] = []
    for fact in facts:
        if fact.rests_at(now):
            found.append(fact.segment)
        elif fact.reason == REVOKED:
            found = [rest for part in found for rest in outside(part, [fact.segment])]
    return found


@dataclass(frozen=True, slots=True)
class ReleasedGap:
    """A gap as a release in force has it, and since when that was known (epoch seconds)."""

    gap: Gap
    since: float = -math.inf

    def without(self, fact: Fact) -> list[ReleasedGap]:
        """What a denial or a revocation leaves of it: all, where that was recorded before."""
        if fact.recorded_at <= self.since - SAME_TIME_S:
            return [self]
        return [replace(self, gap=part) for part in _without(self.gap, fact)]


def proven_gaps(facts: Sequence[Fact], released: Sequence[ReleasedGap] = ()) -> list[Gap]:
    """What was `released` as absent and facts prove so, in the order in which they were recorded.

    The first of several proofs counts, but an outage goes before all other reasons, a halt before the rest,
    and what an operator declared after all. A release outweighs what was recorded against it before: the
    ledger may be an older one, or another machine's.
    """
    in_force, gaps = list(released), list[Gap]()
    for fact in facts:
        if fact.is_proof:
            gaps.append(Gap(fact.start, fact.end, fact.reason))
        elif fact.reason != MISSING and fact.reason not in _PROVENANCE:
            gaps = [part for gap in gaps for part in _without(gap, fact)]
            in_force = [part for one in in_force for part in one.without(fact)]
    return sorted([*(one.gap for one in in_force), *gaps], key=lambda gap: _RANKS.get(gap.reason, 0))


def outweighed(facts: Sequence[Fact], missing: Sequence[ReleasedGap]) -> list[Fact]:
    """The facts without what they prove of bars that a later release has as `missing`.

    What an operator declared, and what is out of retention, is no matter of that release.
    """
    found = list(facts)
    for one in missing:
        found = [part for fact in found for part in _cut(fact, one)]
    return found


def _cut(fact: Fact, missing: ReleasedGap) -> list[Fact]:
    is_older = fact.is_proof and fact.recorded_at <= missing.since - SAME_TIME_S
    if not is_older or fact.reason in _UNDENIABLE or fact.segment.intersect(missing.gap.segment).is_empty:
        return [fact]
    return [
        replace(fact, start=part.start, end=part.end) for part in outside(fact.segment, [missing.gap.segment])
    ]


def news(facts: Iterable[Fact], known: Sequence[Gap]) -> list[Fact]:
    """The facts that say more than the gaps that are `known`: something of another range, or another reason.

    That nobody traded in a part of what is known as a halt is no news.
    """
    said = set(known)
    halts = [gap for gap in known if gap.reason == HALTED]
    return [
        fact
        for fact in facts
        if Gap(fact.start, fact.end, fact.reason) not in said
        and not (
            fact.reason == NO_TRADES
            and any(halt.start <= fact.start and fact.end <= halt.end for halt in halts)
        )
    ]


def facts_table(facts: Iterable[Fact]) -> pa.Table:
    """Facts as a table of `FACTS_SCHEMA`, in their order."""
    rows = list(facts)
    if not rows:
        return empty_table(FACTS_SCHEMA)
    columns = {field.name: [getattr(fact, field.name) for fact in rows] for field in fields(Fact)}
    return pa.table(columns, FACTS_SCHEMA)


def facts_of(table: pa.Table) -> list[Fact]:
    """The rows of a table of `FACTS_SCHEMA` as facts, in their order.

    A row that no fact can be, as a damaged file has them, is as if it were not there; one that puts the next
    look off for longer than is ever done does so no longer than that.
    """
    if not table.num_rows:
        return []
    facts = [Fact(**row) for row in table.to_pylist() if _can_be(row)]
    return [fact if fact.next_try is None else replace(fact, next_try=_in_time(fact)) for fact in facts]


def possible_fact(
    start: Any,
    end: Any,
    reason: Any,
    evidence: Any,
    recorded_at: Any,
    attempts: Any,
    next_try: Any,
) -> bool:
    """Whether a row that a store hands back can be a fact."""
    moments = [recorded_at] if next_try is None else [recorded_at, next_try]
    return (
        isinstance(start, int)
        and isinstance(end, int)
        and start < end
        and bool(reason)
        and isinstance(evidence, str)
        and all(isinstance(moment, float) and math.isfinite(moment) for moment in moments)
        and isinstance(attempts, int)
        and attempts >= 0
    )


def next_look(looks: int, is_newest: bool = False, soon: int = 0) -> float:
    """Seconds until the next look after `looks` (from 1) that proved nothing: a few soon, then rarely.

    Bars that have just closed may only be late. `soon` of the looks were made while they had: those make
    nothing rare.
    """
    delays = (*SOON_LOOKS_S, *LOOKS_S) if is_newest else LOOKS_S
    place = looks if is_newest else max(1, looks - soon)
    return delays[min(place, len(delays)) - 1]


def was_soon(fact: Fact) -> bool:
    """Whether a look was one of those that bars get which have just closed."""
    pause = math.inf if fact.next_try is None else fact.next_try - fact.recorded_at
    # Sums of seconds since 1970 keep about a microsecond.
    return any(abs(pause - soon) < 0.001 for soon in SOON_LOOKS_S)


def _without(gap: Gap, fact: Fact) -> list[Gap]:
    """What a denial, or the revocation of what was declared, leaves of a gap."""
    is_meant = gap.reason == DECLARED if fact.reason == REVOKED else gap.reason not in _UNDENIABLE
    if not is_meant or fact.end <= gap.start or gap.end <= fact.start:
        return [gap]
    return [Gap(*part, gap.reason) for part in outside(gap.segment, [fact.segment])]


def _can_be(row: dict[str, Any]) -> bool:
    """Whether a fact of this program can look so."""
    return (
        possible_fact(**row)
        and max(abs(row["start"]), abs(row["end"])) <= SECONDS_LIMIT
        and 0 <= row["recorded_at"] <= SECONDS_LIMIT
        and row["reason"] in _REASONS
        and 1 <= row["attempts"] <= _MAX_LOOKS
    )


def _in_time(fact: Fact) -> float:
    latest = fact.recorded_at + LOOKS_S[-1]
    next_look = fact.next_try if fact.next_try is not None else latest
    return min(next_look, latest) if math.isfinite(next_look) else latest
