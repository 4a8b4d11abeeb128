"""The rate budget's arithmetic: no window admits too much, whoever waits, cancels or costs what."""

from __future__ import annotations

from dataclasses import dataclass, replace
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seamless_assets.core.sharing.token_bucket import (
    LONGEST_COOL_DOWN_S,
    Budget,
    Place,
    cool_down,
    full,
    give_back,
    moved,
    settle,
    take,
)

BUDGET = Budget(tokens_per_interval=5, interval_ms=2000, burst=4)
NOW = 1_700_000_000.0
STEPS = st.lists(st.tuples(st.floats(0, 3), st.integers(0, 9), st.floats(0.5, 9)), max_size=80)


@dataclass
class Waiter:
    """One who waits as the flows do: to the end of the wait, then for what was added meanwhile."""

    place: Place
    wakes: float


@given(steps=STEPS)
def test_no_window_admits_more_than_its_tokens_and_the_burst(steps: list[tuple[float, int, float]]) -> None:
    bucket, now = full(BUDGET, NOW), NOW
    admitted: list[tuple[float, float]] = []
    waiting: list[Waiter] = []
    calm: list[tuple[float, float]] = []

    def pass_time(until: float) -> None:
        while due := [waiter for waiter in waiting if waiter.wakes <= until]:
            waiter = min(due, key=lambda one: one.wakes)
            later = moved(bucket, waiter.place)
            assert later is not None
            if later.wait > 0:
                waiter.place, waiter.wakes = later, waiter.wakes + later.wait
            else:
                waiting.remove(waiter)
                admitted.append((waiter.wakes, waiter.place.cost))

    for pause, step, cost in steps:
        now += pause
        pass_time(now)
        if step > 6 and waiting:
            bucket = give_back(BUDGET, bucket, now, waiting.pop(step % len(waiting)).place)
        elif step > 5:
            bucket = cool_down(BUDGET, bucket, now, cost / 3)
            calm.append((now, now + cost / 3))
        else:
            bucket, place = take(BUDGET, bucket, now, cost)
            waiting.append(Waiter(place, now + place.wait))
    pass_time(float("inf"))
    for first, _ in admitted:
        inside = [cost for at, cost in admitted if first <= at < first + 1.999_99]
        assert sum(inside) <= 5 + max(4.0, *inside) + 1e-3
    for start, end in calm:
        assert not [at for at, _ in admitted if start + 1e-4 < at < end - 1e-4]


def test_a_place_in_the_middle_is_there_for_the_next_and_those_behind_keep_theirs() -> None:
    bucket, _ = take(BUDGET, full(BUDGET, 100.0), 100.0, 4)
    bucket, first = take(BUDGET, bucket, 100.0, 1)
    bucket, second = take(BUDGET, bucket, 100.0, 1)
    freed = give_back(BUDGET, bucket, 100.0, first)
    assert freed.tokens == bucket.tokens
    taken, newcomer = take(BUDGET, freed, 100.1, 1)
    assert newcomer.wait == pytest.approx(first.wait - 0.1)
    assert take(BUDGET, taken, 100.1, 1)[1].wait == pytest.approx(second.wait + 0.4 - 0.1)
    returned = give_back(BUDGET, taken, 100.1, second)
    assert take(BUDGET, returned, 100.1, 1)[1].wait == pytest.approx(second.wait - 0.1)
    assert give_back(BUDGET, returned, 100.1, newcomer).tokens == pytest.approx(0.25)


def test_a_turn_that_nobody_took_is_there_at_once() -> None:
    bucket, _ = take(BUDGET, full(BUDGET, 100.0), 100.0, 4)
    places = []
    for _ in range(6):
        bucket, place = take(BUDGET, bucket, 100.0, 1)
        places.append(place)
    bucket = give_back(BUDGET, bucket, 100.0, places[1])
    late = 100.0 + places[3].wait
    bucket, newcomer = take(BUDGET, bucket, late, 1)
    assert newcomer.wait == 0.0
    assert take(BUDGET, bucket, late, 1)[1].wait == pytest.approx(places[5].wait + 0.4 - places[3].wait)


@given(
    costs=st.lists(st.floats(0.5, 9), min_size=1, max_size=25),
    pauses=st.lists(st.floats(0, 0.05), min_size=25, max_size=25),
    luck=st.randoms(use_true_random=False),
)
def test_who_comes_after_all_are_cancelled_waits_for_nobody(
    costs: list[float], pauses: list[float], luck: Random
) -> None:
    bucket, _ = take(BUDGET, full(BUDGET, NOW), NOW, 4)
    now, places = NOW, []
    for cost in costs:
        bucket, place = take(BUDGET, bucket, now, cost)
        places.append(place)
    luck.shuffle(places)
    for place, pause in zip(places, pauses, strict=False):
        now += pause
        bucket = give_back(BUDGET, bucket, now, place)
    alone = take(BUDGET, take(BUDGET, full(BUDGET, NOW), NOW, 4)[0], now, 1)[1].wait
    # A turn that came and went while others waited may be lost, as far as the burst holds no more.
    gone = sum(place.cost for place in places if NOW + place.wait <= now)
    newcomer = take(BUDGET, bucket, now, 1)[1].wait
    assert alone - 1e-4 <= newcomer <= alone + gone / BUDGET.tokens_per_second + 1e-4


