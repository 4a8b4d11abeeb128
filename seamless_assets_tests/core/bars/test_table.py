"""Cutting tables of bars: what is cut by a search is sorted, and what is not sorted is cut row by row."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seamless_assets.core.bars.sorted_sets import is_ascending
from seamless_assets.core.bars.table import (
    BARS_SCHEMA,
    between,
    changes,
    join,
    stack,
    table_of,
    timestamps,
    within,
)
from seamless_assets.core.calendar.segment import Segment
from seamless_assets.core.calendar.timeframe import Timeframe
from seamless_assets.core.coverage.coverage import coverage_of, holes

opens = st.lists(st.integers(0, 30), max_size=12)


def bars(ts: list[int]) -> object:
    return table_of([(at, 1.0, 2.0, 0.5, 1.5, 3.0) for at in ts], BARS_SCHEMA)


@given(opens, st.integers(-2, 32), st.integers(-2, 32))
def test_rows_in_any_order_are_cut_one_by_one(ts: list[int], start: int, end: int) -> None:
    assert timestamps(within(bars(ts), start, end)).tolist() == [at for at in ts if start <= at < end]


@given(opens, st.integers(-2, 32), st.integers(-2, 32))
def test_a_search_cuts_sorted_bars_alike_and_refuses_all_others(ts: list[int], start: int, end: int) -> None:
    if is_ascending(np.array(ts)):
        assert between(bars(ts), start, end) == within(bars(ts), start, end)
        return
    with pytest.raises(AssertionError, match="not sorted"):
        between(bars(ts), start, end)
    with pytest.raises(AssertionError, match="not sorted"):
        changes(bars(ts), bars([1]), 0.0)


@given(st.lists(opens, max_size=4))
def test_bars_that_repeat_are_not_joined_and_rows_are_stacked_as_they_are(parts: list[list[int]]) -> None:
    every = [ts for part in parts for ts in part]
    assert timestamps(stack([bars(part) for part in parts])).tolist() == every
    if len(set(every)) == len(every):
        assert timestamps(join([bars(part) for part in parts])).tolist() == sorted(every)
        return
    with pytest.raises(AssertionError, match="repeat"):
        join([bars(part) for part in parts])


@given(opens.filter(lambda ts: not is_ascending(np.array(ts))))
def test_coverage_counts_no_opens_that_are_not_sorted(ts: list[int]) -> None:
    opens, window = np.array(ts) * 60, Segment(0, 1_800)
    with pytest.raises(AssertionError, match="not sorted"):
        coverage_of(Timeframe("1m"), window, opens, [])
    with pytest.raises(AssertionError, match="not sorted"):
        holes(Timeframe("1m"), window, opens)


def test_a_table_without_rows_needs_no_pandas() -> None:
    """The ledger of a new node is such a table, and what it costs comes before its first request."""
    program = (
        "import sys\n"
        "from seamless_assets.core.bars.table import BARS_SCHEMA, empty_bars, table_of\n"
        "from seamless_assets.core.coverage.ledger import facts_table\n"
        "tables = [empty_bars(), table_of([], BARS_SCHEMA), facts_table([])]\n"
        "assert not any(table.num_rows for table in tables) and 'pandas' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
