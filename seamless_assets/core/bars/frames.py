"""Frames of several libraries, in and out; the caller's frame is never changed."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from seamless_assets.aio.halves import do_halves
from seamless_assets.aio.late_imports import LateModule, late_imports
from seamless_assets.core.bars.cells import CELL_BYTES, empty_cells
from seamless_assets.errors import InvalidChoice, InvalidFrame, InvalidInput

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow.compute as pc
else:
    pc = LateModule("pyarrow.compute")
    pd = LateModule("pandas")

TIME = "ts"
_PLAIN = (pa.int64(), pa.float64())
"""Types whose cells are copied as they are."""
_LARGE = 4 << 20
"""Bytes of cells that two threads copy sooner than one."""
_POLARS_ALONE = {"Object", "Int128", "UInt128"}
"""Types of polars that Arrow lacks."""
_VIEWS = ((pa.types.is_string_view, pa.large_string()), (pa.types.is_binary_view, pa.large_binary()))


def column_names(frame: Any) -> list[str]:
    """Names of a frame's columns; a pandas index named `ts` counts as the first.

    Raises `InvalidFrame` for what is no frame and for names that repeat.
    """
    if isinstance(frame, pa.Table):
        names = list(frame.column_names)
    elif isinstance(frame, pd.DataFrame):
        names = [TIME, *frame.columns] if _time_is_index(frame) else list(frame.columns)
    elif _is_polars(frame):
        names = list(frame.columns)
    else:
        raise InvalidFrame(
            f"{type(frame).__name__} is not a frame; give a pandas or polars DataFrame or a pyarrow Table",
            value=frame,
        )
    _refuse_repeats(names)
    return names


def _refuse_repeats(names: list[Any]) -> None:
    if len(set(names)) < len(names):
        repeated = sorted({str(name) for name in names if names.count(name) > 1})
        raise InvalidFrame(f"columns {', '.join(repeated)} appear twice; keep one of each", columns=repeated)


def renamed(frame: Any, names: Mapping[Any, str]) -> Any:
    """The frame with other names of columns, its own names to the new ones; a name of a pandas index counts.

    Raises `InvalidInput` for what is no mapping to texts and `InvalidChoice` for names that are not there.
    """
    if not isinstance(names, Mapping) or not all(isinstance(new, str) for new in names.values()):
        raise InvalidInput(
            f'rename is {names!r}; give the frame\'s names and ours, such as {{"Open time": "ts"}}',
            value=names,
        )
    columns = column_names(frame)
    index = frame.index.name if isinstance(frame, pd.DataFrame) else None
    known = columns if index is None or index in columns else [*columns, index]
    unknown = [name for name in names if name not in known]
    if unknown:
        raise InvalidChoice(
            f"rename names {', '.join(map(repr, unknown))}, which the frame has not; it has "
            f"{', '.join(map(str, known)) or 'no column'}",
            value=unknown,
            choices=tuple(known),
        )
    _refuse_repeats([names.get(name, name) for name in columns])
    if isinstance(frame, pa.Table):
        return frame.rename_columns([names.get(name, name) for name in frame.column_names])
    if isinstance(frame, pd.DataFrame):
        table = frame.rename(columns=names)
        if index in names:
            table.index = table.index.rename(names[index])
        return table
    return frame.rename(dict(names))


def column_of(frame: Any, name: str) -> pd.Series[Any]:
    """One column as a pandas series with a plain range index; nulls of integers stay exact.

    What pandas has no type for comes as objects.
    """
    if isinstance(frame, pa.Table):
        return _from_arrow(frame.column(name))
    if isinstance(frame, pd.DataFrame):
        series = pd.Series(frame.index) if name not in frame.columns else frame[name]
        return _plain(series.reset_index(drop=True))
    column = frame.get_column(name)
    if str(column.dtype) in _POLARS_ALONE:
        return pd.Series(column.to_list(), dtype="object")
    return _from_arrow(column.to_arrow())


def plain_cells(frame: Any, name: str) -> np.ndarray | None:
    """A column of an Arrow table that holds int64 or float64 and no null, seldom copied; None of all others.

    pandas makes a series of the same cells, for which it takes longer than most uses of them.
    """
    column = frame.column(name) if isinstance(frame, pa.Table) else None
    if column is None or column.type not in _PLAIN or column.null_count:
        return None
    cells: np.ndarray = column.to_numpy()
    return cells


def rebuilt(frame: Any, columns: Mapping[str, Any], changed: Collection[str], rows: np.ndarray | None) -> Any:
    """A frame of the same kind with `columns` in place of its own, in its order of columns.

    `rows` are the positions kept of all other columns, None for all of them; `columns` hold those rows
    already. `changed` names the columns that differ from the frame's own where all rows are kept.
    """
    if isinstance(frame, pd.DataFrame):
        return _rebuilt_pandas(frame, columns, changed, rows)
    if isinstance(frame, pa.Table):
        return _rebuilt_arrow(frame, columns, rows)
    with late_imports("polars"):
        import polars

    kept = frame if rows is None else frame[rows]
    held = {name: polars.from_arrow(pa.array(values)) for name, values in columns.items()}
    return kept.with_columns(**held)


def is_plain_number(dtype: Any) -> bool:
    """Whether a dtype holds integers or floats, plain or nullable."""
    kind = pd.api.types
    return bool(
        kind.is_numeric_dtype(dtype) and not kind.is_bool_dtype(dtype) and not kind.is_complex_dtype(dtype)
    )


def without_rows(frame: Any, dtypes: Mapping[str, Any]) -> Any:
    """No rows, in the kind of frame that `frame` is: columns of these dtypes, and its others as they are."""
    table = pd.DataFrame({name: pd.Series(dtype=dtype) for name, dtype in dtypes.items()})
    others = [name for name in column_names(frame) if name not in dtypes]
    if isinstance(frame, pd.DataFrame):
        return pd.concat([table, frame[others].iloc[:0].reset_index(drop=True)], axis="columns")
    arrow = pa.Table.from_pandas(table, preserve_index=False).replace_schema_metadata(None)
    if isinstance(frame, pa.Table):
        for name in others:
            arrow = arrow.append_column(frame.schema.field(name), frame.column(name).slice(0, 0))
        return arrow
    with late_imports("polars"):
        import polars

    made: Any = polars.from_arrow(arrow)
    return made.with_columns(frame.clear().select(others))


def _rebuilt_pandas(
    frame: pd.DataFrame, columns: Mapping[str, Any], changed: Collection[str], rows: np.ndarray | None
) -> pd.DataFrame:
    if rows is not None:
        names = column_names(frame)
        held = {
            name: _series(columns[name]) if name in columns else frame[name].take(rows).reset_index(drop=True)
            for name in names
        }
        return pd.DataFrame(held, copy=False)
    table = frame.reset_index(drop=True)
    if _time_is_index(frame):
        table.insert(0, TIME, columns[TIME])
    for name, values in columns.items():
        if name in changed or table[name].dtype != values.dtype:
            table[name] = _series(values)
    return table


def _series(values: Any) -> pd.Series[Any]:
    # Of its own dtype: pandas would look for times in a plain array of objects.
    series: pd.Series[Any] = pd.Series(values, dtype=values.dtype, copy=False)
    return series


def _rebuilt_arrow(frame: pa.Table, columns: Mapping[str, Any], rows: np.ndarray | None) -> pa.Table:
    held = [
        pa.array(columns[name]) if name in columns else column if rows is None else _taken(column, rows)
        for name, column in zip(frame.column_names, frame.columns, strict=True)
    ]
    fields = [
        pa.field(name, column.type) if name in columns else frame.schema.field(name)
        for name, column in zip(frame.column_names, held, strict=True)
    ]
    # What pandas noted of its own types and index is no longer true.
    noted = {key: text for key, text in (frame.schema.metadata or {}).items() if key != b"pandas"}
    return pa.table(held, pa.schema(fields, noted or None))


def _taken(column: pa.ChunkedArray, rows: np.ndarray) -> pa.ChunkedArray:
    """Rows of a column. Arrow takes none of views and runs, so these are laid out plainly in between."""
    kind = column.type
    if pa.types.is_run_end_encoded(kind):
        return pc.run_end_encode(pc.run_end_decode(column).take(rows), run_end_type=kind.run_end_type)
    for is_view, plain in _VIEWS:
        if is_view(kind):
            return column.cast(plain).take(rows).cast(kind)
    try:
        return column.take(rows)
    except pa.ArrowNotImplementedError:
        # Views within other layouts: slowly, row by row.
        parts = [part for row in rows for part in column.slice(row, 1).chunks]
        return pa.chunked_array([pa.concat_arrays(parts)] if parts else [], kind)


def _from_arrow(column: Any) -> pd.Series[Any]:
    kind = column.type
    if pa.types.is_dictionary(kind):
        return _from_arrow(column.cast(kind.value_type))
    if pa.types.is_date(kind):
        column = column.cast(pa.timestamp("s" if pa.types.is_date32(kind) else "ms"))
    elif pa.types.is_timestamp(kind) and kind.tz is not None:
        # The instants are in UTC whatever the zone, which may be one that nobody here knows.
        column = column.cast(pa.timestamp(kind.unit, "UTC"))
    nullable = {pa.int64(): pd.Int64Dtype(), pa.uint64(): pd.UInt64Dtype()} if column.null_count else {}
    try:
        return _plain(column.to_pandas(types_mapper=nullable.get))
    except pa.ArrowException:
        # Texts that are no UTF-8, and types that pandas lacks.
        is_string = pa.types.is_string(kind) or pa.types.is_large_string(kind)
        cells = column.cast(pa.large_binary()) if is_string else column
        return pd.Series(cells.to_pylist(), dtype="object")


def _plain(series: pd.Series[Any]) -> pd.Series[Any]:
    kind = series.dtype
    if isinstance(kind, pd.ArrowDtype):
        return _from_arrow(pa.chunked_array(pa.array(series)))
    if isinstance(kind, pd.CategoricalDtype):
        return _plain(_uncategorised(series))
    return series.astype(kind.subtype) if isinstance(kind, pd.SparseDtype) else series


def _uncategorised(series: pd.Series[Any]) -> pd.Series[Any]:
    categories = series.cat.categories
    # Plain integers and booleans have no null of their own.
    if categories.dtype.kind in "iub" and series.hasnans:
        return pd.Series(pd.array(categories.to_numpy()).take(series.cat.codes.to_numpy(), allow_fill=True))
    return series.astype(categories.dtype)


def _time_is_index(frame: pd.DataFrame) -> bool:
    return frame.index.name == TIME and TIME not in frame.columns


def _is_polars(frame: Any) -> bool:
    kind = type(frame)
    return kind.__module__.partition(".")[0] == "polars" and kind.__name__ == "DataFrame"


def time_index(ts: np.ndarray) -> pd.DatetimeIndex:
    """Opens (epoch seconds) as a UTC index named `time`, in nanoseconds."""
    return pd.DatetimeIndex((ts * 1_000_000_000).view("datetime64[ns]"), name="time").tz_localize("UTC")


def pandas_frame(bars: pa.Table, index: pd.Index | None = None) -> pd.DataFrame:
    """Columns as a new pandas frame that is its holder's to change, with a plain range index unless told."""
    columns, kinds = bars.columns, bars.schema.types
    if not columns:
        return pd.DataFrame(index=index)
    if any(kind not in _PLAIN for kind in kinds) or any(column.null_count for column in columns):
        frame: pd.DataFrame = bars.to_pandas()
        if index is not None:
            frame.index = index
        return frame
    is_large = bars.num_rows * len(columns) * CELL_BYTES >= _LARGE
    if is_large and (shared := _frame_over(bars, index)) is not None:
        return shared
    # One block of memory for each type, as pandas itself lays frames out.
    order = sorted(range(len(columns)), key=lambda at: kinds[at] != _PLAIN[0])
    room = empty_cells(bars.num_rows, len(columns))

    def fill(part: slice) -> None:
        for place, at in zip(room[part], order[part], strict=True):
            place[:] = columns[at].to_numpy().view("<i8")

    if is_large:
        do_halves(fill, len(room))
    else:
        fill(slice(None))
    return _frame_of(room, order, kinds.count(_PLAIN[0]), bars.column_names, index)


