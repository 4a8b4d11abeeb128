"""When an exchange is asked: always later than the last time, and never later than for the next bar."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seamless_assets.core.calendar.timeframe import Timeframe
from seamless_assets.core.live.schedule import LOOKS_S, last_look, next_correction, next_look

CLOSED = 1_735_689_600
FRAMES = st.sampled_from([Timeframe(text) for text in ("1s", "1m", "5m", "1h", "1d", "1w", "1M")])


@given(FRAMES, st.floats(0, 2_600_000))
def test_the_next_instant_lies_ahead_and_before_the_next_bar_is_asked_for(
    frame: Timeframe, after: float
) -> None:
    following = frame.shift(CLOSED, 1) + LOOKS_S[0]
    now = min(CLOSED + after, following - 1e-3)
    for instant in (next_look, next_correction):
        assert now < instant(frame, CLOSED, now) <= following
    last = last_look(frame, CLOSED, now)
    assert CLOSED <= last <= now < next_look(frame, CLOSED, last)


@given(FRAMES, st.floats(0, 2_600_000))
def test_the_last_look_is_the_one_before_the_next(frame: Timeframe, after: float) -> None:
    now, at = CLOSED + after, float(CLOSED)
    while at < (following := next_look(frame, CLOSED, at)) <= now:
        at = following
    assert last_look(frame, CLOSED, now) == at


@pytest.mark.parametrize(("frame", "most"), [("1m", 3), ("1h", 16), ("1d", 292)])
def test_a_bar_that_does_not_come_is_asked_for_less_and_less_often(frame: str, most: int) -> None:
    timeframe, at, asked = Timeframe(frame), float(CLOSED), 0
    while (at := next_look(timeframe, CLOSED, at)) < timeframe.shift(CLOSED, 1):
        asked += 1
    assert 3 <= asked <= most
