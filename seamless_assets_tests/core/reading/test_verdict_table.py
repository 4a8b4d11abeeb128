"""Admission and verdict as one table: strategy x domain x cover x age x fault, each row judged twice.

What a row should give is said here in plain steps; the product says it in two functions.
"""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from itertools import product

import pytest

from seamless_assets.core.reading.admission import Fill, admit, seconds_open
from seamless_assets.core.reading.context import (
    DOMAINS,
    MODES,
    STRATEGIES,
    ComputeContext,
    Domain,
    Mode,
    Strategy,
)
from seamless_assets.core.reading.settings import ReadSettings
from seamless_assets.core.reading.sla import VIOLATIONS, OnViolation
from seamless_assets.core.reading.verdict import Evidence, judge
from seamless_assets.errors import AsOfInFuture, AsOfRequired
from seamless_assets_tests.core.reading.draw_table import PAGE, drawn

NOW = 1_735_700_000.0
PAST, FUTURE = "2024-12-31T00:00:00Z", "2025-02-01T00:00:00Z"
COVERS = {"whole": (0, 0), "holed": (0, 10), "thin": (0, 700), "absent": (700, 0), "empty": (0, 1_000)}
AGES: dict[str, float | None] = {"fresh": 30.0, "old": 300.0, "never": None}
FAULTS = {
    "none": {},
    "slow": {"violations": ("storage_wait",)},
    "regressed": {"as_of": "2025-01-01", "bound_as_of": "2025-01-02"},
    "drifted": {
        "as_of": "2025-01-02",
        "bound_as_of": "2025-01-02",
        "bound_fingerprint": "sha256:a",
        "dataset_fingerprint": "sha256:b",
    },
}
ROWS = list(product(DOMAINS, COVERS, AGES, FAULTS, VIOLATIONS))


def expected_codes(
    domain: Domain, cover: str, age: str, fault: str, on_violation: OnViolation
) -> tuple[set[str], set[str]]:
    """The codes that hold, and the codes that only make it partial."""
    hold, partial = set(), set()
    if cover in ("thin", "empty"):
        hold.add("coverage_below_minimum")
    if cover in ("holed", "thin", "empty"):
        partial.add("bars_missing")
    if fault == "slow":
        (hold if on_violation == "HOLD" else partial).add("sla_exceeded")
    if domain == "live":
        if age != "fresh":
            hold.add("lag_exceeded")
        if fault == "regressed":
            hold.add("as_of_regression")
        if fault == "drifted":
            hold.add("fingerprint_drift")
    return hold, partial


@pytest.mark.parametrize(("domain", "cover", "age", "fault", "on_violation"), ROWS)
def test_a_verdict_holds_for_each_reason_and_tells_all(
    domain: Domain, cover: str, age: str, fault: str, on_violation: OnViolation
) -> None:
    absent, missing = COVERS[cover]
    judgement = judge(
        Evidence(
            domain=domain,
            expected=1_000,
            absent=absent,
            missing=missing,
            min_coverage=0.98,
            lag_s=AGES[age],
            max_lag_s=120.0,
            on_violation=on_violation,
            **FAULTS[fault],  # type: ignore[arg-type]
        )
    )
    hold, partial = expected_codes(domain, cover, age, fault, on_violation)
    assert {reason.split(":")[0] for reason in judgement.reasons} == hold | partial
    assert judgement.verdict == ("HOLD" if hold else "PARTIAL" if partial else "PASS")
    # What holds is read first.
    assert [reason.split(":")[0] in hold for reason in judgement.reasons] == sorted(
        (reason.split(":")[0] in hold for reason in judgement.reasons), reverse=True
    )


CALLS = list(product(DOMAINS, [None, *STRATEGIES], STRATEGIES))


