"""The verdict on a read, from what is known once its bars are gathered.

HOLD beats PARTIAL, PARTIAL beats PASS, and all reasons are reported, each as `code: sentence`. A reason
that leads to HOLD stands before one that leads to PARTIAL.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from seamless_assets.core.reading.context import Domain, Mode, Verdict
from seamless_assets.core.reading.sla import OnViolation

_HOLDING_MODES = frozenset({"compute-only", "validate"})
_DRY_MODES = frozenset({"paper", "shadow"})
UNAVAILABLE = "decision_unavailable"
"""The code of a decision that could not be had."""


class Evidence(NamedTuple):
    """What a verdict rests on.

    `expected`, `absent` and `missing` count bars of the asked window, `retention` and `declared` those of the
    absent ones that were never proven not to exist; `lag_s` is the time since the last
    delivered bar closed, by the exchange's clock, None where nothing was delivered. `as_of` and
    `dataset_fingerprint` are those served, `bound_as_of` and `bound_fingerprint` those that the session is
    bound to, `pinned` the `as_of` that it was set back to. `violations` names the phases that their budgets
    cut, `problems` are those of fills, `nearest` is the declared node that is nearest to an undeclared one,
    and `decision` is what a world service said.
    """

    domain: Domain | None
    expected: int
    absent: int
    missing: int
    retention: int = 0
    declared: int = 0
    min_coverage: float = 0.0
    allow_partial: bool = True
    lag_s: float | None = None
    max_lag_s: float | None = None
    as_of: str | None = None
    dataset_fingerprint: str | None = None
    bound_as_of: str | None = None
    bound_fingerprint: str | None = None
    pinned: str | None = None
    pin_reason: str = ""
    violations: tuple[str, ...] = ()
    on_violation: OnViolation = "PARTIAL_FILL"
    problems: tuple[str, ...] = ()
    nearest: str | None = None
    decision: Mode = "live"
    decision_reason: str = ""

    @property
    def coverage_ratio(self) -> float:
        """Present of what could be there; 1 where nothing could."""
        possible = self.expected - self.absent
        return (possible - self.missing) / possible if possible > 0 else 1.0


@dataclass(frozen=True, slots=True)
class Judgement:
    """A verdict with its reasons."""

    verdict: Verdict
    reasons: tuple[str, ...]


def judge(evidence: Evidence) -> Judgement:
    """The verdict on what was gathered."""
    holding = tuple(_holding(evidence))
    partial = tuple(_partial(evidence))
    noted = tuple(_noted(evidence))
    verdict: Verdict = "HOLD" if holding else "PARTIAL" if partial else "PASS"
    return Judgement(verdict, (*holding, *partial, *noted))


def _holding(of: Evidence) -> Iterator[str]:
    if of.missing and of.coverage_ratio < of.min_coverage:
        yield (
            f"coverage_below_minimum: {of.coverage_ratio:.4f} of the bars are there, "
            f"min_coverage is {of.min_coverage:g}"
        )
    elif of.missing and not of.allow_partial:
        yield f"partial_not_allowed: {of.missing} bars are missing, and domains.live.allow_partial is false"
    if of.violations and of.on_violation == "HOLD":
        yield f"sla_exceeded: {', '.join(of.violations)} took longer than the budget"
    if of.domain == "live":
        yield from _holding_live(of)


def _holding_live(of: Evidence) -> Iterator[str]:
    if of.max_lag_s is not None and (of.lag_s is None or of.lag_s > of.max_lag_s):
        since = "no bar was delivered" if of.lag_s is None else f"the last bar closed {of.lag_s:g} s ago"
        yield f"lag_exceeded: {since}, max_lag is {of.max_lag_s:g} s"
    if of.bound_as_of is not None and of.as_of is not None and of.as_of < of.bound_as_of:
        yield f"as_of_regression: {of.as_of} is before {of.bound_as_of}, which the session has seen"
    if of.pinned is not None and of.as_of is not None and of.as_of > of.pinned:
        yield f"{_pinned(of)}; {of.as_of} was asked for"
    is_same_instant = of.as_of is not None and of.as_of == of.bound_as_of
    if is_same_instant and of.bound_fingerprint not in (None, of.dataset_fingerprint):
        yield (
            f"fingerprint_drift: as of {of.as_of} the dataset was {of.bound_fingerprint}, "
            f"now it is {of.dataset_fingerprint}"
        )
    if of.decision in _HOLDING_MODES:
        yield _decided(of)


def _partial(of: Evidence) -> Iterator[str]:
    if of.missing:
        yield f"bars_missing: {of.missing} of {of.expected - of.absent} bars are not there"
    if of.violations and of.on_violation != "HOLD":
        yield f"sla_exceeded: {', '.join(of.violations)} took longer than the budget"
    if of.missing:
        yield from (f"fill_failed: {problem}" for problem in of.problems)


def _noted(of: Evidence) -> Iterator[str]:
    """What is reported and changes no verdict."""
    if of.nearest is not None and of.missing == of.expected - of.absent > 0:
        yield f"node_undeclared: no bar is known of it; did you mean {of.nearest}?"
    if of.retention:
        yield f"bars_out_of_retention: {of.retention} of {of.expected} bars are no longer served"
    if of.declared:
        yield f"bars_declared_absent: an operator says that {of.declared} of {of.expected} bars are none"
    if of.pinned is not None and not (of.as_of is not None and of.as_of > of.pinned):
        yield _pinned(of)
    if of.decision in _DRY_MODES:
        yield _decided(of)


def _pinned(of: Evidence) -> str:
    return f"pinned: the session is set to {of.pinned} until it is unpinned ({of.pin_reason})"


def _decided(of: Evidence) -> str:
    if of.decision_reason.startswith(f"{UNAVAILABLE}:"):
        return of.decision_reason
    why = f" ({of.decision_reason})" if of.decision_reason else ""
    return f"world_decision: the world service decided {of.decision}{why}"
