"""The rate budget's arithmetic: no window admits too much, whoever waits, cancels or costs what."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seamless_assets.core.token_bucket import Bucket, Budget, Place, give_back, take

BUDGET = Budget(tokens_per_interval=5, interval_ms=2000, burst=4)
STEPS = st.lists(
    st.tuples(st.floats(0, 3), st.integers(0, 8), st.floats(0.5, 9)),
    max_size=80,
)


@given(steps=STEPS)
def test_no_window_admits_more_than_its_tokens_and_the_burst(steps: list[tuple[float, int, float]]) -> None:
    bucket: Bucket | None = None
    now, admitted, waiting = 1_700_000_000.0, list[Place](), list[Place]()
    for pause, step, cost in steps:
        now += pause
        admitted += [place for place in waiting if place.due <= now]
        waiting = [place for place in waiting if place.due > now]
        if step > 3 and waiting and bucket is not None:
            bucket = give_back(BUDGET, bucket, now, waiting.pop(step % len(waiting)))
        else:
            bucket, place = take(BUDGET, bucket, now, cost)
            waiting.append(place)
    admitted = sorted([*admitted, *waiting], key=lambda place: place.due)
    for first in admitted:
        inside = [place.cost for place in admitted if first.due <= place.due < first.due + 1.999_999]
        assert sum(inside) <= 5 + max(4.0, *inside) + 1e-4


def test_the_last_in_the_queue_returns_its_place_and_no_other() -> None:
    bucket, _ = take(BUDGET, None, 100.0, 4)
    bucket, first = take(BUDGET, bucket, 100.0, 1)
    bucket, second = take(BUDGET, bucket, 100.0, 1)
    assert give_back(BUDGET, bucket, 100.0, first) == bucket
    assert take(BUDGET, give_back(BUDGET, bucket, 100.1, second), 100.1, 1)[1].due == pytest.approx(
        second.due
    )


def test_a_steady_flow_of_large_costs_keeps_to_the_rate() -> None:
    bucket: Bucket | None = None
    for _ in range(100):
        bucket, place = take(BUDGET, bucket, 100.0, 20)
    assert place.wait == pytest.approx(99 * 20 / 2.5, rel=0.01)


def test_a_clock_set_back_makes_nobody_wait_for_it() -> None:
    bucket, _ = take(BUDGET, None, 5_000.0, 1)
    assert take(BUDGET, bucket, 1_400.0, 1)[1].wait == 0.0