@pytest.mark.parametrize("order", [1, -1])
def test_twenty_cancelled_waiters_hold_up_nobody(order: int) -> None:
    budget = Budget(5, 1_000, 1)
    bucket, _ = take(budget, full(budget, 0.0), 0.0, 1)
    places = []
    for _ in range(20):
        bucket, place = take(budget, bucket, 0.0, 1)
        places.append(place)
    for place in places[::order]:
        bucket = give_back(budget, bucket, 0.0, place)
    assert take(budget, bucket, 0.0, 1)[1].wait == pytest.approx(0.2)


@pytest.mark.parametrize(
    "spoiled",
    [
        {"tokens": float("nan")},
        {"tokens": -1e300},
        {"tokens": float("-inf")},
        {"at": float("inf")},
        {"paused": float("nan")},
        {"refilled": float("nan")},
        {"spare": -1.0},
        {"cool_until": float("nan")},
    ],
)
def test_a_bucket_that_cannot_be_is_one_that_was_lost(spoiled: dict[str, float]) -> None:
    bucket, place = take(BUDGET, full(BUDGET, 100.0), 100.0, 1)
    found, fresh = take(BUDGET, replace(bucket, **spoiled), 200.0, 1)
    assert fresh.wait == pytest.approx(0.4) and moved(found, place) is None


def test_no_cool_down_lasts_longer_than_any_that_is_known() -> None:
    bucket = replace(full(BUDGET, 100.0), cool_until=95_617_584_000.0)
    assert take(BUDGET, bucket, 100.0, 1)[1].wait <= LONGEST_COOL_DOWN_S
    assert take(BUDGET, bucket, 101.0 + LONGEST_COOL_DOWN_S, 1)[1].wait == 0.0


def test_a_steady_flow_of_large_costs_keeps_to_the_rate() -> None:
    bucket = full(BUDGET, 100.0)
    for _ in range(100):
        bucket, place = take(BUDGET, bucket, 100.0, 20)
    assert place.wait == pytest.approx(99 * 20 / 2.5, rel=0.01)


def test_a_clock_set_back_makes_nobody_wait_for_it() -> None:
    bucket, _ = take(BUDGET, full(BUDGET, 5_000.0), 5_000.0, 1)
    assert take(BUDGET, bucket, 1_400.0, 1)[1].wait == 0.0
    cooling = cool_down(BUDGET, bucket, 5_000.0, 30)
    assert take(BUDGET, cooling, 1_400.0, 1)[1].wait == pytest.approx(30.0)


def test_cool_downs_that_overlap_do_not_add_up() -> None:
    bucket, waiting = take(BUDGET, take(BUDGET, full(BUDGET, 0.0), 0.0, 4)[0], 0.0, 1)
    for now, seconds in ((0.1, 10.0), (0.2, 10.0), (0.3, 1.0)):
        bucket = cool_down(BUDGET, bucket, now, seconds)
    late = moved(bucket, waiting)
    assert late is not None and late.wait == pytest.approx(10.1)
    again = moved(bucket, late)
    assert again is not None and again.wait == 0.0
    assert take(BUDGET, bucket, 0.3, 1)[1].wait == pytest.approx(9.9 + 0.8 - 0.1)


def test_a_place_of_a_bucket_that_was_lost_is_void() -> None:
    bucket, place = take(BUDGET, full(BUDGET, 1.0), 1.0, 1)
    found = full(BUDGET, 2.0)
    assert moved(found, place) is None
    assert give_back(BUDGET, found, 2.0, place) == found
    assert bucket.born == 1.0


def test_what_went_out_past_the_bucket_empties_it_at_most_and_holds_up_who_waits() -> None:
    bucket = full(BUDGET, 0.0)
    assert settle(BUDGET, bucket, 0.0, 1, None).tokens == 3
    assert settle(BUDGET, bucket, 0.0, 100, bucket.born).tokens == 0
    assert settle(BUDGET, bucket, 0.0, 100, 7.0) == bucket
    owing, waiting = take(BUDGET, take(BUDGET, bucket, 0.0, 4)[0], 0.0, 2)
    settled = settle(BUDGET, owing, 0.0, 1, None)
    late = moved(settled, waiting)
    assert late is not None and late.wait == pytest.approx(0.4)
    assert settle(BUDGET, owing, 0.0, 1000, None).paused == pytest.approx(4 / 2.5)
