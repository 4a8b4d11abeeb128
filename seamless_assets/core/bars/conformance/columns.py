"""Columns brought to their declared dtype, and what had to be done for it."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from seamless_assets.aio.late_imports import LateModule
from seamless_assets.core.bars.frames import is_plain_number
from seamless_assets.core.bars.table import COLUMNS
from seamless_assets.core.canonical import is_text
from seamless_assets.errors import InvalidChoice

if TYPE_CHECKING:
    import pandas as pd
else:
    pd = LateModule("pandas")

_LARGEST = int(sys.float_info.max)
_NUMERIC_OBJECTS = {"decimal", "integer", "floating", "mixed-integer-float"}
OHLCV: Mapping[str, Any] = {"ts": np.dtype("int64"), **dict.fromkeys(COLUMNS[1:], np.dtype("float64"))}


@dataclass(frozen=True, slots=True)
class Column:
    """A column's values, one for each row of the input.

    `changed`: they are not the input's own; `flag`: dtype_cast, dtype_mismatch or None; `non_finite`: cells
    of the input that were null, NaN or infinite, or are so as this dtype (numeric columns only).
    """

    values: Any
    changed: bool
    flag: str | None = None
    non_finite: int = 0


def wanted_columns(schema: Any) -> Mapping[str, Any]:
    """dtype by column of a schema argument; `ts` is always one of them. Raises `InvalidChoice`."""
    if schema is None:
        return {"ts": OHLCV["ts"]}
    if isinstance(schema, str) and schema.lower() == "ohlcv":
        return OHLCV
    if not isinstance(schema, Mapping):
        raise InvalidChoice(
            f'schema {schema!r} is not "ohlcv", None or a mapping of columns to dtypes',
            value=schema,
            choices=("ohlcv", None),
        )
    wanted = {"ts": OHLCV["ts"], **{name: _dtype(name, dtype) for name, dtype in schema.items()}}
    if wanted["ts"] != OHLCV["ts"]:
        raise InvalidChoice(f"schema asks for ts as {schema['ts']!r}; ts is always int64", value=schema)
    return wanted


def read_column(series: pd.Series[Any], dtype: Any) -> Column:
    """A column as `dtype`.

    Numbers in texts count as numbers. Where a cell cannot be read, the column is float64 with NaN there
    and its flag is dtype_mismatch; a column of another kind that cannot be cast stays as it is.
    """
    if not isinstance(dtype, np.dtype) or dtype.kind not in "iuf":
        return _other(series, dtype)
    numbers, unread = _numbers(series)
    floats = numbers.to_numpy(dtype=np.float64, na_value=np.nan)
    if dtype.kind == "f" and dtype != np.float64:
        with np.errstate(over="ignore"):
            floats = floats.astype(dtype)
    finite = np.isfinite(floats)
    non_finite = 0 if finite.all() else int(len(floats) - np.count_nonzero(finite)) - unread
    values: Any = floats if dtype.kind == "f" else _as_integers(numbers, floats, dtype)
    infinite = non_finite > 0 and dtype.kind == "f" and bool(np.isinf(values).any())
    if infinite:
        values = np.where(np.isinf(values), np.nan, values)
    if unread or values.dtype != dtype:
        return Column(values, True, "dtype_mismatch", non_finite)
    cast = series.dtype != dtype
    return Column(values, cast or infinite, "dtype_cast" if cast and len(series) else None, non_finite)


def count_non_finite(series: pd.Series[Any]) -> int:
    """Cells of a numeric column that are null, NaN or infinite; 0 for a column of another kind.

    Objects count as numeric where all that are not null are numbers.
    """
    if is_plain_number(series.dtype):
        floats = series.to_numpy(dtype=np.float64, na_value=np.nan)
        return len(floats) - int(np.count_nonzero(np.isfinite(floats)))
    if series.dtype != "object" or pd.api.types.infer_dtype(series, skipna=True) not in _NUMERIC_OBJECTS:
        return 0
    return sum(not _is_finite(cell) for cell in series)


def _is_finite(cell: Any) -> bool:
    try:
        return math.isfinite(cell)
    except OverflowError:  # an integer too large for a float is finite all the same
        return True
    except (TypeError, ValueError):
        return False


def taken(values: Any, positions: np.ndarray) -> Any:
    """Values at positions that are all there: numpy's check of each takes longer than taking it."""
    return values.take(positions, mode="clip") if isinstance(values, np.ndarray) else values[positions]


