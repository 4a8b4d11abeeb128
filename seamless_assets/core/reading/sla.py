"""Service levels of a read: how long each phase may take, and what a breach leads to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from difflib import get_close_matches
from operator import attrgetter
from types import MappingProxyType
from typing import Any, Literal, get_args

from seamless_assets.core.reading.context import Domain, choose, require_limits, require_live
from seamless_assets.errors import InvalidChoice, InvalidInput

OnViolation = Literal["FAIL_FAST", "PARTIAL_FILL", "HOLD"]
Phase = Literal["storage_wait", "backfill_wait", "live_wait", "total"]
VIOLATIONS: tuple[OnViolation, ...] = get_args(OnViolation)
PHASES: tuple[Phase, ...] = get_args(Phase)
LONGEST_BUDGET_MS = 86_400_000
"""A day: a read that may wait longer has no deadline."""


def _require(name: str, value: object, is_sound: bool) -> None:
    if not is_sound:
        raise InvalidInput(f"{name} is {value!r}; give {_WANTED.get(name, _MILLISECONDS)}", value=value)


_MILLISECONDS = f"milliseconds above 0 and up to {LONGEST_BUDGET_MS}"
_WANTED = {
    "max_sync_gap_bars": "a whole number of bars from 0 up",
}


def _number(name: str, value: object) -> float:
    _require(name, value, _is_plain(value, (int, float)))
    return float(value) if value == value else -1.0  # type: ignore[arg-type]  # a NaN is no budget


def _is_plain(value: object, kind: type | tuple[type, ...]) -> bool:
    return isinstance(value, kind) and not isinstance(value, bool)


@dataclass(frozen=True, slots=True)
class SLAPolicy:
    """Budgets of one read in milliseconds, and what happens where one is exceeded.

    `max_wait_*_ms` bound the phases, `total_deadline_ms` all of them together; a phase gets the smaller of
    its budget and what remains of the total. `max_sync_gap_bars` is the largest gap, in bars, that a
    SEAMLESS read fills before it answers. `min_coverage` (a ratio) and `max_lag` (seconds) are those of a
    live read where its context names none. Raises `InvalidInput` for a budget that is no number of
    milliseconds, and `InvalidChoice` for an unknown `on_violation`.
    """

    max_wait_storage_ms: float = 300
    max_wait_backfill_ms: float = 5_000
    max_wait_live_ms: float = 800
    total_deadline_ms: float = 1_500
    max_sync_gap_bars: int = 2
    on_violation: OnViolation = "PARTIAL_FILL"
    min_coverage: float | None = None
    max_lag: float | None = None

    def __post_init__(self) -> None:
        for name in _BUDGETS:
            _require(name, getattr(self, name), 0 < _number(name, getattr(self, name)) <= LONGEST_BUDGET_MS)
        bars = self.max_sync_gap_bars
        _require("max_sync_gap_bars", bars, _is_plain(bars, int) and bars >= 0)
        require_limits(self.max_lag, self.min_coverage)
        choose(self.on_violation, VIOLATIONS, "on_violation")

    def budget_ms(self, phase: Phase) -> float:
        """The budget of a phase by itself, in milliseconds."""
        return float(getattr(self, _BUDGET_OF[phase]))

    @property
    def has_deadline(self) -> bool:
        """Whether any budget is less than the longest there is."""
        return any(getattr(self, name) < LONGEST_BUDGET_MS for name in _BUDGETS)

    @classmethod
    def from_mapping(cls, given: Mapping[str, Any], base: SLAPolicy) -> SLAPolicy:
        """`base` with what a mapping says otherwise. Raises `InvalidChoice` for a key that is none."""
        names = tuple(item.name for item in fields(cls))
        for name in given:
            choose(name, names, "sla key")
        return replace(base, **given)


_POLICY_FIELDS = tuple(item.name for item in fields(SLAPolicy))
_BUDGETS = ("max_wait_storage_ms", "max_wait_backfill_ms", "max_wait_live_ms", "total_deadline_ms")
_values_of, _budgets_of = attrgetter(*_POLICY_FIELDS), attrgetter(*_BUDGETS)
_BUDGET_OF: Mapping[Phase, str] = MappingProxyType(dict(zip(PHASES, _BUDGETS, strict=True)))

UNBOUNDED = SLAPolicy(
    max_wait_storage_ms=LONGEST_BUDGET_MS,
    max_wait_backfill_ms=LONGEST_BUDGET_MS,
    max_wait_live_ms=LONGEST_BUDGET_MS,
    total_deadline_ms=LONGEST_BUDGET_MS,
    on_violation="FAIL_FAST",
)
"""Of reads of the past that name no service level: they are repeated, not raced."""

PRESETS: Mapping[str, SLAPolicy] = MappingProxyType(
    {
        "baseline": SLAPolicy(
            max_wait_storage_ms=3_000,
            max_wait_backfill_ms=45_000,
            max_wait_live_ms=5_000,
            total_deadline_ms=60_000,
            on_violation="FAIL_FAST",
            min_coverage=0.98,
            max_lag=45.0,
        ),
        "tolerant-partial": SLAPolicy(
            max_wait_storage_ms=5_000,
            max_wait_backfill_ms=75_000,
            max_wait_live_ms=7_000,
            total_deadline_ms=90_000,
            on_violation="PARTIAL_FILL",
            min_coverage=0.9,
            max_lag=90.0,
        ),
    }
)


def resolve_sla(
    given: object, default: SLAPolicy, presets: Mapping[str, SLAPolicy] = PRESETS, domain: Domain = "live"
) -> SLAPolicy:
    """The policy that an `sla` argument of a read in `domain` means.

    None is `default`; a mapping changes single values of it; a text names a preset. Raises `InvalidInput`
    and `InvalidChoice`, with the nearest preset.
    """
    if given is None:
        return default
    if isinstance(given, SLAPolicy):
        return given
    if isinstance(given, Mapping):
        require_live(domain, given.get("max_lag"))
        return SLAPolicy.from_mapping(given, default)
    if isinstance(given, str):
        if given in presets:
            return presets[given]
        near = get_close_matches(given, presets, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        message = f"sla preset {given!r} is not one of {', '.join(presets)}{hint}"
        raise InvalidChoice(message, value=given, choices=tuple(presets))
    raise InvalidInput(
        f"sla is {given!r}; give an SLAPolicy, a mapping of its fields, or the name of a preset", value=given
    )


@dataclass(frozen=True, slots=True)
class SLAReport:
    """How a read kept to its policy.

    `taken_ms` are the milliseconds of the phases that it came to, `violations` those of them that were ended
    by their budgets, in the order they come in.
    """

    policy: SLAPolicy
    taken_ms: Mapping[str, float]
    violations: tuple[Phase, ...] = ()

    def as_record(self) -> dict[str, Any]:
        """Plain values, for logs and metadata, of every phase."""
        budgets = zip(PHASES, _budgets_of(self.policy), strict=True)
        return {
            "policy": dict(zip(_POLICY_FIELDS, _values_of(self.policy), strict=True)),
            "phases": {
                phase: {
                    "budget_ms": float(budget_ms),
                    "taken_ms": self.taken_ms.get(phase, 0.0),
                    "is_cut": phase in self.violations,
                }
                for phase, budget_ms in budgets
            },
            "violations": list(self.violations),
        }