@pytest.mark.parametrize(("domain", "strategy", "default"), CALLS)
def test_a_strategy_fills_as_it_says_and_never_in_a_backtest(
    domain: Domain, strategy: Strategy | None, default: Strategy
) -> None:
    admitted = admit(ComputeContext(domain=domain, as_of=PAST), strategy, ReadSettings(strategy=default))
    fills = {
        "FAIL_FAST": Fill.NEVER,
        "AUTO_BACKFILL": Fill.FIRST,
        "PARTIAL_FILL": Fill.BACKGROUND,
        "SEAMLESS": Fill.BY_SIZE,
    }
    assert admitted.strategy == (strategy or default)
    assert admitted.fill is (Fill.NEVER if domain == "backtest" else fills[strategy or default])
    assert admitted.must_cover is (domain == "backtest")
    assert admitted.publishes is (domain == "dryrun") and admitted.blends is (domain == "live")
    assert admitted.asks_exchange is (admitted.fill is not Fill.NEVER)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_settings_that_wait_for_fills_wait_for_each_that_a_strategy_makes(strategy: Strategy) -> None:
    waiting = ReadSettings(waits_for_fills=True)
    for context in (None, *(ComputeContext(domain=domain, as_of=PAST) for domain in DOMAINS)):
        usual, admitted = (admit(context, strategy, one) for one in (ReadSettings(), waiting))
        assert admitted.fill is (Fill.FIRST if usual.asks_exchange else Fill.NEVER)
        assert replace(admitted, fill=usual.fill) == usual


@pytest.mark.parametrize("strategy", [None, *STRATEGIES])
def test_without_a_context_releases_are_read_and_a_named_strategy_makes_one_first(
    strategy: Strategy | None,
) -> None:
    admitted = admit(None, strategy, ReadSettings())
    assert admitted.domain is None and admitted.blends is False
    assert admitted.publishes is (strategy not in (None, "FAIL_FAST"))
    assert admitted.must_cover is not admitted.publishes


@pytest.mark.parametrize("domain", ["backtest", "dryrun"])
def test_what_must_repeat_is_bound_to_the_past(domain: Domain) -> None:
    with pytest.raises(AsOfRequired):
        admit(ComputeContext(domain=domain), None, ReadSettings())
    named = ComputeContext(domain=domain, dataset_fingerprint="sha256:" + "0" * 64)
    assert admit(named, None, ReadSettings()).domain == domain


@pytest.mark.parametrize("mode", MODES)
def test_a_world_service_can_hold_a_live_read_and_nothing_else(mode: Mode) -> None:
    for domain in DOMAINS:
        judgement = judge(Evidence(domain=domain, expected=1, absent=0, missing=0, decision=mode))
        holds = domain == "live" and mode in ("compute-only", "validate")
        assert judgement.verdict == ("HOLD" if holds else "PASS")


def test_partial_is_refused_where_the_settings_refuse_it() -> None:
    allowed = Evidence(domain="live", expected=100, absent=0, missing=1, allow_partial=True)
    refused = Evidence(domain="live", expected=100, absent=0, missing=1, allow_partial=False)
    assert (judge(allowed).verdict, judge(refused).verdict) == ("PARTIAL", "HOLD")


@pytest.mark.parametrize(
    ("as_of", "newest", "is_open"),
    [
        (PAST, None, False),
        (FUTURE, None, True),
        (FUTURE, PAST, True),
        # The clock of whoever released it was ahead of ours: what it binds will not change.
        (FUTURE, FUTURE, False),
        (None, PAST, False),
    ],
)
def test_an_as_of_that_later_releases_may_precede_is_refused(
    as_of: str | None, newest: str | None, is_open: bool
) -> None:
    with pytest.raises(AsOfInFuture, match="has passed") if is_open else nullcontext():
        assert seconds_open(as_of, NOW, newest) == 0.0


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_dry_run_of_artifacts_only_makes_none(strategy: Strategy) -> None:
    settings = ReadSettings(dryrun_publishes=False)
    admitted = admit(ComputeContext(domain="dryrun", as_of=PAST), strategy, settings)
    assert admitted.fill is Fill.NEVER and not admitted.publishes


def test_the_page_shows_what_the_functions_decide() -> None:
    assert PAGE.read_text() == drawn(), "python -m seamless_assets_tests.core.reading.draw_table"
