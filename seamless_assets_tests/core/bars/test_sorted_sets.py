"""Sorted sets against numpy's own."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from seamless_assets.core.bars.sorted_sets import difference, distinct, is_in, union

NUMBERS = st.lists(st.integers(-3, 6), max_size=8).map(lambda values: np.array(values, dtype=np.int64))


@given(NUMBERS, NUMBERS)
def test_they_say_what_numpy_says(left: np.ndarray, right: np.ndarray) -> None:
    before = left.copy(), right.copy()
    assert np.array_equal(distinct(left), np.unique(left))
    assert np.array_equal(is_in(left, right), np.isin(left, right))
    assert np.array_equal(difference(left, right), np.setdiff1d(left, right))
    assert np.array_equal(union(left, right), np.union1d(left, right))
    assert np.array_equal(left, before[0]) and np.array_equal(right, before[1])
