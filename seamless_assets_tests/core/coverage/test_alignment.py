"""Rows of another grid are never taken for bars of ours, and slips are."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seamless_assets.core.bars.table import BARS_SCHEMA, table_of, timestamps
from seamless_assets.core.calendar.segment import Segment
from seamless_assets.core.calendar.timeframe import Timeframe
from seamless_assets.core.coverage.alignment import tolerance_ms
from seamless_assets.core.coverage.coverage import holes_in
from seamless_assets.core.coverage.pages import (
    Page,
    closed_part,
    known_opens,
    page_of,
    unwitnessed,
    witnessed_spans,
)
from seamless_assets.core.node import NodeId
from seamless_assets.errors import MisalignedTimeframe
from seamless_assets.testing import DAY, START

HOUR_MS = 3_600_000
EVER = Segment(0, 2 * START)
SERVED = [Timeframe(name) for name in ("1m", "1h", "4h", "6h", "1d", "1w")]
frames = st.sampled_from([Timeframe(name) for name in ("1m", "5m", "1h", "4h", "1d", "3d", "1w", "1M")])
some = st.sets(st.integers(0, 400), min_size=2, max_size=60).map(sorted)


def page(frame: str, opens_ms: list[int], asked: Segment = EVER) -> Page:
    rows = [(at, 1.0, 2.0, 0.5, 1.5, 3.0) for at in opens_ms]
    return page_of(NodeId("htx", "BTC/USDT", Timeframe(frame)), asked, table_of(rows, BARS_SCHEMA), SERVED)


def bar(frame: Timeframe, number: int) -> int:
    return frame.shift(START, number)


@given(frames, some, st.data())
def test_rows_that_are_all_off_by_the_same_are_refused(
    frame: Timeframe, numbers: list[int], data: st.DataObject
) -> None:
    shortest = min(bar(frame, n + 1) - bar(frame, n) for n in numbers) * 1000
    offset = data.draw(st.integers(tolerance_ms(frame) + 1, shortest - 1))
    with pytest.raises(MisalignedTimeframe) as refused:
        page(str(frame), [bar(frame, n) * 1000 + offset for n in numbers])
    if not frame.is_calendar:
        assert refused.value.offset == offset / 1000
    assert all(offset % (Timeframe(name).seconds * 1000) == 0 for name in refused.value.choices) or (
        frame.is_calendar
    )


@given(frames, some, st.data())
def test_a_slip_keeps_every_row_under_its_own_open(
    frame: Timeframe, numbers: list[int], data: st.DataObject
) -> None:
    slips = data.draw(
        st.lists(st.integers(0, tolerance_ms(frame)), min_size=len(numbers), max_size=len(numbers))
    )
    kept = page(str(frame), [bar(frame, n) * 1000 + slip for n, slip in zip(numbers, slips, strict=True)])
    assert kept.opens(frame).tolist() == [bar(frame, n) for n in numbers] and kept.off_grid == ()


def bracketed_holes(kept: Page, bounds: Segment, frame: Timeframe) -> list[Segment]:
    """Holes in `bounds` with bars on both sides in the page."""
    spans = [span.intersect(bounds) for span in witnessed_spans([kept], frame)]
    return holes_in(frame, spans, known_opens([kept], frame))


@given(some, st.data())
def test_times_of_first_trades_are_floored(numbers: list[int], data: st.DataObject) -> None:
    frame = Timeframe("1h")
    lags = data.draw(
        st.lists(
            st.integers(0, HOUR_MS - 1).filter(lambda lag: lag % 60_000),
            min_size=len(numbers),
            max_size=len(numbers),
            unique=True,
        )
    )
    late = [lag for lag in lags if lag > tolerance_ms(frame)]
    if 2 * len(late) <= len(lags):
        return
    kept = page("1h", [bar(frame, n) * 1000 + lag for n, lag in zip(numbers, lags, strict=True)])
    assert kept.opens(frame).tolist() == [bar(frame, n) for n in numbers]


@given(st.integers(2, 20), st.integers(25, 60), st.integers(61_000, HOUR_MS * 24 - 1), st.booleans())
def test_a_few_rows_of_another_grid_are_left_out_and_nothing_is_shown_of_their_bars(
    few: int, many: int, offset: int, come_first: bool
) -> None:
    """As where an exchange has moved its days."""
    frame = Timeframe("1d")
    strange, ours = range(many, many + few), range(many)
    if come_first:
        strange, ours = range(few), range(few + 1, few + 1 + many)
    kept = page(
        "1d", sorted([bar(frame, n) * 1000 + offset for n in strange] + [bar(frame, n) * 1000 for n in ours])
    )
    assert kept.opens(frame).tolist() == [bar(frame, n) for n in ours]
    held = [Segment(bar(frame, strange[0]), bar(frame, strange[-1] + 1))]
    assert unwitnessed([kept], held, frame) == held
    assert bracketed_holes(kept, held[0], frame) == []


def test_holes_among_strange_rows_between_ours_prove_nothing() -> None:
    frame = Timeframe("1d")
    ours = [*range(10), *range(16, 30)]
    strange = [bar(frame, n) * 1000 + 16 * HOUR_MS for n in (10, 11, 14)]
    kept = page("1d", sorted([bar(frame, n) * 1000 for n in ours] + strange))
    assert bracketed_holes(kept, EVER, frame) == [Segment(bar(frame, 13), bar(frame, 14))]
    assert unwitnessed([kept], [Segment(bar(frame, 0), bar(frame, 30))], frame) == [
        Segment(bar(frame, 10), bar(frame, 13)),
        Segment(bar(frame, 14), bar(frame, 16)),
    ]


def test_a_single_row_far_off_the_grid_shows_nothing() -> None:
    alone = page("1d", [START * 1000 + 8 * HOUR_MS])
    assert alone.candles.num_rows == 0 and alone.served == 1
    assert alone.off_grid == (Segment(START, START + 2 * DAY),)


def test_the_first_bar_of_a_market_may_be_dated_by_its_listing() -> None:
    kept = page("1d", [START * 1000 + 8 * HOUR_MS, *((START + n * DAY) * 1000 for n in (1, 2))])
    assert kept.opens(Timeframe("1d")).tolist() == [START, START + DAY, START + 2 * DAY]


def test_a_row_just_before_an_open_is_not_taken_for_the_bar_before() -> None:
    frame = Timeframe("1m")
    kept = page("1m", [START * 1000, (START + 120) * 1000 - 1, (START + 180) * 1000])
    assert kept.opens(frame).tolist() == [START, START + 180]
    assert unwitnessed([kept], [Segment(START, START + 240)], frame) == [Segment(START + 60, START + 180)]


@pytest.mark.parametrize("days", [3, 365])
def test_days_that_follow_summer_time_are_refused(days: int) -> None:
    zone = ZoneInfo("America/New_York")
    first = datetime(2025, 3, 8, tzinfo=zone).toordinal()
    midnights = [datetime.fromordinal(first + n).replace(tzinfo=zone).timestamp() for n in range(days)]
    with pytest.raises(MisalignedTimeframe, match=r"its 1d bars open at 0[45]:00 UTC"):
        page("1d", [int(at) * 1000 for at in midnights])


@pytest.mark.parametrize(
    ("frame", "opens", "message", "choices"),
    [
        ("1d", [START + 16 * 3_600], "open at 16:00 UTC, ours at 00:00 UTC", ("4h", "1h", "1m")),
        ("1d", [START + 14 * 3_600], "open at 14:00 UTC", ("1h", "1m")),
        ("1w", [START - 3 * DAY + 16 * 3_600], "on Sunday at 16:00 UTC, ours on Monday", ("4h", "1h", "1m")),
        ("1w", [START + DAY], "on Thursday at 00:00 UTC, ours on Monday", ("1d", "6h", "4h", "1h", "1m")),
        ("4h", [START + 3_600], "open 1:00:00 after ours, such as at 2025-01-12 21:00 UTC", ("1h", "1m")),
    ],
)
def test_the_error_says_where_the_bars_open_and_what_to_use(
    frame: str, opens: list[int], message: str, choices: tuple[str, ...]
) -> None:
    step = Timeframe(frame).seconds or 0
    with pytest.raises(MisalignedTimeframe, match=message) as refused:
        page(frame, [(opens[0] + n * step) * 1000 for n in range(72)])
    assert refused.value.choices == choices
    assert refused.value.node_id == f"ohlcv:htx:BTC/USDT:{frame}"
    assert f"declare {choices[0]} or finer" in str(refused.value)


def test_months_of_another_zone_are_refused() -> None:
    frame = Timeframe("1M")
    with pytest.raises(MisalignedTimeframe, match="open 8:00:00 before ours") as refused:
        page("1M", [frame.shift(START, n) * 1000 - 8 * HOUR_MS for n in range(5)])
    assert refused.value.offset == -8 * 3_600 and refused.value.choices[0] == "4h"


def test_a_bar_is_closed_when_its_own_end_has_come() -> None:
    frame, closed = Timeframe("1d"), START + 3 * DAY
    first_trades = [START * 1000 + at for at in (61_001, 24 * HOUR_MS + 7_200_003, 48 * HOUR_MS + 900_007)]
    asked = Segment(START, closed)
    kept = closed_part(page("1d", first_trades, asked), frame, closed)
    assert timestamps(kept.candles).tolist() == first_trades[:2] and kept.served == 3
    slipped = [(START + n * DAY) * 1000 + 500 for n in range(3)]
    assert closed_part(page("1d", slipped, asked), frame, closed).opens(frame)[-1] == START + 2 * DAY
