"""Conformance v2: any frame of candles becomes canonical bars, and everything mended is counted.

`conform` reports and does not raise for bad data. Counts are of the input, before anything is dropped;
`gap` alone is of the result. What each flag means and weighs stands in `flags`.
"""

from __future__ import annotations

import reprlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from seamless_assets.aio.late_imports import LateModule
from seamless_assets.core.bars.conformance.columns import (
    OHLCV,
    Column,
    count_non_finite,
    differing,
    floats_of,
    plain_values,
    read_column,
    taken,
    wanted_columns,
)
from seamless_assets.core.bars.conformance.contract import contract_violations
from seamless_assets.core.bars.conformance.flags import (
    BLOCKING,
    MEANINGS,
    WARNING,
    is_inconsistent,
    severities_of,
)
from seamless_assets.core.bars.epochs import SECONDS_LIMIT, Epochs, in_zone, read_epochs
from seamless_assets.core.bars.frames import (
    column_names,
    column_of,
    is_plain_number,
    rebuilt,
    renamed,
    without_rows,
)
from seamless_assets.core.bars.table import PRICES
from seamless_assets.core.calendar.instant import OLDEST_MARKET, seconds_text, zone_of
from seamless_assets.core.calendar.timeframe import CalendarGrid, FixedGrid, Grid, grid_of
from seamless_assets.errors import InvalidFrame, SeamlessError

if TYPE_CHECKING:
    import pandas as pd
else:
    pd = LateModule("pandas")

VERSION = "v2"
_EXCUSES = frozenset(
    {
        "missing_column",
        "dtype_mismatch",
        "implausible_timestamp",
        "non_finite",
        "non_positive_price",
        "ohlc_inconsistent",
        "negative_volume",
    }
)
"""Flags that tell of what the contract of clean bars forbids."""
_MAX_ROW_BITS = 28
_DENSE = 2
"""Up to so many slots of the grid for each row, rows are put in order by their slots."""
_MAX_NAMES = 12


@dataclass(frozen=True)
class Report:
    """What conformance found: `flags` by name with their counts, in the units of the taxonomy.

    `blocking` names the flags that stop a release and `problems` says them in words, with the columns and
    the first cell concerned; `warnings` says in words what deserves a look.
    """

    flags: dict[str, int]
    blocking: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()
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
    rename: Mapping[Any, str] | None = None,
    tz: Any = None,
    severities: Mapping[str, str] | None = None,
) -> tuple[Any, Report]:
    """Canonical bars of a pandas, Arrow or polars frame, in the same kind of frame, and the report.

    `interval`: seconds, a `Timeframe`, or None (no grid: nothing is floored, no gap is seen). `schema`:
    "ohlcv", None (the time column alone) or `{column: dtype name}`. `rename`: the frame's names to ours,
    such as `{"Open time": "ts", "Vol": "volume"}`; a name of the index counts. `tz`: the zone of times that
    come without one, such as "Asia/Tokyo" or "+08:00" (None: UTC). `severities` overrides information,
    warning or blocking by flag; without it `non_finite` blocks unless no price and no column that the
    schema names is concerned but `volume`.

    Rows come sorted by `ts`, one for each; an aligned row beats a floored one, else the last row wins.
    Other columns are kept and missing ones stay missing; without `ts` there are no rows. No row is dropped
    for its prices or for opening before any market. `frame` is not changed. Raises `InvalidFrame`,
    `InvalidTimeframe`, `InvalidInput` and `InvalidChoice` for bad arguments, and `SeamlessError` where the
    result breaks its own contract.
    """
    frame = frame if rename is None else renamed(frame, rename)
    names = column_names(frame)
    wanted = wanted_columns(schema)
    severities_of(severities)
    grid = None if interval is None else grid_of(interval)
    zone = None if tz is None else zone_of(tz)
    try:
        epochs = read_epochs(column_of(frame, "ts")) if "ts" in names else None
        if zone is not None and epochs is not None:
            epochs = in_zone(epochs, zone)
        return _conform(frame, names, wanted, severities or {}, grid, epochs)
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
    epochs: Epochs | None,
) -> tuple[Any, Report]:
    lacking = [name for name in wanted if name not in names]
    flags, details = {"missing_column": len(lacking)}, {"missing_column": _lacking_text(lacking, names)}
    if epochs is None:
        report = _report(flags, severities_of(severities), details, len(frame), 0)
        return without_rows(frame, wanted), report
    time = column_of(frame, "ts")
    ts, floored = _on_grid(epochs, grid)
    # A bar that opens before what epochs can say is as unreadable as a time there.
    readable = epochs.readable & (ts >= -SECONDS_LIMIT)
    changed = time.dtype != ts.dtype or bool(epochs.cast.any() or floored.any())
    columns = {"ts": Column(ts, changed)}
    for name, dtype in wanted.items():
        if name != "ts" and name in names:
            columns[name] = read_column(column_of(frame, name), dtype)
    non_finite = _non_finite_cells(frame, names, columns)
    flags |= _time_flags(epochs, ts, readable, np.zeros_like(floored) if grid is None else floored)
    flags |= _value_flags(columns) | {"non_finite": sum(non_finite.values())}
    rows = _rows_kept(ts, floored, readable, grid)
    kept = {
        name: column.values if rows is None else taken(column.values, rows)
        for name, column in columns.items()
    }
    flags["duplicate_ts"] = int(np.count_nonzero(readable)) - len(kept["ts"])
    flags["conflicting_ts"] = (
        _conflicts(frame, names, columns, readable, rows) if flags["duplicate_ts"] else 0
    )
    flags["gap"] = _gap(kept["ts"], grid)
    details |= _details(time, epochs, ts, columns, non_finite)
    weights = _weights(non_finite, columns, severities)
    report = _report(flags, weights, details, len(ts), len(kept["ts"]))
    if wanted == OHLCV and not _EXCUSES & report.flags.keys() and (broken := contract_violations(kept)):
        raise SeamlessError(f"conformed bars break their own contract: {'; '.join(broken)}", report=report)
    changed_names = [name for name, column in columns.items() if column.changed]
    return rebuilt(frame, kept, changed_names, rows), report


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


