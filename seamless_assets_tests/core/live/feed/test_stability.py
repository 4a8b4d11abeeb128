"""When a stream cools down, for how long, and when that is forgotten."""

from __future__ import annotations

from seamless_assets.core.live.feed.stability import CALM_S, FAULTS, FIRST_S, LONGEST_S, WINDOW_S, Stability


def faults(stability: Stability, at: float, count: int = FAULTS, apart: float = 10.0) -> float:
    """So many faults from `at` on; when the last one was."""
    for number in range(count):
        stability.fault(at + number * apart)
    return at + (count - 1) * apart


def test_it_takes_several_faults_within_a_while() -> None:
    stability = Stability()
    last = faults(stability, 100.0, FAULTS - 1)
    assert not stability.is_cooling(last)
    assert not stability.fault(last + WINDOW_S)
    assert stability.fault(last + WINDOW_S + 10) is False, "the first ones are long past"
    assert stability.fault(last + WINDOW_S + 20)


def test_many_nodes_that_tell_of_one_fault_count_once() -> None:
    stability = Stability()
    assert not any(stability.fault(100.0 + number / 1_000) for number in range(1_000))


def test_each_time_is_twice_as_long_up_to_a_bound_until_all_was_calm() -> None:
    stability, at, lengths = Stability(), 0.0, []
    for _ in range(7):
        last = faults(stability, at)
        lengths.append(stability.cools_until - last)
        assert stability.is_cooling(last) and not stability.is_cooling(stability.cools_until)
        assert not stability.fault(last + 6), "what cools is not followed"
        at = stability.cools_until + 10
    assert lengths == [min(FIRST_S * 2**number, LONGEST_S) for number in range(7)]
    last = faults(stability, at + CALM_S + LONGEST_S)
    assert stability.cools_until - last == FIRST_S
