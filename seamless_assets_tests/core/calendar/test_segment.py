"""Half-open ranges, against counting bars one by one."""

from __future__ import annotations

import copy
import pickle
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seamless_assets.core.calendar.segment import Segment, merge_ranges, missing_ranges
from seamless_assets.core.calendar.timeframe import MONDAY, WEEK, Timeframe, grid_of
from seamless_assets.errors import InvalidSegment, InvalidTimeframe

DAY = 86_400
JANUARY, FEBRUARY, MARCH, APRIL = 1_735_689_600, 1_738_368_000, 1_740_787_200, 1_743_465_600  # of 2025


def pairs(low: int, high: int) -> st.SearchStrategy[tuple[int, int]]:
    return st.tuples(st.integers(low, high), st.integers(low, high)).map(lambda pair: (min(pair), max(pair)))


def ticks(segments: Any) -> set[int]:
    """Every second that the segments hold."""
    return {second for start, end in segments for second in range(start, end)}


def whole_bars(held: set[int], interval: int, anchor: int, low: int, high: int) -> set[int]:
    """Opens of the bars of which every second is held."""
    first = low - (low - anchor) % interval
    return {ts for ts in range(first, high + 1, interval) if held.issuperset(range(ts, ts + interval))}


def opens(segments: list[Segment], interval: int) -> set[int]:
    return {ts for start, end in segments for ts in range(start, end, interval)}


@given(st.lists(pairs(-40, 60), max_size=7), pairs(-40, 60), st.integers(1, 9), st.integers(-10, 10))
def test_merging_and_missing_agree_with_counting(
    segments: list[tuple[int, int]], window: tuple[int, int], interval: int, anchor: int
) -> None:
    held = whole_bars(ticks(segments), interval, anchor, -40, 60)
    wanted = whole_bars(ticks([window]), interval, anchor, -40, 60)
    merged = merge_ranges(segments, interval, anchor)
    missing = missing_ranges(segments, window, interval, anchor)
    assert opens(merged, interval) == held
    assert opens(missing, interval) == wanted - held
    for result in (merged, missing):
        assert all(isinstance(segment, Segment) and segment.start < segment.end for segment in result)
        assert all((ts - anchor) % interval == 0 for segment in result for ts in segment)
        assert all(left.end < right.start for left, right in pairwise(result))


@given(st.lists(pairs(-3 * WEEK, 9 * WEEK), max_size=5), pairs(-3 * WEEK, 9 * WEEK))
def test_weeks_are_counted_from_monday(segments: list[tuple[int, int]], window: tuple[int, int]) -> None:
    for interval in (WEEK, Timeframe("1w")):
        for segment in missing_ranges(segments, window, interval) + merge_ranges(segments, interval):
            assert (segment.start - MONDAY) % WEEK == (segment.end - MONDAY) % WEEK == 0
    assert missing_ranges(segments, window, WEEK) == missing_ranges(segments, window, WEEK, anchor=MONDAY)


@given(
    st.lists(pairs(JANUARY - 90 * DAY, JANUARY + 400 * DAY), max_size=5),
    pairs(JANUARY - 90 * DAY, JANUARY + 400 * DAY),
    st.sampled_from(["1M", "2M", "3M"]),
)
def test_months_agree_with_counting(
    segments: list[tuple[int, int]], window: tuple[int, int], text: str
) -> None:
    grid = grid_of(Timeframe(text))
    first, last = grid.index(JANUARY - 200 * DAY), grid.index(JANUARY + 600 * DAY)
    bars = {Segment(grid.open(at), grid.open(at + 1)) for at in range(first, last)}

    def inside(parts: Any) -> set[Segment]:
        return {bar for bar in bars if any(start <= bar.start and bar.end <= end for start, end in parts)}

    # Joined by hand: ranges that touch or overlap hold a bar together.
    joined: list[tuple[int, int]] = []
    for start, end in sorted(pair for pair in segments if pair[0] < pair[1]):
        if joined and start <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(end, joined[-1][1]))
        else:
            joined.append((start, end))
    assert inside(merge_ranges(segments, Timeframe(text))) == inside(joined)
    missing = missing_ranges(segments, window, Timeframe(text))
    assert inside(missing) == inside([window]) - inside(joined)


