"""Timestamps as they arrive, as whole epoch seconds.

The unit of a number is judged by its size, value by value: up to 4.1e9 it is seconds, and each further
unit (ms, us, ns) is a thousand times larger. All arithmetic is on integers, so a nanosecond before a
boundary stays before it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from decimal import ROUND_FLOOR, Decimal, InvalidOperation
from typing import Any

import numpy as np
import pandas as pd

SECONDS_LIMIT = 4_100_000_000
_UNITS = (1, 1_000, 1_000_000, 1_000_000_000)
_PER_SECOND = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}
_INT64_NULL = np.iinfo(np.int64).min


@dataclass(frozen=True, slots=True)
class Epochs:
    """A time column in epoch seconds, and masks of its rows.

    `readable`: has a time at all; `cast`: was no plain epoch seconds; `zoned`: came with a time zone;
    `fractional`: did not fall on a whole second.
    """

    seconds: np.ndarray
    readable: np.ndarray
    cast: np.ndarray
    zoned: np.ndarray
    fractional: np.ndarray


def epoch_column(series: pd.Series[Any]) -> tuple[np.ndarray, np.ndarray]:
    """Epoch seconds of a column (int64) and the mask of its readable rows."""
    epochs = read_epochs(series)
    return epochs.seconds, epochs.readable


def read_epochs(series: pd.Series[Any]) -> Epochs:
    """Read a time column of any kind: numbers, datetimes with or without zone, texts, or a mixture."""
    kind = series.dtype
    if isinstance(kind, pd.DatetimeTZDtype):
        return _datetimes(series.dt.tz_convert("UTC").dt.tz_localize(None), zoned=True)
    if pd.api.types.is_datetime64_any_dtype(kind):
        return _datetimes(series, zoned=False)
    if pd.api.types.is_bool_dtype(kind):
        return _unreadable(len(series))
    if pd.api.types.is_integer_dtype(kind):
        held = series.isna().to_numpy()
        return _integers(series.fillna(0).to_numpy().astype(np.int64), ~held)
    if pd.api.types.is_float_dtype(kind):
        return _floats(series.to_numpy(dtype=np.float64, na_value=np.nan))
    return _one_by_one(series)


def _integers(values: np.ndarray, readable: np.ndarray) -> Epochs:
    if len(values) == 0 or int(np.abs(values).max()) <= SECONDS_LIMIT:
        nothing = np.zeros(len(values), dtype=bool)
        return Epochs(values, readable, nothing, nothing, nothing)
    seconds, size = values.copy(), np.abs(values)
    fractional = np.zeros(len(values), dtype=bool)
    for step, unit in enumerate(_UNITS[1:], start=1):
        scaled = size > SECONDS_LIMIT * _UNITS[step - 1]
        seconds[scaled], rest = np.divmod(values[scaled], unit)
        fractional[scaled] = rest != 0
    readable = readable & (np.abs(seconds) <= SECONDS_LIMIT) & (values != _INT64_NULL)
    return Epochs(
        seconds, readable, readable & (size > SECONDS_LIMIT), np.zeros(len(values), dtype=bool), fractional
    )


def _floats(values: np.ndarray) -> Epochs:
    readable = np.isfinite(values) & (np.abs(values) < 9.2e18)
    whole = np.floor(np.where(readable, values, 0.0)).astype(np.int64)
    epochs = _integers(whole, readable)
    fractional = epochs.fractional | (whole != np.where(readable, values, 0.0))
    return Epochs(epochs.seconds, epochs.readable, epochs.readable.copy(), epochs.zoned, fractional)


def _datetimes(series: pd.Series[Any], *, zoned: bool) -> Epochs:
    readable = series.notna().to_numpy()
    values = series.to_numpy()
    seconds, rest = np.divmod(values.astype(np.int64), _PER_SECOND[np.datetime_data(values.dtype)[0]])
    seconds[~readable] = 0
    return Epochs(seconds, readable, readable.copy(), readable & zoned, readable & (rest != 0))


def _unreadable(rows: int) -> Epochs:
    nothing = np.zeros(rows, dtype=bool)
    return Epochs(np.zeros(rows, dtype=np.int64), nothing, nothing, nothing, nothing)


def _one_by_one(series: pd.Series[Any]) -> Epochs:
    rows = len(series)
    numbers = np.zeros(rows, dtype=np.int64)
    readable, cast, zoned, fractional = (np.zeros(rows, dtype=bool) for _ in range(4))
    for at, value in enumerate(series.tolist()):
        read = _one(value)
        if read is None:
            continue
        numbers[at], zoned[at], fractional[at] = read
        readable[at] = True
        cast[at] = not isinstance(value, int)
    epochs = _integers(numbers, readable)
    return Epochs(
        epochs.seconds,
        epochs.readable,
        (cast | epochs.cast) & epochs.readable,
        zoned,
        epochs.fractional | fractional,
    )


def _one(value: Any) -> tuple[int, bool, bool] | None:
    """Epoch of one value in the unit its size says; whether it had a zone; whether a fraction was cut."""
    if isinstance(value, bool | np.bool_) or value is None or value is pd.NaT:
        return None
    if isinstance(value, int | np.integer):
        return (int(value), False, False) if abs(int(value)) < 2**63 else None
    if isinstance(value, float | np.floating | Decimal):
        return _number(Decimal(str(value)))
    if isinstance(value, str):
        return _text(value.strip())
    return _moment(value)


def _number(value: Decimal) -> tuple[int, bool, bool] | None:
    if not value.is_finite() or abs(value) >= 2**63:
        return None
    whole = int(value.to_integral_value(ROUND_FLOOR))
    return whole, False, whole != value


def _text(text: str) -> tuple[int, bool, bool] | None:
    try:
        return _number(Decimal(text))
    except InvalidOperation:
        pass
    try:
        return _moment(pd.Timestamp(text))
    except (ValueError, OverflowError):
        return None


def _moment(value: Any) -> tuple[int, bool, bool] | None:
    if isinstance(value, np.datetime64 | date):
        value = pd.Timestamp(value)
    if not isinstance(value, pd.Timestamp) or value is pd.NaT:
        return None
    zoned = value.tzinfo is not None
    plain = value.tz_convert("UTC").tz_localize(None) if zoned else value
    seconds, rest = divmod(plain.as_unit("ns").value, 1_000_000_000)
    return seconds, zoned, rest != 0
