"""Conformance v2: any frame of candles becomes canonical bars, and everything mended is counted.

`conform` reports and does not raise for bad data. Counts are of the input, before anything is dropped;
`gap` alone is of the result.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
import pandas as pd

from seamless_assets.core.bars import COLUMNS, PRICES
from seamless_assets.core.epochs import read_epochs
from seamless_assets.core.frames import column_names, like, to_pandas
from seamless_assets.core.schema import bars_model
from seamless_assets.core.timeframe import FixedGrid, Grid, grid_of
from seamless_assets.errors import InvalidChoice, SeamlessError

VERSION = "v2"
INFORMATION, WARNING, BLOCKING = "information", "warning", "blocking"
SEVERITIES: Mapping[str, str] = MappingProxyType(
    {
        "ts_cast": INFORMATION,
        "ts_timezone_normalized": INFORMATION,
        "dtype_cast": INFORMATION,
        "revised": INFORMATION,
        "gap": WARNING,
        "duplicate_ts": WARNING,
        "misaligned_ts": WARNING,
        "negative_volume": WARNING,
        "missing_column": BLOCKING,
        "dtype_mismatch": BLOCKING,
        "invalid_timestamp": BLOCKING,
        "non_finite": BLOCKING,
        "ohlc_inconsistent": BLOCKING,
    }
)
_UNITS = {
    "gap": "bars are missing between the first and the last",
    "duplicate_ts": "rows repeated a ts and were dropped",
    "misaligned_ts": "rows were off the grid and were floored",
    "negative_volume": "rows have a negative volume",
    "missing_column": "columns are missing",
    "dtype_mismatch": "columns hold values that are no numbers",
    "invalid_timestamp": "rows had no readable ts and were dropped",
    "non_finite": "cells are null or not finite",
    "ohlc_inconsistent": "rows have a high or low that does not enclose open and close",
    "ts_cast": "rows had their ts cast to epoch seconds",
    "ts_timezone_normalized": "rows had their zone normalised to UTC",
    "dtype_cast": "columns were cast",
    "revised": "bars were revised",
}
_OHLCV: Mapping[str, str] = MappingProxyType({"ts": "int64", **dict.fromkeys(COLUMNS[1:], "float64")})


@dataclass(frozen=True)
class Report:
    """What conformance found: `flags` by name with their counts, in the units of the taxonomy.

    `blocking` names the flags that stop a release, `warnings` says in words what deserves a look.
    """

    flags: dict[str, int]
    blocking: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    rows_in: int = 0
    rows_out: int = 0
    conformance_version: str = VERSION

    @property
    def ok(self) -> bool:
        """Whether nothing blocks."""
        return not self.blocking


def conform(
    frame: Any,
    interval: Any = 60,
    schema: str | Mapping[str, str] | None = "ohlcv",
    *,
    severities: Mapping[str, str] | None = None,
) -> tuple[Any, Report]:
    """Canonical bars of any pandas, Arrow or polars frame, and the report.

    `interval`: seconds, a `Timeframe`, or None (no grid: nothing is floored, no gap is seen). `schema`:
    "ohlcv", None (the time column alone) or `{column: dtype name}`. `severities` overrides
    information, warning or blocking by flag. Rows come sorted by `ts`, one for each; an aligned row beats
    a floored one, else the last row wins. Other columns are kept, missing ones stay missing. `frame` is
    not changed. Raises `InvalidFrame`, `InvalidTimeframe`, `InvalidChoice` for bad arguments, and
    `SeamlessError` where the result is not what the model promises.
    """
    names = column_names(frame)
    wanted = _wanted(schema)
    judged = {**SEVERITIES, **_checked(severities or {})}
    grid = None if interval is None else grid_of(interval)
    table = to_pandas(frame)
    flags: dict[str, int] = {"missing_column": sum(name not in names for name in wanted)}
    if "ts" not in names:
        return like(frame, _empty(wanted)), _report(flags, judged, len(table), 0)
    table = _with_time(table, grid, flags)
    for name, dtype in wanted.items():
        if name != "ts" and name in table:
            table[name] = _typed(table[name], dtype, flags)
    _count_bad_values(table, wanted, flags)
    result = _deduplicated(table, flags).drop(columns=_OFF_GRID)
    flags["gap"] = _gap(result["ts"].to_numpy(), grid)
    report = _report(flags, judged, len(table) + flags.get("invalid_timestamp", 0), len(result))
    if wanted == _OHLCV:
        _check_model(result, report)
    return like(frame, result), report


_OFF_GRID = "__off_grid__"


def _wanted(schema: str | Mapping[str, str] | None) -> Mapping[str, str]:
    if schema is None:
        return {"ts": "int64"}
    if isinstance(schema, Mapping):
        try:
            chosen = {name: np.dtype(str(dtype).lower()).name for name, dtype in schema.items()}
        except TypeError as error:
            raise InvalidChoice(
                f"schema {dict(schema)!r} names an unknown dtype: {error}", value=schema
            ) from error
        return {"ts": "int64", **chosen}
    if isinstance(schema, str) and schema.lower() == "ohlcv":
        return _OHLCV
    raise InvalidChoice(
        f'schema {schema!r} is not "ohlcv", None or a mapping of columns to dtypes', value=schema
    )


def _checked(severities: Mapping[str, str]) -> Mapping[str, str]:
    for flag, severity in severities.items():
        if flag not in SEVERITIES or severity not in (INFORMATION, WARNING, BLOCKING):
            raise InvalidChoice(
                f"severity {flag}: {severity} is not one of {', '.join(SEVERITIES)} with "
                f"{INFORMATION}, {WARNING} or {BLOCKING}",
                value=(flag, severity),
            )
    return severities


def _with_time(table: pd.DataFrame, grid: Grid | None, flags: dict[str, int]) -> pd.DataFrame:
    epochs = read_epochs(table["ts"])
    flags["invalid_timestamp"] = int((~epochs.readable).sum())
    flags["ts_cast"] = int(epochs.cast.sum())
    flags["ts_timezone_normalized"] = int(epochs.zoned.sum())
    if flags["invalid_timestamp"]:
        table = table.loc[epochs.readable].reset_index(drop=True)
    seconds = epochs.seconds[epochs.readable]
    floored = seconds if grid is None else _floor(seconds, grid)
    off_grid = (floored != seconds) | epochs.fractional[epochs.readable]
    flags["misaligned_ts"] = int(off_grid.sum()) if grid is not None else 0
    return table.assign(**{"ts": floored.astype(np.int64), _OFF_GRID: off_grid})


def _floor(seconds: np.ndarray, grid: Grid) -> np.ndarray:
    if isinstance(grid, FixedGrid):
        floored: np.ndarray = (seconds - grid.anchor) // grid.seconds * grid.seconds + grid.anchor
        return floored
    return np.array([grid.open(grid.index(int(ts))) for ts in seconds], dtype=np.int64)


def _typed(column: pd.Series[Any], dtype: str, flags: dict[str, int]) -> pd.Series[Any]:
    if column.dtype == np.dtype(dtype):
        return column
    numbers = pd.to_numeric(column, errors="coerce") if dtype != "object" else column
    if pd.api.types.is_bool_dtype(column.dtype) or pd.api.types.is_datetime64_any_dtype(column.dtype):
        flags["dtype_mismatch"] = flags.get("dtype_mismatch", 0) + 1
        return pd.Series(np.full(len(column), np.nan), index=column.index)
    lost = bool((numbers.isna() & column.notna()).any())
    target = np.dtype(dtype)
    plain = numbers.to_numpy(dtype=np.float64, na_value=np.nan)
    if target.kind in "iu" and (np.isnan(plain).any() or (plain != np.floor(plain)).any()):
        lost, target = True, np.dtype(np.float64)
    name = "dtype_mismatch" if lost else "dtype_cast"
    flags[name] = flags.get(name, 0) + 1
    return pd.Series(plain.astype(target), index=column.index)


def _count_bad_values(table: pd.DataFrame, wanted: Mapping[str, str], flags: dict[str, int]) -> None:
    count = 0
    for name, dtype in wanted.items():
        if name == "ts" or name not in table or np.dtype(dtype).kind != "f":
            continue
        values = table[name].to_numpy()
        finite = np.isfinite(values)
        count += int(len(values) - np.count_nonzero(finite))
        infinite = np.isinf(values)
        if infinite.any():
            table[name] = np.where(infinite, np.nan, values)
    flags["non_finite"] = count
    if all(name in table for name in PRICES) and wanted == _OHLCV:
        o, h, low, c = (table[name].to_numpy() for name in PRICES)
        flags["ohlc_inconsistent"] = int(((h < o) | (h < c) | (h < low) | (low > o) | (low > c)).sum())
    if "volume" in table and "volume" in wanted:
        flags["negative_volume"] = int((table["volume"].to_numpy() < 0).sum())


def _deduplicated(table: pd.DataFrame, flags: dict[str, int]) -> pd.DataFrame:
    ts = table["ts"].to_numpy()
    if len(ts) < 2 or bool((ts[1:] > ts[:-1]).all()):
        return table
    # Floored rows first within one ts, so that the last row is the last aligned one where there is any.
    order = np.lexsort((np.arange(len(ts)), ~table[_OFF_GRID].to_numpy(), ts))
    ordered = ts[order]
    last = np.append(ordered[1:] != ordered[:-1], True)
    flags["duplicate_ts"] = int(len(ts) - last.sum())
    kept: pd.DataFrame = table.iloc[order[last]].reset_index(drop=True)
    return kept


def _gap(ts: np.ndarray, grid: Grid | None) -> int:
    if grid is None or len(ts) < 2:
        return 0
    return grid.index(int(ts[-1])) - grid.index(int(ts[0])) + 1 - len(ts)


def _empty(wanted: Mapping[str, str]) -> pd.DataFrame:
    return pd.DataFrame({name: pd.Series(dtype=dtype) for name, dtype in wanted.items()})


def _report(flags: dict[str, int], judged: Mapping[str, str], rows_in: int, rows_out: int) -> Report:
    found = {name: count for name, count in flags.items() if count}
    return Report(
        flags=found,
        blocking=tuple(name for name in found if judged[name] == BLOCKING),
        warnings=tuple(f"{name}: {n} {_UNITS[name]}" for name, n in found.items() if judged[name] == WARNING),
        rows_in=rows_in,
        rows_out=rows_out,
    )


def _check_model(result: pd.DataFrame, report: Report) -> None:
    """Fail closed where pandera's model finds what no flag has told of."""
    excused = {"missing_column", "dtype_mismatch", "non_finite", "ohlc_inconsistent"}
    if excused & report.flags.keys():
        return
    from pandera.errors import SchemaError

    try:
        bars_model().validate(result)
    except SchemaError as error:
        raise SeamlessError(f"conformed bars break their own model: {error}", report=report) from error