@pytest.mark.parametrize(
    ("segments", "window", "interval", "expected"),
    [
        ([], (0, 300), 60, [(0, 300)]),
        ([(0, 300)], (0, 300), 60, []),
        ([(60, 120), (180, 240)], (0, 300), 60, [(0, 60), (120, 180), (240, 300)]),
        ([(0, 90), (90, 300)], (0, 300), 60, []),
        ([(0, 90), (91, 300)], (0, 300), 60, [(60, 120)]),
        ([(30, 60)], (0, 60), 60, [(0, 60)]),
        ([(-600, 600)], (0, 300), 60, []),
        ([(120, 60 + 60)], (0, 120), 60, [(0, 120)]),
        ([], (10, 50), 60, []),
        ([], (60, 60), 60, []),
        ([(5, 5)], (0, 60), 60, [(0, 60)]),
        ([], (30, 150), 60, [(60, 120)]),
        ([(FEBRUARY, MARCH)], (JANUARY, APRIL), Timeframe("1M"), [(JANUARY, FEBRUARY), (MARCH, APRIL)]),
        ([], (JANUARY + 1, APRIL - 1), Timeframe("1M"), [(FEBRUARY, MARCH)]),
    ],
)
def test_examples(segments: Any, window: Any, interval: Any, expected: Any) -> None:
    assert missing_ranges(segments, window, interval) == expected
    assert missing_ranges((Segment(*pair) for pair in segments), Segment(*window), interval) == expected
    assert missing_ranges([list(pair) for pair in reversed(segments)], list(window), interval) == expected


def test_touching_and_overlapping_ranges_become_one() -> None:
    assert merge_ranges([(120, 180), (0, 60), (60, 120), (30, 90)], 60) == [Segment(0, 180)]
    assert merge_ranges([(0, 60), (120, 180)], Timeframe("1m")) == [(0, 60), (120, 180)]
    assert merge_ranges([], 60) == []


def test_the_callers_list_stays_as_it_is() -> None:
    segments = [(60, 120), (0, 60)]
    merge_ranges(segments, 60)
    missing_ranges(segments, (0, 600), 60)
    assert segments == [(60, 120), (0, 60)]


def test_a_segment_is_a_pair_of_plain_integers() -> None:
    segment = Segment(np.int64(1), np.uint8(3))
    start, end = segment
    assert (start, end) == segment == (1, 3)
    assert type(start) is type(end) is int
    assert hash(segment) == hash((1, 3))
    assert pickle.loads(pickle.dumps(segment)) == copy.deepcopy(segment) == segment
    assert isinstance(copy.copy(segment), Segment)
    assert Segment.of(segment) is segment
    assert Segment(5, 5).is_empty and not segment.is_empty
    with pytest.raises(AttributeError):
        segment.start = 2  # type: ignore[misc]


@given(pairs(0, 30), pairs(0, 30))
def test_intersect_holds_what_both_hold(left: tuple[int, int], right: tuple[int, int]) -> None:
    both = Segment(*left).intersect(Segment(*right))
    assert ticks([both]) == ticks([left]) & ticks([right])
    assert left[0] <= both.start <= both.end <= left[1]


@pytest.mark.parametrize(
    ("start", "end", "reason"),
    [
        (1_735_776_000, 1_735_689_600, "2025-01-01T00:00:00Z, before it starts at 2025-01-02T00:00:00Z"),
        (10**30, 1, f"before it starts at {10**30}"),
        (0.0, 1, "start is 0.0"),
        (0, "1", "end is '1'"),
        (True, 5, "start is True"),
        (np.True_, 5, "start is"),
        (None, 5, "start is None"),
        (0, np.array([1, 2]), "end is array"),
        (0, float("nan"), "end is nan"),
    ],
)
def test_what_is_no_segment_is_a_typed_value_error(start: Any, end: Any, reason: str) -> None:
    with pytest.raises(InvalidSegment, match=reason) as caught:
        Segment(start, end)
    assert isinstance(caught.value, ValueError)
    for call in (
        lambda: merge_ranges([(start, end)], 60),
        lambda: missing_ranges([(start, end)], (0, 60), 60),
        lambda: missing_ranges([], (start, end), 60),
    ):
        with pytest.raises(InvalidSegment, match=reason):
            call()


@pytest.mark.parametrize("pair", [None, 5, (1,), (1, 2, 3), "12", object()])
def test_what_is_no_pair_is_refused(pair: Any) -> None:
    with pytest.raises(InvalidSegment):
        Segment.of(pair)
    with pytest.raises(InvalidSegment):
        missing_ranges([pair], (0, 60), 60)


@pytest.mark.parametrize("segments", [None, 5, Segment])
def test_what_is_no_list_of_segments_is_refused(segments: Any) -> None:
    for call in (lambda: merge_ranges(segments, 60), lambda: missing_ranges(segments, (0, 60), 60)):
        with pytest.raises(InvalidSegment):
            call()


@pytest.mark.parametrize(
    ("interval", "anchor", "error"),
    [
        (0, 0, InvalidTimeframe),
        (-60, 0, InvalidTimeframe),
        ("1m", 0, InvalidTimeframe),
        (1.5, 0, InvalidTimeframe),
        (Timeframe("1M"), 7, InvalidTimeframe),
        (60, 0.5, InvalidSegment),
        (60, None, InvalidSegment),
    ],
)
def test_bad_intervals_and_anchors_are_refused(interval: Any, anchor: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        merge_ranges([], interval, anchor)
    with pytest.raises(error):
        missing_ranges([], (0, 0), interval, anchor)