def _non_finite_cells(frame: Any, names: Iterable[str], columns: Mapping[str, Column]) -> dict[str, int]:
    """Cells that are not finite, by numeric column, of the schema or not; columns without any left out."""
    others = {name: count_non_finite(column_of(frame, name)) for name in names if name not in columns}
    counts = {name: column.non_finite for name, column in columns.items()} | others
    return {name: count for name, count in counts.items() if count}


def _time_flags(
    epochs: Epochs, ts: np.ndarray, readable: np.ndarray, misaligned: np.ndarray
) -> dict[str, int]:
    masks = {
        "implausible_timestamp": ts < OLDEST_MARKET,
        "misaligned_ts": misaligned,
        "ts_cast": epochs.cast,
        "ts_timezone_normalized": epochs.zoned,
    }
    counts = {flag: int(np.count_nonzero(mask & readable)) for flag, mask in masks.items()}
    return {"invalid_timestamp": int(len(ts) - np.count_nonzero(readable)), **counts}


def _value_flags(columns: Mapping[str, Column]) -> dict[str, int]:
    said = [column.flag for column in columns.values()]
    flags = {flag: said.count(flag) for flag in ("dtype_cast", "dtype_mismatch")}
    values = {
        name: floats_of(column.values)
        for name, column in columns.items()
        if column.values.dtype.kind in "if" and is_plain_number(column.values.dtype)
    }
    prices = [values[name] for name in PRICES if name in values]
    if prices:
        flags["non_positive_price"] = int(np.count_nonzero(np.logical_or.reduce([p <= 0 for p in prices])))
    if len(prices) == len(PRICES):
        flags["ohlc_inconsistent"] = int(np.count_nonzero(is_inconsistent(*prices)))
    if "volume" in values:
        flags["negative_volume"] = int(np.count_nonzero(values["volume"] < 0))
    return flags


