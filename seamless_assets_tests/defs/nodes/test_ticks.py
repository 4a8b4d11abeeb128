"""Ticks of numbers and of times: round, few, inside their range, and told apart by their texts."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seamless_assets.defs.nodes.ticks import MOST_TIMES, number_ticks, time_ticks

YEAR_2000, YEAR_2100 = 946_684_800, 4_102_444_800


def epoch(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp())


@pytest.mark.parametrize(
    ("low", "high", "texts"),
    [
        (99.4, 103.1, ["100", "101", "102", "103"]),
        (0.0, 11.8, ["0", "2", "4", "6", "8", "10"]),
        (0.0, 0.4, ["0.0", "0.1", "0.2", "0.3", "0.4"]),
        (0.0, 0.13, ["0.000", "0.025", "0.050", "0.075", "0.100", "0.125"]),
        (94_321.0, 97_654.0, ["95000", "96000", "97000"]),
        (1.0e-8, 3.1e-8, ["1.0e-08", "1.5e-08", "2.0e-08", "2.5e-08", "3.0e-08"]),
        (0.0, 2.6e9, ["0.0e+00", "5.0e+08", "1.0e+09", "1.5e+09", "2.0e+09", "2.5e+09"]),
        (-1.0, 1.0, ["-1.0", "-0.5", "0.0", "0.5", "1.0"]),
    ],
)
def test_numbers_are_round(low: float, high: float, texts: list[str]) -> None:
    assert [text for _, text in number_ticks(low, high, 6)] == texts


@given(
    low=st.floats(-1e12, 1e12),
    share=st.floats(1e-6, 1e3),
    most=st.integers(3, 8),
)
def test_numbers_are_few_and_told_apart(low: float, share: float, most: int) -> None:
    span = share * max(abs(low), 1e-9)
    ticks = number_ticks(low, low + span, most)
    assert 1 <= len(ticks) <= most + 1
    assert len({text for _, text in ticks}) == len(ticks)
    for value, text in ticks:
        assert low - span * 1e-6 <= value <= low + span * (1 + 1e-6)
        assert abs(float(text) - value) <= span / 100


@pytest.mark.parametrize(
    ("start", "end", "texts"),
    [
        ("2025-01-01", "2025-01-01T00:00:10", ["Jan 01", "00:00:05", "00:00:10"]),
        ("2025-01-01T10:01", "2025-01-01T10:09", ["10:01", "10:02", "10:03", "10:04", "10:05"]),
        (
            "2025-01-01",
            "2025-01-02",
            ["Jan 01", "03:00", "06:00", "09:00", "12:00", "15:00", "18:00", "21:00", "Jan 02"],
        ),
        ("2025-02-01", "2025-03-01", ["Feb 01", "Feb 06", "Feb 11", "Feb 16", "Feb 21", "Feb 26", "Mar 01"]),
        ("2024-12-30", "2025-01-03", ["Dec 30", "12:00", "Dec 31", "12:00", "Jan 01", "12:00", "Jan 02"]),
        ("2025-01-01", "2026-01-01", ["2025", "Mar", "May", "Jul", "Sep", "Nov", "2026"]),
        ("2017-08-17", "2025-06-01", ["2018", "2019", "2020", "2021", "2022", "2023", "2024", "2025"]),
    ],
)
def test_times_are_those_of_a_calendar(start: str, end: str, texts: list[str]) -> None:
    found = [text for _, text in time_ticks(epoch(start), epoch(end))]
    assert found[: len(texts)] == texts and len(found) <= MOST_TIMES


@given(start=st.integers(YEAR_2000, YEAR_2100), span=st.integers(10, 100 * 365 * 86_400))
def test_times_are_few_and_inside(start: int, span: int) -> None:
    ticks = time_ticks(start, start + span)
    assert 1 <= len(ticks) <= MOST_TIMES
    assert all(start <= at <= start + span for at, _ in ticks)
    assert ticks == sorted(ticks, key=lambda tick: tick[0])
