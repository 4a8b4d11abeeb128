"""What came of a benchmark."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

State = Literal["passed", "failed", "not tried"]
LEAST_COVERAGE = 0.98
_NAMES = {
    "reruns_are_identical": "same session, same bytes",
    "as_of_never_regresses": "as_of never regresses",
    "coverage_is_kept": f"coverage is at least {LEAST_COVERAGE:g}",
    "violations_are_counted": "SLA violations count and are honoured",
    "fingerprints_select": "a fingerprint selects its bars",
    "recovery": "recovery within ten minutes of an incident",
    "partial_fill": "a slow exchange leads to PARTIAL_FILL",
    "fetched_again": "same fingerprint whenever fetched",
}


def name_of(benchmark: Callable[..., Outcome]) -> str:
    """What a benchmark is called, whatever came of it."""
    return _NAMES[benchmark.__name__]


@dataclass(frozen=True, slots=True)
class Outcome:
    """One benchmark on one node: what was measured, and why it failed or could not be tried."""

    benchmark: str
    node_id: str
    state: State
    measured: str
    reason: str = ""


def outcome(benchmark: Callable[..., Outcome], node_id: str, measured: str, faults: Sequence[str]) -> Outcome:
    """Passed where no fault was found."""
    return Outcome(name_of(benchmark), node_id, "failed" if faults else "passed", measured, "; ".join(faults))


def as_record(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """Plain values, for programs."""
    return {"passed": is_accepted(outcomes), "benchmarks": [asdict(found) for found in outcomes]}


def is_accepted(outcomes: Sequence[Outcome]) -> bool:
    """Whether something was tried and nothing failed."""
    states = {found.state for found in outcomes}
    return "failed" not in states and "passed" in states
