"""What came of a benchmark."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

State = Literal["passed", "failed", "not tried"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """One benchmark on one node: what was measured, and why it failed or could not be tried."""

    benchmark: str
    node_id: str
    state: State
    measured: str
    reason: str = ""


def outcome(benchmark: str, node_id: str, measured: str, faults: Sequence[str]) -> Outcome:
    """Passed where no fault was found."""
    return Outcome(benchmark, node_id, "failed" if faults else "passed", measured, "; ".join(faults))


def as_record(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """Plain values, for programs."""
    return {"passed": is_accepted(outcomes), "benchmarks": [asdict(found) for found in outcomes]}


def is_accepted(outcomes: Sequence[Outcome]) -> bool:
    """Whether something was tried and nothing failed."""
    states = {found.state for found in outcomes}
    return "failed" not in states and "passed" in states
