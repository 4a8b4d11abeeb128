"""Declarations: what an operator says of bars that nothing else can tell of, and what became of that.

A declaration is a fact of the ledger like any other, of the lowest rank: bars that are there and every proof
go before it. Who said it, why and when is kept with it, and it can be revoked.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np

from seamless_assets.core.calendar.instant import seconds_text
from seamless_assets.core.calendar.segment import Segment, merge_ranges, outside
from seamless_assets.core.calendar.timeframe import Timeframe
from seamless_assets.core.canonical import is_text
from seamless_assets.core.coverage.coverage import ABSENT_REASONS, DECLARED, Gap
from seamless_assets.core.coverage.ledger import REVOKED, Fact
from seamless_assets.errors import InvalidChoice, InvalidInput

OTHER = "other"
REASONS = (*(reason for reason in ABSENT_REASONS if reason != DECLARED), OTHER)
"""Why an operator may say that bars do not exist; `other` wants a note."""
LONGEST_NOTE = 500
_NAME = re.compile(r"[^\s:]{1,100}")
_EVIDENCE = re.compile(r"(?P<reason>\w+) by (?P<by>[^\s:]{1,100})(: (?P<note>.+))?", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Declaration:
    """That there are no bars in `[start, end)`: said `by` whom, for what `reason`, with which `note`.

    `declared_at` is in epoch seconds, `revoked` are the parts that were taken back. `contradicted` counts the
    bars that are there all the same, outside of those: they count, and the declaration is wrong there.
    """

    start: int
    end: int
    reason: str
    note: str
    by: str
    declared_at: float
    contradicted: int = 0
    revoked: tuple[Segment, ...] = ()

    @property
    def segment(self) -> Segment:
        """Its range alone."""
        return Segment(self.start, self.end)

    @property
    def in_force(self) -> tuple[Segment, ...]:
        """The parts that were not revoked."""
        return tuple(outside(self.segment, list(self.revoked)))

    def says(self, fact: Fact) -> bool:
        """Whether it is what a fact declares, whenever that was."""
        evidence = evidence_of(self.reason, self.note, self.by)
        return (self.start, self.end, DECLARED, evidence) == (
            fact.start,
            fact.end,
            fact.reason,
            fact.evidence,
        )

    def as_record(self) -> dict[str, Any]:
        """What a manifest keeps of it."""
        names = ("start", "end", "reason", "note", "by", "declared_at")
        return {name: getattr(self, name) for name in names}

    @classmethod
    def of(cls, fact: Fact) -> Self | None:
        """What a fact declares; None where it declares nothing that can be read."""
        said = _EVIDENCE.fullmatch(fact.evidence) if fact.reason == DECLARED else None
        if said is None:
            return None
        return cls(fact.start, fact.end, said["reason"], said["note"] or "", said["by"], fact.recorded_at)


def declared_fact(timeframe: Timeframe, window: Segment, reason: str, note: str, by: str, now: float) -> Fact:
    """The fact that nothing is in the whole bars of `window`.

    Raises `InvalidInput` where the window holds no whole bar, and for a reason, note or name that is none.
    """
    if not isinstance(reason, str) or reason not in REASONS:
        raise InvalidChoice(
            f"reason {reason!r} is not one of {', '.join(REASONS)}", value=reason, choices=REASONS
        )
    if reason == OTHER and not str(note).strip():
        raise InvalidInput("the reason other says nothing by itself; give a note that does", value=note)
    return Fact(*_bars_of(timeframe, window), DECLARED, evidence_of(reason, note, by), now)


def revoked_fact(timeframe: Timeframe, window: Segment, note: str, by: str, now: float) -> Fact:
    """The fact that nothing is declared of the whole bars of `window` any more. Raises `InvalidInput`."""
    return Fact(*_bars_of(timeframe, window), REVOKED, evidence_of(REVOKED, note, by), now)


def declarations_of(facts: Sequence[Fact], timeframe: Timeframe, opens: np.ndarray) -> list[Declaration]:
    """What facts (in the order recorded) declare, given the sorted `opens` of the bars that are there."""
    found: list[Declaration] = []
    for at, fact in enumerate(facts):
        said = Declaration.of(fact)
        if said is None:
            continue
        taken = [later.segment.intersect(said.segment) for later in facts[at:] if later.reason == REVOKED]
        revoked = tuple(merge_ranges([part for part in taken if not part.is_empty], timeframe))
        rest = outside(said.segment, list(revoked))
        contradicted = int(sum(np.diff(np.searchsorted(opens, part))[0] for part in rest))
        found.append(replace(said, contradicted=contradicted, revoked=revoked))
    return found


def contradictions(gaps: Iterable[Gap], opens: np.ndarray) -> list[str]:
    """A sentence for each of the `gaps` that is declared and holds some of the sorted `opens`."""
    said: list[str] = []
    for gap in gaps:
        first, last = np.searchsorted(opens, gap.segment)
        if gap.reason == DECLARED and first < last:
            window = f"{seconds_text(gap.start)} {seconds_text(gap.end)}"
            said.append(
                f"{last - first} bars came that were declared absent ({window}); they count, so revoke that"
            )
    return said


def _bars_of(timeframe: Timeframe, window: Segment) -> Segment:
    bars = window.whole_bars(timeframe.grid)
    if bars.is_empty:
        start, end = map(seconds_text, window)
        raise InvalidInput(f"there is no whole {timeframe} bar from {start} to {end}")
    return bars


def evidence_of(reason: str, note: str, by: str) -> str:
    """The evidence of what a person says. Raises `InvalidInput` for a note or a name that is none."""
    if not is_text(note) or len(note) > LONGEST_NOTE:
        raise InvalidInput(f"a note is a text of {LONGEST_NOTE} characters at most", value=str(note)[:40])
    if not is_text(by) or not _NAME.fullmatch(by):
        raise InvalidInput("who says so is a name without spaces and colons", value=str(by)[:40])
    return f"{reason} by {by}{f': {note.strip()}' if note.strip() else ''}"