def _frame_of(
    room: np.ndarray, order: Sequence[int], whole: int, names: Sequence[str], index: pd.Index | None
) -> pd.DataFrame:
    """The frame of cells: row after row the columns that `order` numbers, the first `whole` of them int64."""
    make = _maker_of_frames()
    if make is None:
        held = {
            names[at]: cells if row < whole else cells.view("<f8")
            for row, (at, cells) in enumerate(zip(order, room, strict=True))
        }
        return pd.DataFrame({name: held[name] for name in names}, index=index, copy=False)
    at = np.array(order)
    blocks = [(room[:whole], at[:whole]), (room[whole:].view("<f8"), at[whole:])]
    # Whoever gives the names of columns a name of their own gives it to those of this frame alone.
    return make(
        [(cells, columns) for cells, columns in blocks if len(columns)],
        pd.RangeIndex(room.shape[1]) if index is None else index,
        _names_of_columns(tuple(names)).view(),
    )


@cache
def _maker_of_frames() -> Callable[..., pd.DataFrame] | None:
    """How this pandas makes a frame of whole blocks; before version 3 it has no such way for others."""
    try:
        with late_imports("pandas"):
            from pandas.api.internals import (  # type: ignore[import-not-found]
                create_dataframe_from_blocks,
            )
    except ImportError:
        return None
    make: Callable[..., pd.DataFrame] = create_dataframe_from_blocks
    return make


