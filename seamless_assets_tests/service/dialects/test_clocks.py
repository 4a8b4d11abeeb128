"""How an exchange's clock is reckoned on between two looks at it."""

from __future__ import annotations

import pytest

from seamless_assets.service.dialects.live.clocks import LONGEST_AGE_S, SHORTEST_AGE_S, ReckonedClock

OURS, THEIRS = 1_800_000_000.0, 1_736_000_000.0


def test_a_clock_that_agrees_with_ours_is_asked_ever_more_rarely() -> None:
    clock, at = ReckonedClock(), 100.0
    for _ in range(12):
        assert clock.is_stale(at)
        clock.hear(OURS + at, at, OURS + at + 1)
        assert clock.now(at + 10) == OURS + at + 10
        at += clock.age
    assert clock.age == LONGEST_AGE_S


@pytest.mark.parametrize("rate", [1.0, 60.0, 3_600.0])
def test_a_clock_that_runs_evenly_is_reckoned_at_its_rate(rate: float) -> None:
    clock, at = ReckonedClock(), 100.0
    for _ in range(6):
        clock.hear(THEIRS + rate * at, at, OURS)
        at += clock.age
    assert clock.age > SHORTEST_AGE_S
    assert clock.now(at) == pytest.approx(THEIRS + rate * at, abs=0.01)


def test_a_clock_that_is_set_by_hand_is_never_reckoned_ahead() -> None:
    clock, shown, at = ReckonedClock(), THEIRS, 100.0
    for step in (0, 60, 0, 60, 0, 0, 60, 300, 0):
        shown, at = shown + step, at + 0.6
        clock.hear(shown, at, OURS)
        assert clock.now(at + 0.4) == shown and clock.age == SHORTEST_AGE_S


def test_a_clock_that_was_set_back_is_believed() -> None:
    clock = ReckonedClock()
    for at in range(5):
        clock.hear(OURS + at, float(at), OURS + at)
    clock.hear(THEIRS, 6.0, OURS + 6)
    assert clock.now(6.2) == THEIRS and clock.age == SHORTEST_AGE_S
