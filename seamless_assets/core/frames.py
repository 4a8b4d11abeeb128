"""Frames of several libraries, looked at as pandas columns; the caller's frame is never changed."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pyarrow as pa

from seamless_assets.errors import InvalidFrame


def column_names(frame: Any) -> list[str]:
    """Names of a frame's columns; a named pandas index counts as one. Raises `InvalidFrame`."""
    if isinstance(frame, pa.Table):
        return list(frame.column_names)
    if isinstance(frame, pd.DataFrame):
        index = [] if frame.index.name is None or frame.index.name in frame.columns else [frame.index.name]
        return [*index, *frame.columns]
    if _is_polars(frame):
        return list(frame.columns)
    raise InvalidFrame(
        f"{type(frame).__name__} is not a frame; give a pandas or polars DataFrame or a pyarrow Table"
    )


def column_of(frame: Any, name: str) -> pd.Series[Any]:
    """One column as a pandas series with a plain range index."""
    if isinstance(frame, pa.Table):
        return _plain(frame.column(name).to_pandas())
    if isinstance(frame, pd.DataFrame):
        if name in frame.columns:
            return _plain(frame[name])
        return pd.Series(frame.index)
    return _plain(frame.get_column(name).to_arrow().to_pandas())


def to_pandas(frame: Any) -> pd.DataFrame:
    """The frame as a new pandas frame; its named index becomes a column."""
    return pd.DataFrame({name: column_of(frame, name) for name in column_names(frame)})


def like(frame: Any, result: pd.DataFrame) -> Any:
    """`result` in the kind of frame that `frame` is."""
    if isinstance(frame, pa.Table):
        return pa.Table.from_pandas(result, preserve_index=False).replace_schema_metadata(None)
    if isinstance(frame, pd.DataFrame):
        return result
    import polars

    return polars.from_pandas(result)


def _plain(series: pd.Series[Any]) -> pd.Series[Any]:
    return series.reset_index(drop=True)


def _is_polars(frame: Any) -> bool:
    kind = type(frame)
    return kind.__module__.partition(".")[0] == "polars" and kind.__name__ == "DataFrame"
