"""Timestamps as they arrive, as whole epoch seconds.

The unit of a number is judged by its size, value by value: up to 4.1e9 (the end of 2099) it is seconds,
and each further unit (ms, us, ns) is a thousand times larger. All arithmetic is on integers and floors,
so a nanosecond before a boundary stays before it. Texts are numbers or ISO 8601; datetimes and texts
without a zone are UTC unless `in_zone` says otherwise. A time outside 1840 to 2099 is unreadable: as
seconds it would look like another unit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date, tzinfo
from decimal import ROUND_FLOOR, Decimal
from typing import TYPE_CHECKING, Any

import numpy as np

from seamless_assets.aio.late_imports import LateModule
from seamless_assets.core.canonical import is_text
from seamless_assets.errors import InvalidInput

if TYPE_CHECKING:
    import pandas as pd
else:
    pd = LateModule("pandas")

SECONDS_LIMIT = 4_100_000_000
_UNITS = (1, 1_000, 1_000_000, 1_000_000_000)
_PER_SECOND = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}
_LARGEST = SECONDS_LIMIT * _UNITS[-1]

# 19 digits that begin with 1 to 4 still fit int64, and all longer numbers are past the limit anyway.
_WHOLE = r"[+-]?(?:\d{1,18}|[1-4]\d{18})"
_NUMBER = r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d{1,3})?"
_ISO = r"\d{4}-?\d{2}.*"
_ZONED = r".*[T ]\d.*(?:[zZ]|[+-]\d{2}(?::?\d{2})?)"


@dataclass(frozen=True, slots=True)
class Epochs:
    """A time column in epoch seconds, and masks of its rows; all of shape `(rows,)`.

    `readable`: has a time at all; `cast`: was no plain epoch seconds; `zoned`: came with a time zone;
    `naive`: was a datetime or text without one; `fractional`: did not fall on a whole second. Unreadable
    rows are False in the other masks and 0 in `seconds`.
    """

    seconds: np.ndarray
    readable: np.ndarray
    cast: np.ndarray
    zoned: np.ndarray
    naive: np.ndarray
    fractional: np.ndarray


def read_epochs(series: pd.Series[Any]) -> Epochs:
    """Read a time column of any kind: numbers, datetimes with or without zone, texts, or a mixture."""
    kind = series.dtype
    if isinstance(kind, pd.DatetimeTZDtype):
        return _datetimes(series.dt.tz_convert("UTC").dt.tz_localize(None), zoned=True)
    if pd.api.types.is_datetime64_dtype(kind):
        return _datetimes(series, zoned=False)
    if pd.api.types.is_bool_dtype(kind):
        return _none_readable(len(series))
    if pd.api.types.is_integer_dtype(kind):
        return _integer_column(series)
    if pd.api.types.is_float_dtype(kind):
        return _floats(series.to_numpy(dtype=np.float64, na_value=np.nan))
    if isinstance(kind, pd.StringDtype):
        return _texts(series)
    return _objects(series)


def read_integers(values: np.ndarray) -> Epochs:
    """Read times that are int64, each a number."""
    return _integers(values, np.ones(len(values), dtype=bool))


def in_zone(epochs: Epochs, zone: tzinfo) -> Epochs:
    """The same with the times that came without a zone as local times of `zone`.

    A local time that the zone skips, or has twice, is unreadable. Raises `InvalidInput` where there are times
    and none came without a zone.
    """
    if epochs.readable.any() and not epochs.naive.any():
        raise InvalidInput(
            f"tz is {zone}, but no ts of the frame is a datetime or text without a zone: epochs are UTC and "
            "aware times have a zone of their own; leave tz out",
            value=zone,
        )
    local = pd.DatetimeIndex(epochs.seconds[epochs.naive].astype("datetime64[s]"))
    moved = local.tz_localize(zone, ambiguous="NaT", nonexistent="NaT").tz_convert("UTC").tz_localize(None)
    moved_epochs = _datetimes(pd.Series(moved.as_unit("s")), zoned=True)
    unclear = np.zeros(len(epochs.seconds), dtype=bool)
    unclear[epochs.naive] = ~moved_epochs.readable
    seconds = epochs.seconds.copy()
    seconds[epochs.naive] = moved_epochs.seconds
    masks = (epochs.readable, epochs.cast, epochs.zoned | epochs.naive, epochs.naive, epochs.fractional)
    return Epochs(seconds, *(mask & ~unclear for mask in masks))


def _integer_column(series: pd.Series[Any]) -> Epochs:
    held = series.notna().to_numpy()
    plain = (series if held.all() else series.fillna(0)).to_numpy()
    if plain.dtype.kind == "u":
        held = held & (plain <= np.uint64(_LARGEST))
        plain = np.where(held, plain, 0)
    return _integers(plain.astype(np.int64, copy=False), held)


def _integers(values: np.ndarray, readable: np.ndarray) -> Epochs:
    nothing = np.zeros(len(values), dtype=bool)
    if len(values) == 0 or (values.min() >= -SECONDS_LIMIT and values.max() <= SECONDS_LIMIT):
        return Epochs(values, readable, nothing, nothing, nothing, nothing)
    readable = readable & (values >= -_LARGEST) & (values <= _LARGEST)
    values = np.where(readable, values, 0)
    size = np.abs(values)
    steps = sum((size > SECONDS_LIMIT * unit).astype(np.int8) for unit in _UNITS[:-1])
    assert isinstance(steps, np.ndarray)
    alike = steps.min() == steps.max()
    divisor = np.int64(_UNITS[steps[0]]) if alike else np.array(_UNITS, dtype=np.int64)[steps]
    seconds = values // divisor
    return Epochs(seconds, readable, steps > 0, nothing, nothing, seconds * divisor != values)


def _floats(values: np.ndarray) -> Epochs:
    readable = np.abs(values) <= _LARGEST
    held = np.where(readable, values, 0.0)
    whole = np.floor(held)
    epochs = _integers(whole.astype(np.int64), readable)
    return replace(epochs, cast=epochs.readable.copy(), fractional=epochs.fractional | (whole != held))


def _datetimes(series: pd.Series[Any], *, zoned: bool) -> Epochs:
    values = series.to_numpy()
    stamps = values.astype(np.int64)
    per_second = np.int64(_PER_SECOND[np.datetime_data(values.dtype)[0]])
    seconds = stamps // per_second
    readable = ~np.isnat(values) & (np.abs(seconds) <= SECONDS_LIMIT)
    fractional = readable & (seconds * per_second != stamps)
    seconds, none = np.where(readable, seconds, 0), np.zeros_like(readable)
    own, other = (readable.copy(), none) if zoned else (none, readable.copy())
    return Epochs(seconds, readable, readable.copy(), own, other, fractional)


def _texts(series: pd.Series[Any]) -> Epochs:
    """Numbers in words, whole or not, and ISO 8601 with or without a zone."""
    text = series.str.strip()
    whole = _matching(text, _WHOLE)
    number = _matching(text, _NUMBER) & ~whole
    iso = _matching(text, _ISO) & ~whole & ~number
    integers = _integers(
        text[whole].astype("int64").to_numpy(dtype=np.int64), np.ones(int(whole.sum()), dtype=bool)
    )
    return _scattered(
        len(text),
        [
            (whole, _cast(integers)),
            (number, _values([Decimal(value) for value in text[number]])),
            (iso, _iso_texts(text[iso])),
        ],
    )


def _iso_texts(text: pd.Series[Any]) -> Epochs:
    text = text.str.replace(r"\s*(?:UTC|GMT|z)$", "Z", regex=True)
    stamps = pd.to_datetime(text, errors="coerce", utc=True, format="ISO8601")
    epochs = _datetimes(stamps.dt.tz_localize(None), zoned=False)
    zoned = _matching(text, _ZONED) & epochs.readable
    return replace(epochs, zoned=zoned, naive=epochs.readable & ~zoned)


def _objects(series: pd.Series[Any]) -> Epochs:
    values = series.tolist()
    texts = np.fromiter(map(is_text, values), dtype=bool, count=len(values))
    if not texts.any():
        return _values(values)
    others = [value for value, text in zip(values, texts, strict=True) if not text]
    return _scattered(len(values), [(texts, _texts(series[texts].astype("str"))), (~texts, _values(others))])


def _values(values: Sequence[Any]) -> Epochs:
    """Numbers and datetimes of any Python type, one by one."""
    epochs = _none_readable(len(values))
    for at, value in enumerate(values):
        read = _number(value) or _moment(value)
        if read is not None and abs(read[0]) <= SECONDS_LIMIT:
            epochs.seconds[at], epochs.cast[at], epochs.zoned[at], epochs.naive[at], epochs.fractional[at] = (
                read
            )
            epochs.readable[at] = True
    return epochs


_Read = tuple[int, bool, bool, bool, bool]
"""Seconds; whether they were cast, had a zone, were a datetime without one, lost a fraction."""


def _number(value: Any) -> _Read | None:
    if isinstance(value, bool | np.bool_):
        return None
    if isinstance(value, int | np.integer):
        exact = Decimal(int(value))
    elif isinstance(value, float | np.floating):
        exact = Decimal(float(value))
    elif isinstance(value, Decimal):
        exact = value
    else:
        return None
    if not exact.is_finite() or abs(exact) > _LARGEST:
        return None
    whole = int(exact.to_integral_value(ROUND_FLOOR))
    unit = _UNITS[sum(abs(whole) > SECONDS_LIMIT * smaller for smaller in _UNITS[:-1])]
    seconds, rest = divmod(whole, unit)
    is_cast = unit > 1 or not isinstance(value, int | np.integer)
    return seconds, is_cast, False, False, bool(rest) or whole != exact


def _moment(value: Any) -> _Read | None:
    if not isinstance(value, np.datetime64 | date):
        return None
    try:
        stamp = pd.Timestamp(value)
        zoned = stamp.tzinfo is not None
        plain = stamp.tz_convert("UTC").tz_localize(None) if zoned else stamp
        seconds, rest = divmod(plain.as_unit("ns").value, 1_000_000_000)
    except (ValueError, OverflowError, AttributeError):  # past what nanoseconds can say, or not a time
        return None
    return seconds, True, zoned, not zoned, rest != 0


def _matching(text: pd.Series[Any], pattern: str) -> np.ndarray:
    return text.str.fullmatch(pattern).fillna(False).to_numpy(dtype=bool)


def _cast(epochs: Epochs) -> Epochs:
    return replace(epochs, cast=epochs.readable.copy())


def _scattered(rows: int, parts: Sequence[tuple[np.ndarray, Epochs]]) -> Epochs:
    whole = _none_readable(rows)
    for mask, part in parts:
        for name in Epochs.__slots__:
            getattr(whole, name)[mask] = getattr(part, name)
    return whole


def _none_readable(rows: int) -> Epochs:
    masks = [np.zeros(rows, dtype=bool) for _ in range(5)]
    return Epochs(np.zeros(rows, dtype=np.int64), *masks)
