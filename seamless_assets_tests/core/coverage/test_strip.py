"""A window in equal cells holds just the time that its gaps hold, each under what it counts as."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seamless_assets.core.calendar.segment import Segment
from seamless_assets.core.coverage.coverage import ABSENT_REASONS, MISSING, Gap
from seamless_assets.core.coverage.strip import shares

WINDOW = Segment(1_000, 7_000)
KINDS = {MISSING: 0, "retention": 2, "declared": 2}
"""Which of the three strips a reason counts in; all others in the second."""


@given(
    st.lists(st.integers(0, 8_000), min_size=2, max_size=14, unique=True).map(sorted),
    st.lists(st.sampled_from([MISSING, *ABSENT_REASONS]), min_size=14, max_size=14),
    st.integers(1, 97),
)
def test_each_gap_counts_once_and_for_what_it_is(edges: list[int], reasons: list[str], cells: int) -> None:
    gaps = [Gap(*pair, reason) for pair, reason in zip(list(pairwise(edges))[::2], reasons, strict=False)]
    found = shares(WINDOW, gaps, cells)
    expected = [0.0, 0.0, 0.0]
    for gap in gaps:
        part = gap.segment.intersect(WINDOW)
        expected[KINDS.get(gap.reason, 1)] += part.end - part.start
    width = (WINDOW.end - WINDOW.start) / cells
    assert [float(share.sum()) * width for share in found] == pytest.approx(expected)
    assert all(len(share) == cells and share.min() >= 0 and share.max() <= 1 for share in found)
