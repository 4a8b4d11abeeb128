"""The coverage ledger: facts about bars that are not there, appended and never changed."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, fields
from typing import Any

import pyarrow as pa

from seamless_assets.core.coverage.coverage import MISSING

LOOKS_S = (60.0, 300.0, 1_800.0, 7_200.0, 86_400.0)
"""Seconds from a vain look to the next; the last holds for all that follow."""
CLOCK_TOLERANCE_S = 600.0
"""The clocks of workers differ: a look that is dated no further ahead is one of just now."""
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

    `reason` is an absent reason (a proof) or `missing` (a look that proved nothing). `recorded_at` and
    `next_try` are epoch seconds; `attempts` counts the looks so far.
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

    def rests_at(self, now: float) -> bool:
        """Whether it is a vain look whose next one is still to come at `now` (epoch seconds).

        A look that lies far ahead of `now` was dated by a clock that was wrong, and nothing rests on it.
        """
        if self.is_proof or self.next_try is None:
            return False
        return self.recorded_at - CLOCK_TOLERANCE_S <= now < self.next_try


def facts_table(facts: Iterable[Fact]) -> pa.Table:
    """Facts as a table of `FACTS_SCHEMA`, in their order."""
    rows = list(facts)
    columns = {field.name: [getattr(fact, field.name) for fact in rows] for field in fields(Fact)}
    return pa.table(columns, FACTS_SCHEMA)


def facts_of(table: pa.Table) -> list[Fact]:
    """The rows of a table of `FACTS_SCHEMA` as facts."""
    return [Fact(**row) for row in table.to_pylist()]


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


def next_look(looks: int) -> float:
    """Seconds until the next look after `looks` (from 1) that proved nothing: a few soon, then rarely."""
    return LOOKS_S[min(looks, len(LOOKS_S)) - 1]
