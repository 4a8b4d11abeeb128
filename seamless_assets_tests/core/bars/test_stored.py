"""What may be in a store, against the rule said bar by bar."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from seamless_assets.core.bars.stored import possible_opens
from seamless_assets.core.calendar.segment import Segment
from seamless_assets.core.calendar.timeframe import Timeframe

DAY = 86_400
FRAMES = st.sampled_from(["1s", "1m", "1h", "1d", "1w", "1M"]).map(Timeframe)
NEAR = st.integers(-40 * DAY, 40 * DAY)
FAR = st.sampled_from([-(2**63), 2**63 - 1])


@given(FRAMES, st.data())
def test_an_open_is_possible_in_the_window_and_on_the_grid(timeframe: Timeframe, data: st.DataObject) -> None:
    on_grid = NEAR.map(timeframe.floor)
    ts = data.draw(st.lists(on_grid | NEAR | FAR, max_size=8))
    window = Segment(*sorted([data.draw(NEAR), data.draw(NEAR)]))
    expected = [window.start <= at < window.end and timeframe.floor(at) == at for at in ts]
    assert possible_opens(np.array(ts, dtype=np.int64), timeframe, window).tolist() == expected


@given(FRAMES, st.lists(NEAR, min_size=1, max_size=8))
def test_opens_that_are_all_in_the_window_are_held_against_the_grid_too(
    timeframe: Timeframe, ts: list[int]
) -> None:
    expected = [timeframe.floor(at) == at for at in ts]
    window = Segment(min(ts), max(ts) + 1)
    assert possible_opens(np.array(ts, dtype=np.int64), timeframe, window).tolist() == expected
