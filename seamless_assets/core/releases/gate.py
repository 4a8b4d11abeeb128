"""The gate of a release: what must hold before an artifact may move a node's `as_of`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from seamless_assets.core.calendar.instant import seconds_text
from seamless_assets.core.coverage.coverage import Coverage

CHECK_CONFORMANCE = "conformance"
CHECK_COVERAGE = "coverage"


@dataclass(frozen=True, slots=True)
class GateResult:
    """Outcome of the blocking checks: name to passed, and a sentence for each that failed."""

    checks: Mapping[str, bool]
    problems: tuple[str, ...]

    @property
    def passed(self) -> bool:
        """Whether the release may go out."""
        return all(self.checks.values())


def check_release(
    partition: str, blocking: Sequence[str], flags: Mapping[str, int], coverage: Coverage, threshold: float
) -> GateResult:
    """Judge one partition: no blocking conformance flag, and coverage at or above `threshold`."""
    problems: list[str] = []
    if blocking:
        counts = ", ".join(f"{name} {flags[name]}" for name in blocking)
        problems.append(
            f"{partition}: conformance found {counts}; materialize again once the exchange mends it"
        )
    if coverage.ratio < threshold:
        gap = coverage.missing_gaps[0]
        problems.append(
            f"{partition}: {coverage.missing} of {coverage.expected} bars are missing without proof, "
            f"the first at {seconds_text(gap.start)}; coverage {coverage.ratio:.4f} is below {threshold}"
        )
    return GateResult(
        {CHECK_CONFORMANCE: not blocking, CHECK_COVERAGE: coverage.ratio >= threshold}, tuple(problems)
    )
