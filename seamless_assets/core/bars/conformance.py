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
import pyarrow as pa

from seamless_assets.core.bars.conformance_columns import OHLCV, Column, read_column, wanted_columns
from seamless_assets.core.bars.epochs import SECONDS_LIMIT, Epochs, read_epochs
from seamless_assets.core.bars.frames import column_names, column_of, like, rebuilt
from seamless_assets.core.bars.schema import bars_model
from seamless_assets.core.bars.table import PRICES
from seamless_assets.core.calendar.timeframe import CalendarGrid, FixedGrid, Grid, grid_of
from seamless_assets.errors import InvalidChoice, InvalidFrame, SeamlessError

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
_MEANINGS = {
    "gap": "bars are missing between the first and the last",
    "duplicate_ts": "rows repeated a ts and were dropped",
    "misaligned_ts": "rows were off the grid and were floored",
    "negative_volume": "rows have a negative volume",
    "missing_column": "columns are missing",
    "dtype_mismatch": "columns hold values that their dtype cannot hold",
    "invalid_timestamp": "rows had no readable ts and were dropped",
    "non_finite": "cells are null or not finite",
    "ohlc_inconsistent": "rows have a high or low that does not enclose open and close",
    "ts_cast": "rows had their ts cast to epoch seconds",
    "ts_timezone_normalized": "rows had their zone normalised to UTC",
    "dtype_cast": "columns were cast",
    "revised": "bars were revised",
}
_MODEL_EXCUSES = frozenset(
    {"missing_column", "dtype_mismatch", "non_finite", "ohlc_inconsistent", "negative_volume"}
)
_MOST_ROW_BITS = 28


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
    verify: bool = True,
) -> tuple[Any, Report]:
    """Canonical bars of a pandas, Arrow or polars frame, in the same kind of frame, and the report.

    `interval`: seconds, a `Timeframe`, or None (no grid: nothing is floored, no gap is seen). `schema`:
    "ohlcv", None (the time column alone) or `{column: dtype name}`. `severities` overrides information,
    warning or blocking by flag; without it `non_finite` blocks unless only `volume` is concerned.

    Rows come sorted by `ts`, one for each; an aligned row beats a floored one, else the last row wins.
    Other columns are kept and missing ones stay missing; without `ts` there are no rows. No row is dropped
    for its prices. `frame` is not changed. `verify` holds the result to its model once more. Raises
    `InvalidFrame`, `InvalidTimeframe` and `InvalidChoice` for bad arguments, and `SeamlessError` where the
    result is not what its model promises.
    """
    names = column_names(frame)
    wanted = wanted_columns(schema)
    chosen = _checked(severities or {})
    grid = None if interval is None else grid_of(interval)
    try:
        return _conform(frame, names, wanted, chosen, grid, verify)
    except SeamlessError:
        raise
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError, pa.ArrowException) as error:
        raise SeamlessError(
            f"conformance stopped at what it does not understand ({error}), so nothing of this frame is "
            "passed; give plain numbers and times",
            columns=names,
        ) from error


def _conform(
    frame: Any,
    names: list[str],
    wanted: Mapping[str, Any],
    severities: Mapping[str, str],
    grid: Grid | None,
    verify: bool,
) -> tuple[Any, Report]:
    flags = {"missing_column": sum(name not in names for name in wanted)}
    if "ts" not in names:
        empty = pd.DataFrame({name: pd.Series(dtype=dtype) for name, dtype in wanted.items()})
        return like(frame, empty), _report(flags, {**SEVERITIES, **severities}, len(frame), 0)
    time = column_of(frame, "ts")
    epochs = read_epochs(time)
    ts, floored = _on_grid(epochs, grid)
    # A bar that opens before what epochs can say is as unreadable as a time there.
    readable = epochs.readable & (ts >= -SECONDS_LIMIT)
    changed = time.dtype != ts.dtype or bool(epochs.cast.any() or floored.any())
    columns = {"ts": Column(ts, changed)}
    for name, dtype in wanted.items():
        if name != "ts" and name in names:
            columns[name] = read_column(column_of(frame, name), dtype)
    flags["invalid_timestamp"] = int(len(ts) - np.count_nonzero(readable))
    flags["misaligned_ts"] = 0 if grid is None else int(np.count_nonzero(floored & readable))
    flags["ts_cast"] = int(np.count_nonzero(epochs.cast & readable))
    flags["ts_timezone_normalized"] = int(np.count_nonzero(epochs.zoned & readable))
    flags |= _value_flags(columns)
    rows = _rows_kept(ts, floored, readable)
    kept = {name: column.values if rows is None else column.values[rows] for name, column in columns.items()}
    flags["duplicate_ts"] = int(np.count_nonzero(readable)) - len(kept["ts"])
    flags["gap"] = _gap(kept["ts"], grid)
    report = _report(flags, _judged(columns, severities), len(ts), len(kept["ts"]))
    if verify and wanted == OHLCV and not _MODEL_EXCUSES & report.flags.keys():
        _check_model(kept, report)
    renewed = [name for name, column in columns.items() if column.changed]
    return rebuilt(frame, kept, renewed, rows), report


