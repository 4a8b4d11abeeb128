"""Bars as one block of memory: eight bytes a cell, a column after the other, in the bits that are hashed."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from seamless_assets.core.bars.table import BARS_SCHEMA, COLUMNS
from seamless_assets.errors import InvalidFrame

CELL_BYTES = 8
_INFINITY_BITS = np.float64(np.inf).view(np.uint64)


def empty_cells(rows: int, columns: int = len(COLUMNS)) -> np.ndarray:
    """Room for so many bars, int64, shape `(6, rows)`: `ts`, and the bits of the other columns."""
    # Arrow's pool has at hand what was freed; of the system each page would be asked for and cleared anew.
    room = pa.allocate_buffer(columns * rows * CELL_BYTES)
    return np.frombuffer(room, "<i8", columns * rows).reshape(columns, rows)


def canonical_cells(bars: pa.Table) -> np.ndarray:
    """The cells of bars, each value in the bits that are hashed. Raises `InvalidFrame` for infinities."""
    cells = empty_cells(bars.num_rows)
    for name, place in zip(COLUMNS, cells, strict=True):
        values = bars.column(name).to_numpy()
        place[:] = values if name == "ts" else canonical_floats(values, name).view("<i8")
    return cells


def fill_cells(cells: np.ndarray, tables: Sequence[pa.Table]) -> None:
    """Write the bars of tables (`BARS_SCHEMA`), one after the other, into cells for just so many."""
    joined = pa.concat_tables(tables)
    for place, column in zip(cells, joined.columns, strict=True):
        place[:] = column.to_numpy().view("<i8")


def bars_of(cells: np.ndarray) -> pa.Table:
    """Whole cells as a table of bars; nothing is copied, so nobody may change them any more."""
    block, width = pa.py_buffer(cells), cells.shape[1] * CELL_BYTES
    columns = [
        pa.Array.from_buffers(field.type, cells.shape[1], [None, block.slice(at * width, width)])
        for at, field in enumerate(BARS_SCHEMA)
    ]
    return pa.Table.from_arrays(columns, schema=BARS_SCHEMA)


def canonical_floats(values: np.ndarray, name: str) -> np.ndarray:
    """The values as contiguous little-endian float64 with one zero and one NaN.

    Raises `InvalidFrame` for infinities; values that are so already are not copied.
    """
    values = np.ascontiguousarray(values, dtype="<f8")
    bits = values.view("<u8")
    # As whole numbers, finite floats without a sign lie below infinity, and all others from there on.
    if len(bits) == 0 or bits.max() < _INFINITY_BITS:
        return values
    if np.isinf(values).any():
        raise InvalidFrame(f"column {name} holds infinities; conform the bars first", column=name)
    mended = values + 0.0  # -0.0 + 0.0 is 0.0
    mended[np.isnan(mended)] = np.nan
    return mended