@lru_cache(64)
def _names_of_columns(names: tuple[str, ...]) -> pd.Index:
    return pd.Index(list(names))


def _frame_over(bars: pa.Table, index: pd.Index | None) -> pd.DataFrame | None:
    """A frame over the memory of the bars, of which pandas copies a column before it is first changed.

    None where this pandas does not, where a column is in several pieces, and where the frame would keep more
    than twice its size from being freed.
    """
    has_pieces = any(column.num_chunks != 1 for column in bars.columns)
    if has_pieces or bars.get_total_buffer_size() > 2 * bars.nbytes or not _copies_late():
        return None
    return _over({name: bars.column(name).chunk(0) for name in bars.column_names}, index)


def _over(columns: Mapping[str, pa.Array], index: pd.Index | None = None) -> pd.DataFrame:
    buffers = [column.buffers()[1] for column in columns.values()]
    cells = {
        name: np.frombuffer(buffer, column.type.to_pandas_dtype(), len(column), column.offset * CELL_BYTES)
        for (name, column), buffer in zip(columns.items(), buffers, strict=True)
    }
    frame = pd.DataFrame(cells, index=index, copy=False)
    blocks: Any = frame._mgr.blocks
    for block, buffer in zip(blocks, buffers, strict=True):
        # Whatever looks at this memory keeps the buffer, so pandas never takes it for a frame's alone.
        block.refs.add_index_reference(buffer)
    return frame


@cache
def _copies_late() -> bool:
    """Whether this pandas copies what is not a frame's alone before it changes it; tried on two cells."""
    column = pa.Array.from_buffers(pa.int64(), 2, [None, pa.py_buffer(bytes(2 * CELL_BYTES))])
    try:
        frame = _over({"first": column, "second": column})
        series = frame["first"]
        del frame
        series.iloc[0] = 1
    except (AttributeError, TypeError, ValueError):
        # Before version 3 it writes to the memory itself, which refuses; later ones may keep other books.
        return False
    return bool(series.iloc[0] == 1) and column[0].as_py() == 0
