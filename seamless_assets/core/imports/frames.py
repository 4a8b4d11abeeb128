"""Frames that a caller has, as rows to import."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from seamless_assets.aio.late_imports import LateModule
from seamless_assets.core.bars.frames import TIME, column_names, column_of
from seamless_assets.core.canonical import sha256_text
from seamless_assets.core.imports.columns import Layout, chosen
from seamless_assets.core.imports.rows import Rows, Source

if TYPE_CHECKING:
    import pandas as pd
else:
    pd = LateModule("pandas")

NAME = "the frame"


def rows_of_frame(frame: Any, layout: Layout, rename: Mapping[Any, str]) -> Rows:
    """The rows of a pandas, polars or Arrow frame; a pandas index of times or with a name is a column.

    Raises `InvalidFrame` for what is none, and what `chosen` raises.
    """
    if isinstance(frame, pd.DataFrame):
        frame = _with_index(frame)
    names = {str(name): name for name in column_names(frame)}
    ours = chosen(layout, list(names), rename, NAME)
    table = pa.table({new: _array(column_of(frame, names[old])) for new, old in ours.items()})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as stream:
        stream.write_table(table)
    payload = sink.getvalue().to_pybytes()
    return Rows(Source(NAME, sha256_text(payload), len(payload)), NAME, table)


def _with_index(frame: pd.DataFrame) -> pd.DataFrame:
    name = frame.index.name
    if name in frame.columns or (name is None and not isinstance(frame.index, pd.DatetimeIndex)):
        return frame
    table = frame.copy(deep=False)
    table.index = table.index.rename(TIME if name is None else name)
    return table.reset_index()


def _array(series: pd.Series[Any]) -> pa.Array:
    try:
        return pa.array(series, from_pandas=True)
    except (pa.ArrowException, TypeError, ValueError, OverflowError):  # cells of several kinds
        return pa.array([None if cell is None else str(cell) for cell in series.tolist()])