def _checked(severities: Mapping[str, str]) -> Mapping[str, str]:
    for flag, severity in severities.items():
        if flag not in SEVERITIES or severity not in (INFORMATION, WARNING, BLOCKING):
            raise InvalidChoice(
                f"severity {flag}: {severity} is not one of {', '.join(SEVERITIES)} with "
                f"{INFORMATION}, {WARNING} or {BLOCKING}",
                value=(flag, severity),
                choices=tuple(SEVERITIES),
            )
    return severities


def _on_grid(epochs: Epochs, grid: Grid | None) -> tuple[np.ndarray, np.ndarray]:
    """Opens of the bars that hold the times, and the mask of the times that are no open themselves."""
    seconds = epochs.seconds
    if grid is None:
        return seconds, epochs.fractional
    opens = _floor(seconds, grid)
    return opens, (opens != seconds) | epochs.fractional


def _floor(seconds: np.ndarray, grid: Grid) -> np.ndarray:
    if isinstance(grid, FixedGrid):
        since = seconds - grid.anchor if grid.anchor else seconds
        steps = since // grid.seconds * grid.seconds
        return steps + grid.anchor if grid.anchor else steps
    assert isinstance(grid, CalendarGrid)
    months = seconds.astype("datetime64[s]").astype("datetime64[M]").astype(np.int64)
    first = months // grid.months * grid.months
    return first.astype("datetime64[M]").astype("datetime64[s]").astype(np.int64)


def _value_flags(columns: Mapping[str, Column]) -> dict[str, int]:
    said = [column.flag for column in columns.values()]
    flags = {flag: said.count(flag) for flag in ("dtype_cast", "dtype_mismatch")}
    flags["non_finite"] = sum(column.hollow for column in columns.values())
    if all(name in columns and columns[name].values.dtype.kind == "f" for name in PRICES):
        o, h, low, c = (columns[name].values for name in PRICES)
        flags["ohlc_inconsistent"] = int(
            np.count_nonzero((h < o) | (h < c) | (h < low) | (low > o) | (low > c))
        )
    if "volume" in columns and columns["volume"].values.dtype.kind in "if":
        flags["negative_volume"] = int(np.count_nonzero(columns["volume"].values < 0))
    return flags


def _rows_kept(ts: np.ndarray, floored: np.ndarray, readable: np.ndarray) -> np.ndarray | None:
    """Positions of the rows that stay, in the order of `ts`; None where all stay as they are.

    One integer for each row says its ts, whether it is aligned and its position, in this order, so that
    sorting these integers sorts the rows, and the last of each ts is the one to keep.
    """
    everything = bool(readable.all())
    if everything and bool((ts[1:] > ts[:-1]).all()):
        return None
    positions = np.arange(len(ts)) if everything else np.flatnonzero(readable)
    if len(positions) == 0:
        return positions
    bits = len(ts).bit_length()
    if bits > _MOST_ROW_BITS:
        raise InvalidFrame(f"{len(ts)} rows are too many to sort at once; conform them in parts")
    held = ts[positions]
    keys = ((held - held.min()) << 1 | ~floored[positions]) << bits | positions
    keys.sort()
    slots = keys >> (bits + 1)
    last = np.append(slots[1:] != slots[:-1], True)
    kept: np.ndarray = keys[last] & ((1 << bits) - 1)
    return kept


def _gap(ts: np.ndarray, grid: Grid | None) -> int:
    if grid is None or len(ts) < 2:
        return 0
    return grid.index(int(ts[-1])) - grid.index(int(ts[0])) + 1 - len(ts)


def _judged(columns: Mapping[str, Column], severities: Mapping[str, str]) -> Mapping[str, str]:
    blocks = any(column.hollow for name, column in columns.items() if name != "volume")
    return {**SEVERITIES, "non_finite": BLOCKING if blocks else WARNING, **severities}


def _report(flags: Mapping[str, int], judged: Mapping[str, str], rows_in: int, rows_out: int) -> Report:
    found = {name: count for name, count in flags.items() if count}
    return Report(
        flags=found,
        blocking=tuple(name for name in found if judged[name] == BLOCKING),
        warnings=tuple(
            f"{name}: {count} {_MEANINGS[name]}" for name, count in found.items() if judged[name] == WARNING
        ),
        rows_in=rows_in,
        rows_out=rows_out,
    )


def _check_model(columns: Mapping[str, np.ndarray], report: Report) -> None:
    """Fail closed where pandera's model finds what no flag has told of."""
    from pandera.errors import SchemaError

    try:
        bars_model().validate(pd.DataFrame(columns, copy=False), inplace=True)
    except SchemaError as error:
        raise SeamlessError(f"conformed bars break their own model: {error}", report=report) from error