def _rows_kept(
    ts: np.ndarray, floored: np.ndarray, readable: np.ndarray, grid: Grid | None
) -> np.ndarray | None:
    """Positions of the rows that stay, in the order of `ts`; None where all stay as they are."""
    everything = bool(readable.all())
    if everything and bool((ts[1:] > ts[:-1]).all()):
        return None
    positions = np.arange(len(ts)) if everything else np.flatnonzero(readable)
    if len(positions) == 0:
        return positions
    bits = len(ts).bit_length()
    if bits > _MAX_ROW_BITS:
        raise InvalidFrame(f"{len(ts)} rows are too many to sort at once; conform them in parts")
    held, is_floored = (ts, floored) if everything else (taken(ts, positions), taken(floored, positions))
    since = held - held.min()
    # The greatest of a ts is the row to keep: whether it is aligned comes first, then its position.
    rank = ~is_floored * np.int64(1 << bits) | positions
    step = grid.seconds if isinstance(grid, FixedGrid) else 1
    if since.max() // step < _DENSE * len(since):
        winners = _greatest(since // step, rank)
    else:
        winners = _last_of_sorted(since, rank, bits)
    return winners & ((1 << bits) - 1)


def _greatest(slots: np.ndarray, rank: np.ndarray) -> np.ndarray:
    """The greatest rank of each slot that has any, in the order of slots, which are few enough for a list."""
    best = np.full(int(slots.max()) + 1, -1)
    np.maximum.at(best, slots, rank)
    found: np.ndarray = best[best >= 0]
    return found


def _last_of_sorted(since: np.ndarray, rank: np.ndarray, bits: int) -> np.ndarray:
    """The same by sorting: one integer for each row says both, so that sorting these sorts the rows."""
    keys = since << (bits + 1) | rank
    keys.sort()
    slots = keys >> (bits + 1)
    last: np.ndarray = keys[np.append(slots[1:] != slots[:-1], True)]
    return last


def _gap(ts: np.ndarray, grid: Grid | None) -> int:
    if grid is None or len(ts) < 2:
        return 0
    return grid.index(int(ts[-1])) - grid.index(int(ts[0])) + 1 - len(ts)


def _conflicts(
    frame: Any,
    names: Iterable[str],
    columns: Mapping[str, Column],
    readable: np.ndarray,
    rows: np.ndarray | None,
) -> int:
    """Dropped repeats of a ts with other values than the row that was kept.

    Values are those of the schema's columns; where it has none but the time, of every numeric column.
    """
    assert rows is not None
    ts = columns["ts"].values
    is_dropped = readable.copy()
    is_dropped[rows] = False
    dropped = np.flatnonzero(is_dropped)
    kept = rows[np.searchsorted(taken(ts, rows), ts[dropped])]
    values = [column.values for name, column in columns.items() if name != "ts"]
    if not values:
        every = (column_of(frame, name) for name in names if name != "ts")
        values = [plain_values(series) for series in every if is_plain_number(series.dtype)]
    masks = (differing(column, dropped, kept) for column in values)
    return int(np.count_nonzero(np.logical_or.reduce([np.zeros(len(dropped), dtype=bool), *masks])))


def _weights(
    non_finite: Iterable[str], columns: Mapping[str, Column], severities: Mapping[str, str]
) -> dict[str, str]:
    blocks = any(name in PRICES or (name in columns and name != "volume") for name in non_finite)
    return severities_of({"non_finite": BLOCKING if blocks else WARNING, **severities})


def _details(
    time: pd.Series[Any],
    epochs: Epochs,
    ts: np.ndarray,
    columns: Mapping[str, Column],
    non_finite: Mapping[str, int],
) -> dict[str, str]:
    """What a sentence about a flag adds to its count, by flag."""
    details = {"non_finite": _some(f"{name} {count}" for name, count in non_finite.items())}
    details["dtype_mismatch"] = _some(n for n, column in columns.items() if column.flag == "dtype_mismatch")
    unreadable = np.flatnonzero(~epochs.readable)
    if len(unreadable):
        details["invalid_timestamp"] = f"the first is {_cell_text(time.iloc[unreadable[0]])}"
    early = np.flatnonzero(epochs.readable & (ts < OLDEST_MARKET))
    if len(early):
        cell, read = _cell_text(time.iloc[early[0]]), seconds_text(int(epochs.seconds[early[0]]))
        details["implausible_timestamp"] = (
            f"the first is {cell}, which says {read}; numbers are epochs, so write dates as 2025-01-31"
        )
    return details


def _lacking_text(lacking: Iterable[str], names: Iterable[str]) -> str:
    there = f"the frame has {_some(names) or 'none'}"
    return f"{_some(lacking)}; {there}; rename= says which of them is which"


def _some(names: Iterable[Any]) -> str:
    texts = [str(name) for name in names]
    more = f" and {len(texts) - _MAX_NAMES} more" if len(texts) > _MAX_NAMES else ""
    return ", ".join(texts[:_MAX_NAMES]) + more


def _cell_text(cell: Any) -> str:
    plain = cell.item() if isinstance(cell, np.generic) else cell
    if isinstance(plain, datetime):
        return str(plain)
    try:
        return reprlib.repr(plain)
    except ValueError:  # an integer of thousands of digits has no text
        return f"a value of type {type(plain).__name__}"


def _report(
    flags: Mapping[str, int],
    weights: Mapping[str, str],
    details: Mapping[str, str],
    rows_in: int,
    rows_out: int,
) -> Report:
    found = {name: count for name, count in flags.items() if count}

    def sentences(severity: str) -> tuple[str, ...]:
        return tuple(
            f"{name}: {count} {MEANINGS[name]}" + (f" ({details[name]})" if details.get(name) else "")
            for name, count in found.items()
            if weights[name] == severity
        )

    return Report(
        flags=found,
        blocking=tuple(name for name in found if weights[name] == BLOCKING),
        warnings=sentences(WARNING),
        problems=sentences(BLOCKING),
        rows_in=rows_in,
        rows_out=rows_out,
    )
