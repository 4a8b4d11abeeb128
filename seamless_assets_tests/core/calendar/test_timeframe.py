"""Timeframes and their grids."""

from __future__ import annotations

import pickle
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seamless_assets.core.calendar.timeframe import MONDAY, WEEK, Timeframe, ceil_to, grid_of, interval_of
from seamless_assets.errors import InvalidTimeframe, InvalidTimestamp

TIMEFRAMES = st.builds(
    lambda n, unit: Timeframe(f"{n}{unit}"), st.integers(1, 40), st.sampled_from("smhdwMy")
)
TIMES = st.integers(-(10**9), 4 * 10**9)


def epoch(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp())


@given(st.integers(1, 999_999), st.sampled_from("smhdwMy"))
def test_parse_and_str_make_a_round_trip(number: int, unit: str) -> None:
    text = f"{number}{unit}"
    timeframe = Timeframe.parse(text)
    assert str(timeframe) == text
    assert Timeframe.parse(timeframe) is timeframe
    assert pickle.loads(pickle.dumps(timeframe)) == timeframe


@pytest.mark.parametrize(
    "text",
    [
        "",
        "m",
        "1",
        "0m",
        "01m",
        "-1m",
        "1.5h",
        "1 m",
        " 1m",
        "1m ",
        "1m\n",
        "1D",
        "1min",
        "m1",
        "1234567m",
        "\uff11m",
        None,
        60,
        b"1m",
        True,
    ],
)
def test_what_is_no_timeframe_is_a_typed_value_error(text: Any) -> None:
    for build in (Timeframe, Timeframe.parse):
        with pytest.raises(InvalidTimeframe) as caught:
            build(text)
        assert isinstance(caught.value, ValueError)
        assert repr(text) in str(caught.value)
        assert caught.value.value == text


@pytest.mark.parametrize(
    ("text", "seconds"), [("1s", 1), ("1m", 60), ("4h", 14_400), ("1d", 86_400), ("2w", 2 * WEEK)]
)
def test_fixed_timeframes_have_seconds(text: str, seconds: int) -> None:
    timeframe = Timeframe(text)
    assert timeframe.seconds == timeframe.approximate_seconds == timeframe.interval == seconds
    assert not timeframe.is_calendar


@pytest.mark.parametrize(("text", "months"), [("1M", 1), ("3M", 3), ("1y", 12)])
def test_calendar_timeframes_have_none(text: str, months: int) -> None:
    timeframe = Timeframe(text)
    assert timeframe.seconds is None
    assert timeframe.interval is timeframe
    assert timeframe.approximate_seconds == months * 30 * 86_400
    assert timeframe.is_calendar


def test_timeframes_sort_by_length() -> None:
    texts = ["1s", "1m", "60s", "15m", "1h", "1d", "1w", "1M", "1y"]
    assert [str(one) for one in sorted(map(Timeframe, reversed(texts)))] == texts
    assert Timeframe("1m") < Timeframe("1M") and Timeframe("1h") >= Timeframe("59m")
    with pytest.raises(TypeError):
        sorted([Timeframe("1m"), 60])  # type: ignore[type-var]


@pytest.mark.parametrize(
    ("interval", "expected"),
    [
        (60, 60),
        (np.int64(60), 60),
        (Timeframe("1m"), 60),
        (Timeframe("1M"), Timeframe("1M")),
    ],
)
def test_an_interval_is_seconds_or_a_calendar_timeframe(interval: Any, expected: Any) -> None:
    assert interval_of(interval) == expected


@pytest.mark.parametrize(
    "interval", [0, -1, 1.0, "60", "1m", None, True, np.True_, np.float64(60), np.array([60, 60]), [60]]
)
def test_what_is_no_interval_is_refused(interval: Any) -> None:
    for function in (interval_of, grid_of):
        with pytest.raises(InvalidTimeframe, match="not an interval"):
            function(interval)


@pytest.mark.parametrize("interval", [WEEK, 2 * WEEK, Timeframe("1w"), Timeframe("7d")])
def test_weeks_open_on_monday(interval: Any) -> None:
    grid = grid_of(interval)
    assert grid.open(0) == MONDAY == epoch("1970-01-05")
    opened = grid.open(grid.index(epoch("2025-01-02")))
    assert datetime.fromtimestamp(opened, UTC).weekday() == 0


def test_an_anchor_moves_a_fixed_grid_and_no_other() -> None:
    assert grid_of(WEEK, anchor=3).open(0) == 3
    assert grid_of(60, anchor=-7).index(-8) == -1
    with pytest.raises(InvalidTimeframe, match="no anchor"):
        grid_of(Timeframe("1M"), anchor=5)


@pytest.mark.parametrize(
    ("text", "ts", "opened", "following"),
    [
        ("1M", "2024-02-29T23:59:59", "2024-02-01", "2024-03-01"),
        ("1M", "2024-03-01", "2024-03-01", "2024-04-01"),
        ("1M", "1969-12-31T23:59:59", "1969-12-01", "1970-01-01"),
        ("3M", "2025-06-30", "2025-04-01", "2025-07-01"),
        ("1y", "2024-12-31T23:59:59", "2024-01-01", "2025-01-01"),
        ("1w", "2025-01-05T23:59:59", "2024-12-30", "2025-01-06"),
        ("4h", "2025-01-01T07:59:59", "2025-01-01T04:00:00", "2025-01-01T08:00:00"),
        ("1d", "1969-12-31T12:00:00", "1969-12-31", "1970-01-01"),
    ],
)
def test_floor_and_shift(text: str, ts: str, opened: str, following: str) -> None:
    timeframe = Timeframe(text)
    assert timeframe.floor(epoch(ts)) == epoch(opened)
    assert timeframe.shift(epoch(ts), 0) == epoch(opened)
    assert timeframe.shift(epoch(ts), 1) == epoch(following)
    assert timeframe.shift(epoch(following), -1) == epoch(opened)


@given(TIMEFRAMES, TIMES)
def test_floor_and_ceil_enclose_a_time_on_the_grid(timeframe: Timeframe, ts: int) -> None:
    low, high = timeframe.floor(ts), timeframe.ceil(ts)
    assert low <= ts <= high
    assert (low == high) is (low == ts)
    assert timeframe.shift(low, 1) > ts
    assert high in (low, timeframe.shift(low, 1))
    assert timeframe.floor(low) == low and timeframe.ceil(high) == high == ceil_to(timeframe.grid, ts)


@given(TIMEFRAMES, TIMES, st.integers(-3, 40))
def test_opens_are_the_bars_that_fit_whole(timeframe: Timeframe, start: int, bars: int) -> None:
    end = timeframe.shift(start, bars) + 1
    expected = []
    opened = timeframe.ceil(start)
    while timeframe.shift(opened, 1) <= end:
        expected.append(opened)
        opened = timeframe.shift(opened, 1)
    assert list(timeframe.opens(start, end)) == expected
    assert timeframe.count(start, end) == len(expected)


@pytest.mark.parametrize("ts", [10**13, -(10**13), 10**30])
def test_milliseconds_on_a_calendar_grid_are_a_typed_error(ts: int) -> None:
    with pytest.raises(InvalidTimestamp, match="epoch seconds"):
        Timeframe("1M").floor(ts)


def test_a_bar_past_the_calendar_is_a_typed_error() -> None:
    with pytest.raises(InvalidTimestamp, match="past the calendar"):
        Timeframe("9000y").ceil(5)
