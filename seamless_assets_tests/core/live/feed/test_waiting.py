"""Updates that wait: what they are judged by is when they came, and not how long they waited."""

from __future__ import annotations

import pytest

from seamless_assets.core.calendar.timeframe import Timeframe
from seamless_assets.core.live.feed.update import CandleUpdate
from seamless_assets.core.live.feed.waiting import WaitingUpdates

T, ERROR_S, AWAY = 1_735_711_200, 0.5, 1_735_000_000
"""A minute's open; how well the exchange's clock is known; how far it is ahead of that which nobody sets."""


def update(is_closed: bool | None, ts: int = T) -> CandleUpdate:
    return CandleUpdate(ts, (10.0, 12.0, 9.0, 11.0, 1.0), 1, 1, is_closed)


@pytest.mark.parametrize("after", [0.0, 40.0, 4_000.0])
@pytest.mark.parametrize("before_close", [0.6, 30.0])
def test_a_mark_that_came_while_its_bar_formed_is_judged_by_that_time(
    before_close: float, after: float
) -> None:
    waiting, came = WaitingUpdates(Timeframe("1m"), ERROR_S), T + 60 - before_close
    waiting.append(update(is_closed=True), came - AWAY)
    ((_, at),) = waiting.due(came + after, came + after - AWAY)
    assert at == pytest.approx(came) and not len(waiting)


def test_a_mark_that_came_a_moment_too_early_waits_for_the_clock_and_others_behind_it() -> None:
    waiting = WaitingUpdates(Timeframe("1m"), ERROR_S)
    waiting.append(update(is_closed=False), T + 59.7 - AWAY)
    waiting.append(update(is_closed=True), T + 59.7 - AWAY)
    waiting.append(update(is_closed=False, ts=T + 60), T + 59.9 - AWAY)
    assert [at for _, at in waiting.due(T + 59.9, T + 59.9 - AWAY)] == [T + 59.9]
    assert waiting.held_until == T + 60 and len(list(waiting)) == 2
    assert [one.ts for one, _ in waiting.due(T + 60.0, T + 60.0 - AWAY)] == [T, T + 60]
    assert waiting.held_until is None


def test_a_clock_that_was_asked_since_counts() -> None:
    waiting = WaitingUpdates(Timeframe("1m"), ERROR_S)
    waiting.append(update(is_closed=True), T + 58.0 - AWAY)
    # By now it is known to be two seconds later than was believed when the mark came.
    ((_, at),) = waiting.due(T + 60.1, T + 58.1 - AWAY)
    assert at == T + 60.1


def test_nothing_waits_once_it_is_forgotten() -> None:
    waiting = WaitingUpdates(Timeframe("1m"), ERROR_S)
    waiting.append(update(is_closed=True), T + 59.7 - AWAY)
    assert not list(waiting.due(T + 59.8, T + 59.8 - AWAY)) and waiting.held_until
    waiting.clear()
    assert waiting.held_until is None and not list(waiting.due(T + 61.0, T + 61.0 - AWAY))
