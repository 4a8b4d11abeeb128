"""Bars as cells: the bits that are hashed, and a table over the same memory."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from seamless_assets.core.bars.cells import bars_of, canonical_cells, empty_cells, fill_cells
from seamless_assets.core.bars.table import BARS_SCHEMA, empty_bars, table_of
from seamless_assets.errors import InvalidFrame
from seamless_assets.testing import START, random_walk

BARS = table_of(((ts, *values) for ts, values in random_walk(START, START + 3_600).items()), BARS_SCHEMA)


def with_volume(*values: float | None) -> pa.Table:
    return BARS.slice(0, len(values)).set_column(5, "volume", pa.array(values, pa.float64()))


def test_bars_go_in_and_come_out_without_a_copy() -> None:
    cells = empty_cells(BARS.num_rows)
    fill_cells(cells, [BARS.slice(0, 7), empty_bars(), BARS.slice(7)])
    assert bars_of(cells) == BARS and np.array_equal(cells, canonical_cells(BARS))
    assert bars_of(empty_cells(0)) == empty_bars()
    held = bars_of(cells)
    cells[0, 0] += 1
    assert held["ts"][0].as_py() == START + 1


def test_canonical_cells_know_one_zero_and_one_nan() -> None:
    other_nan = np.array([2**63 - 1], dtype=np.int64).view(np.float64)[0]
    cells = canonical_cells(with_volume(-0.0, np.nan, other_nan, None, -1.5))
    assert np.array_equal(cells, canonical_cells(with_volume(0.0, np.nan, np.nan, np.nan, -1.5)))
    with pytest.raises(InvalidFrame, match="volume holds infinities"):
        canonical_cells(with_volume(np.inf))