def differing(values: Any, left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Mask of the pairs of positions whose values differ; a null equals a null."""
    if isinstance(values, np.ndarray) and values.dtype.kind in "iuf":
        one, other = values[left], values[right]
        mask: np.ndarray = (one != other) & ~((one != one) & (other != other))
        return mask
    try:
        codes, _ = pd.factorize(values)
    except TypeError:  # cells without a hash, such as lists
        codes, _ = pd.factorize(np.array([repr(cell) for cell in values], dtype=object))
    return np.asarray(codes[left] != codes[right])


def _numbers(series: pd.Series[Any]) -> tuple[pd.Series[Any], int]:
    """The column as numbers, and how many cells hold something else."""
    kind = series.dtype
    if is_plain_number(kind):
        return series, 0
    if pd.api.types.is_bool_dtype(kind) or (
        kind == "object" and pd.api.types.infer_dtype(series, skipna=True) == "boolean"
    ):
        return series.astype("boolean").astype("Int8"), 0
    if kind != "object" and not isinstance(kind, pd.StringDtype):
        return pd.Series(np.full(len(series), np.nan)), int(series.notna().sum())
    unread = 0
    if kind == "object":
        foreign = ~np.fromiter(map(_may_be_number, series.tolist()), dtype=bool, count=len(series))
        if foreign.any():
            unread = int(np.count_nonzero(foreign))
            series = series.copy()
            series[foreign] = None
    numbers = pd.to_numeric(series, errors="coerce")
    lost = (numbers.isna() & series.notna()).to_numpy()
    if not lost.any():
        return numbers, unread
    return numbers, unread + sum(str(cell).strip().lower() != "nan" for cell in series[lost])


def _may_be_number(cell: Any) -> bool:
    """Whether a cell of objects is null, a number that a float can say, or a text."""
    if isinstance(cell, Decimal):
        return not cell.is_snan()
    if isinstance(cell, int):
        return not isinstance(cell, bool) and abs(cell) <= _LARGEST
    if isinstance(cell, np.integer | float | np.floating | bytes) or is_text(cell):
        return True
    return cell is None or cell is pd.NA or cell is pd.NaT


def _as_integers(numbers: pd.Series[Any], floats: np.ndarray, dtype: np.dtype[Any]) -> np.ndarray:
    """The numbers as `dtype`, or as float64 where some of them are no such integer."""
    bounds = np.iinfo(dtype)
    if numbers.dtype.kind in "iu" and not numbers.isna().any():
        if len(numbers) == 0 or (int(numbers.min()) >= bounds.min and int(numbers.max()) <= bounds.max):
            return numbers.to_numpy(dtype=dtype)
        return floats
    # 2**63 and 2**64 are floats, the largest integers below them are not: compare from above.
    fits = (floats == np.floor(floats)) & (floats >= float(bounds.min)) & (floats < float(bounds.max) + 1)
    return floats.astype(dtype) if fits.all() else floats


def plain_values(series: pd.Series[Any]) -> Any:
    """The values of a column: numpy's array where its dtype is one of numpy's, else pandas' own."""
    return series.to_numpy() if isinstance(series.dtype, np.dtype) else series.array


def floats_of(values: Any) -> np.ndarray:
    """Numbers of any dtype, plain or nullable, as floats; a null is NaN."""
    if isinstance(values, np.ndarray):
        return values
    floats: np.ndarray = values.to_numpy(dtype=np.float64, na_value=np.nan)
    return floats


def _other(series: pd.Series[Any], dtype: Any) -> Column:
    if series.dtype == dtype or dtype == np.dtype("object"):
        return Column(plain_values(series), False, non_finite=count_non_finite(series))
    try:
        cast = series.astype(dtype)
        is_whole = int(cast.isna().sum()) == int(series.isna().sum())
    except (ArithmeticError, TypeError, ValueError, pa.ArrowException):
        is_whole = False
    if not is_whole:
        return Column(plain_values(series), False, "dtype_mismatch", count_non_finite(series))
    return Column(plain_values(cast), True, "dtype_cast" if len(series) else None, count_non_finite(cast))


def _dtype(name: Any, dtype: Any) -> Any:
    try:
        return pd.api.types.pandas_dtype(str(dtype).lower())
    except (TypeError, ValueError) as error:
        raise InvalidChoice(
            f"schema asks for column {name} as {dtype!r}, which is no dtype; write one such as float64",
            value=dtype,
        ) from error
