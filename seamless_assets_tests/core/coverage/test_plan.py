"""Which pages are asked for: few, none too large, overlapping, and the same for every worker."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seamless_assets.core.calendar.segment import Segment, merge_ranges
from seamless_assets.core.calendar.timeframe import Timeframe
from seamless_assets.core.coverage.pages import Page, known_opens, merged_candles, unwitnessed
from seamless_assets.core.coverage.plan import chunk_bars, learned_page_size, may_be_cut, pages_over, probe
from seamless_assets.core.coverage.witnesses import coarser_frames, finer_frames
from seamless_assets.core.sharing.lease import chunks
from seamless_assets.testing import START, candles

MINUTE = Timeframe("1m")
FOREVER = START * 2


def bar(number: int) -> int:
    return START + 60 * number


def span(first: int, end: int) -> Segment:
    return Segment(bar(first), bar(end))


def page(asked: Segment, numbers: range | list[int]) -> Page:
    rows = [(bar(number), 1.0, 2.0, 0.5, 1.5, 3.0) for number in numbers]
    return Page(asked, candles(rows), served=len(rows))


@pytest.mark.parametrize(
    ("page_size", "window_bars", "expected"),
    [(1000, 900, 990), (300, 900, 888), (1000, 5000, 4970), (5000, 900, 900), (200, 100, 196), (500, 1, 1)],
)
def test_a_chunk_is_whole_pages_where_that_saves_requests(
    page_size: int, window_bars: int, expected: int
) -> None:
    assert chunk_bars(page_size, window_bars) == expected


@pytest.mark.parametrize(
    ("size", "window_bars"),
    [(100, 900), (200, 900), (300, 900), (500, 900), (720, 900), (1000, 900), (1500, 900), (5000, 3000)],
)
def test_a_year_of_minutes_costs_no_more_than_a_twentieth_above_the_least(
    size: int, window_bars: int
) -> None:
    year = span(0, 525_600)
    cut = chunks(MINUTE, year, chunk_bars(size, window_bars))
    asked = sum(len(pages_over([year.intersect(chunk)], MINUTE, size, FOREVER)) for chunk in cut)
    assert asked <= 1.05 * (525_600 / size) + 1


@given(
    st.lists(st.tuples(st.integers(0, 5000), st.integers(1, 1200)), max_size=5),
    st.integers(3, 1000),
    st.integers(0, 7000),
)
def test_pages_cover_all_that_is_wanted_and_share_bars(
    parts: list[tuple[int, int]], size: int, closed_at: int
) -> None:
    closed = bar(closed_at)
    every = merge_ranges([span(first, first + length) for first, length in parts], MINUTE)
    wanted = [
        part for part in (s.intersect(span(-10, max(closed_at, -10))) for s in every) if not part.is_empty
    ]
    pages = pages_over(wanted, MINUTE, size, closed)
    assert all(MINUTE.count(*asked) <= size and asked.end <= closed for asked in pages)
    held = merge_ranges(pages, MINUTE)
    assert all(any(h.start < w.start and w.end <= h.end for h in held) for w in wanted)
    for left, right in itertools.pairwise(pages):
        assert right.start < left.end or not any(w.start < right.start < w.end for w in wanted)


@given(st.data(), st.integers(10, 60), st.booleans())
def test_honest_pages_leave_nothing_open_where_bars_stand_around(
    data: st.DataObject, size: int, newest_first: bool
) -> None:
    """The planned pages, then the probes, settle every hole with bars near enough on both sides."""
    there = sorted(data.draw(st.sets(st.integers(0, 400), min_size=2)))
    wanted = [span(150, 250)]
    held: list[Page] = []
    asking = pages_over(wanted, MINUTE, size, FOREVER)
    tried: set[Segment] = set()
    for _ in range(40):
        for asked in asking:
            inside = [n for n in there if asked.start <= bar(n) < asked.end]
            held.append(page(asked, inside[-size:] if newest_first else inside[:size]))
        tried.update(asking)
        known = known_opens(held, MINUTE)
        left = unwitnessed(held, wanted, MINUTE)
        asking = [
            p for p in (probe(hole, known, MINUTE, size, FOREVER) for hole in left) if p and p not in tried
        ]
        if not asking:
            break
    for hole in unwitnessed(held, wanted, MINUTE):
        left_bar = max((n for n in there if bar(n) < hole.start), default=None)
        right_bar = min((n for n in there if bar(n) >= hole.end), default=None)
        reaches = left_bar is not None and right_bar is not None and right_bar - left_bar + 1 <= size // 2
        assert not reaches, (hole, left_bar, right_bar)


def test_at_the_end_of_time_only_the_rest_of_a_cut_page_is_probed() -> None:
    known = np.array([bar(5)])
    assert probe(span(6, 9), known, MINUTE, 100, bar(9)) == span(5, 9)
    assert probe(span(6, 9), known[:0], MINUTE, 100, bar(9)) is None
    full, short = page(span(0, 12), range(10)), page(span(0, 12), range(5))
    assert may_be_cut([full], span(10, 12)) and not may_be_cut([short], span(10, 12))
    assert not may_be_cut([full], span(12, 14))
    assert probe(span(6, 9), known, MINUTE, 100, bar(10)) == span(5, 10)


def test_a_page_cannot_bracket_what_is_longer_than_itself() -> None:
    known = np.array([bar(0), bar(200)])
    assert probe(span(1, 200), known, MINUTE, 200, FOREVER) is None
    assert probe(span(1, 200), known, MINUTE, 201, FOREVER) == span(0, 201)


def test_the_page_size_is_learned_from_what_came_and_not_from_one_slip() -> None:
    cut = page(span(0, 1000), range(500))
    assert learned_page_size([cut], MINUTE) is None
    assert learned_page_size([cut, page(span(490, 1490), range(490, 990))], MINUTE) == 500
    slip = page(span(0, 1000), range(40))
    assert learned_page_size([slip, page(span(39, 1039), range(39, 1039))], MINUTE) == 1000


def test_the_latest_page_wins() -> None:
    old = page(span(0, 3), range(3))
    new = Page(span(2, 5), candles([(bar(2), 9.0, 9.0, 9.0, 9.0, 9.0)]), served=1)
    merged = merged_candles([old, new]).sort_by("ts")
    assert merged.column("open").to_pylist() == [1.0, 1.0, 9.0]


def test_witnesses_are_made_of_whole_bars() -> None:
    served = sorted(map(Timeframe, ("1m", "3m", "5m", "15m", "1h", "4h", "1d", "1w", "1M")))
    assert [str(f) for f in coarser_frames(MINUTE, served)] == ["5m", "1h", "1d", "1M"]
    assert [str(f) for f in coarser_frames(Timeframe("1h"), served)] == ["1d", "1M"]
    assert [str(f) for f in coarser_frames(Timeframe("1d"), served)] == ["1M"]
    assert [str(f) for f in coarser_frames(Timeframe("1d"), served[:-1])] == ["1w"]
    assert coarser_frames(Timeframe("1w"), served) == [] and coarser_frames(Timeframe("1M"), served) == []
    assert [str(f) for f in finer_frames(Timeframe("1w"), served)] == ["1d"]
    assert [str(f) for f in finer_frames(Timeframe("1M"), served)] == ["1d"]
    assert [str(f) for f in finer_frames(Timeframe("1d"), served)] == ["4h"]
    assert finer_frames(MINUTE, [Timeframe("1s"), *served]) == []


def test_a_page_of_candles_may_be_misaligned_or_calendar() -> None:
    month = Timeframe("1M")
    sent = candles([(1_735_689_600, 1.0, 2.0, 0.5, 1.5, 3.0), (1_738_368_000, 1.0, 2.0, 0.5, 1.5, 3.0)])
    assert Page(Segment(0, FOREVER), sent, 2).opens(month).tolist() == [1_735_689_600, 1_738_368_000]


def test_a_row_of_zeros_is_no_bar() -> None:
    sent = candles([(bar(0), 0.0, 0.0, 0.0, 0.0, 0.0), (bar(5), 1.0, 2.0, 0.5, 1.5, 3.0)])
    assert Page(span(0, 9), sent, 2).witnessed(MINUTE) == span(5, 6)
