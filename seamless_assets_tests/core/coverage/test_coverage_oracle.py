"""Coverage arithmetic against an oracle that counts bar by bar."""

from __future__ import annotations

import itertools

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from seamless_assets.core.calendar.segment import Segment, merge_ranges, missing_ranges
from seamless_assets.core.calendar.timeframe import Timeframe
from seamless_assets.core.coverage.coverage import ABSENT_REASONS, MISSING, Gap, counted, coverage_of, holes
from seamless_assets.core.coverage.proof import subtract
from seamless_assets.core.sharing.lease import chunks

FRAMES = [Timeframe(text) for text in ("1m", "5m", "1h", "1w", "1M")]
MIDDLE = 1_700_000_000
frames = st.sampled_from(FRAMES)


@st.composite
def ranges(draw: st.DrawFn, timeframe: Timeframe, is_aligned: bool) -> Segment:
    step = timeframe.approximate_seconds
    base = timeframe.floor(MIDDLE)
    if is_aligned:
        first = draw(st.integers(-30, 30))
        return Segment(timeframe.shift(base, first), timeframe.shift(base, first + draw(st.integers(0, 20))))
    start = base + draw(st.integers(-30 * step, 30 * step))
    return Segment(start, start + draw(st.integers(0, 20 * step)))


def bars_of(timeframe: Timeframe, window: Segment) -> list[Segment]:
    """Every whole bar of a window, found by walking from one to the next."""
    found, opened = [], timeframe.floor(window.start)
    while opened < window.end:
        bar = Segment(opened, timeframe.shift(opened, 1))
        if window.start <= bar.start and bar.end <= window.end:
            found.append(bar)
        opened = bar.end
    return found


def covered_seconds(bar: Segment, segments: list[Segment]) -> bool:
    """Whether every second of a bar lies in some segment, judged at each place where one ends."""
    at = bar.start
    while at < bar.end:
        reach = max((s.end for s in segments if s.start <= at < s.end), default=at)
        if reach == at:
            return False
        at = reach
    return True


@given(st.data(), frames, st.booleans())
def test_merging_keeps_exactly_the_bars_that_are_wholly_covered(
    data: st.DataObject, timeframe: Timeframe, is_aligned: bool
) -> None:
    segments = data.draw(st.lists(ranges(timeframe, is_aligned), max_size=6))
    hull = Segment(MIDDLE - 60 * timeframe.approximate_seconds, MIDDLE + 60 * timeframe.approximate_seconds)
    merged = merge_ranges(segments, timeframe)
    kept = {bar for part in merged for bar in bars_of(timeframe, part)}
    joined = [bar for bar in bars_of(timeframe, hull) if covered_seconds(bar, segments)]
    assert kept == set(joined)
    assert all(left.end < right.start for left, right in itertools.pairwise(merged))


@given(st.data(), frames, st.booleans())
def test_what_is_missing_is_what_no_segment_covers(
    data: st.DataObject, timeframe: Timeframe, is_aligned: bool
) -> None:
    segments = data.draw(st.lists(ranges(timeframe, is_aligned), max_size=6))
    window = data.draw(ranges(timeframe, is_aligned))
    missing = missing_ranges(segments, window, timeframe)
    lacking = {bar for part in missing for bar in bars_of(timeframe, part)}
    assert lacking == {bar for bar in bars_of(timeframe, window) if not covered_seconds(bar, segments)}


@given(st.data(), frames)
def test_subtract_is_missing_ranges_of_each(data: st.DataObject, timeframe: Timeframe) -> None:
    settled = data.draw(st.lists(ranges(timeframe, True), max_size=6))
    wanted = merge_ranges(data.draw(st.lists(ranges(timeframe, True), max_size=4)), timeframe)
    expected = [part for segment in wanted for part in missing_ranges(settled, segment, timeframe)]
    assert subtract(wanted, settled, timeframe) == expected


@given(st.data(), frames, st.booleans())
def test_coverage_counts_every_bar_once(data: st.DataObject, timeframe: Timeframe, is_aligned: bool) -> None:
    window = data.draw(ranges(timeframe, is_aligned))
    every = bars_of(timeframe, window)
    present = data.draw(st.sets(st.sampled_from(every))) if every else set()
    proofs = [
        Gap(*data.draw(ranges(timeframe, True)), data.draw(st.sampled_from(ABSENT_REASONS)))
        for _ in range(data.draw(st.integers(0, 4)))
    ]
    opens = np.array(sorted(bar.start for bar in present), dtype=np.int64)
    coverage = coverage_of(timeframe, window, opens, proofs)
    reasons = {}
    for bar in every:
        if bar not in present:
            proven = [proof.reason for proof in proofs if proof.start <= bar.start and bar.end <= proof.end]
            reasons[bar] = proven[0] if proven else MISSING
    assert (coverage.expected, coverage.present) == (len(every), len(present))
    assert coverage.missing == sum(reason == MISSING for reason in reasons.values())
    assert coverage.absent == len(reasons) - coverage.missing
    assert {bar: gap.reason for gap in coverage.gaps for bar in bars_of(timeframe, gap.segment)} == reasons
    possible = coverage.expected - coverage.absent
    assert coverage.ratio == (coverage.present / possible if possible else 1.0)


@given(st.data(), frames)
def test_holes_are_the_runs_of_bars_that_are_not_there(data: st.DataObject, timeframe: Timeframe) -> None:
    window = data.draw(ranges(timeframe, True))
    every = bars_of(timeframe, window)
    present = data.draw(st.sets(st.sampled_from(every))) if every else set()
    found = holes(timeframe, window, np.array(sorted(bar.start for bar in present), dtype=np.int64))
    assert [bar for hole in found for bar in bars_of(timeframe, hole)] == [
        bar for bar in every if bar not in present
    ]
    assert all(left.end < right.start for left, right in itertools.pairwise(found))


@given(st.data(), frames, st.integers(1, 50))
def test_chunks_adjoin_and_are_cut_at_the_same_places_for_every_window(
    data: st.DataObject, timeframe: Timeframe, bars: int
) -> None:
    one, other = data.draw(ranges(timeframe, True)), data.draw(ranges(timeframe, True))
    cut = chunks(timeframe, one, bars)
    assert all(timeframe.count(*chunk) == bars for chunk in cut)
    assert all(left.end == right.start for left, right in itertools.pairwise(cut))
    if cut:
        assert cut[0].start <= one.start < cut[0].end and cut[-1].start < one.end <= cut[-1].end
    for mine in cut:
        for theirs in chunks(timeframe, other, bars):
            assert mine == theirs or mine.intersect(theirs).is_empty


def test_a_coverage_of_thousands_of_gaps_fits_a_screen() -> None:
    gaps = tuple(Gap(n * 120, n * 120 + 60, "no_trades") for n in range(5_000))
    for shown in (0, 1, 3, 5_000):
        some = gaps[:shown]
        told = repr(counted(Timeframe("1m"), 10_000, some))
        assert len(told) < 400 and f"{10_000 - shown} present, {shown} proven absent, 0 missing" in told
        assert told.count("Gap(") == min(shown, 3) and ("and 4997 more" in told) is (shown == 5_000)
