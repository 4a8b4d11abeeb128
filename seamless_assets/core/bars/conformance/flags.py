"""The taxonomy of conformance, and the one judge of which rows may be bars.

What is fetched, what `conform` reports and what settings accept are all decided here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Literal, get_args

import numpy as np
import pyarrow as pa

from seamless_assets.core.bars.table import PRICES
from seamless_assets.errors import InvalidChoice

Severity = Literal["information", "warning", "blocking"]
Flag = Literal[
    "missing_column", "dtype_mismatch", "dtype_cast", "invalid_timestamp", "implausible_timestamp",
    "misaligned_ts", "ts_cast", "ts_timezone_normalized", "non_finite", "non_positive_price",
    "ohlc_inconsistent", "negative_volume", "duplicate_ts", "conflicting_ts", "gap", "revised", "from_trades",
]  # fmt: skip
INFORMATION: Severity = "information"
WARNING: Severity = "warning"
BLOCKING: Severity = "blocking"
SEVERITIES: Mapping[str, Severity] = MappingProxyType(
    {
        "missing_column": BLOCKING,
        "dtype_mismatch": BLOCKING,
        "dtype_cast": INFORMATION,
        "invalid_timestamp": BLOCKING,
        "implausible_timestamp": BLOCKING,
        "misaligned_ts": WARNING,
        "ts_cast": INFORMATION,
        "ts_timezone_normalized": INFORMATION,
        "non_finite": BLOCKING,
        "non_positive_price": BLOCKING,
        "ohlc_inconsistent": BLOCKING,
        "negative_volume": WARNING,
        "duplicate_ts": WARNING,
        "conflicting_ts": WARNING,
        "gap": WARNING,
        "revised": INFORMATION,
        "from_trades": INFORMATION,
    }
)
"""How much each flag weighs. `non_finite` blocks for prices; for volume it is a warning."""
MEANINGS: Mapping[str, str] = MappingProxyType(
    {
        "missing_column": "columns are missing",
        "dtype_mismatch": "columns hold values that their dtype cannot hold",
        "dtype_cast": "columns were cast",
        "invalid_timestamp": "rows had no readable ts and were dropped",
        "implausible_timestamp": "rows open before any market, 2009-01-03",
        "misaligned_ts": "rows were off the grid and were floored",
        "ts_cast": "rows had their ts cast to epoch seconds",
        "ts_timezone_normalized": "rows had their zone normalised to UTC",
        "non_finite": "cells are null or not finite",
        "non_positive_price": "rows have a price at or below zero",
        "ohlc_inconsistent": "rows have a high or low that does not enclose open and close",
        "negative_volume": "rows have a negative volume",
        "duplicate_ts": "rows repeated a ts and were dropped",
        "conflicting_ts": "dropped rows had other values than the row that was kept",
        "gap": "bars are missing between the first and the last",
        "revised": "bars were revised",
        "from_trades": "bars are made of trades, as the exchange sent no candles of them",
    }
)


def severities_of(chosen: Mapping[str, str] | None) -> dict[str, str]:
    """The severity of every flag, with `chosen` over the usual ones. Raises `InvalidChoice`."""
    for flag, severity in (chosen or {}).items():
        if flag not in SEVERITIES or severity not in get_args(Severity):
            raise InvalidChoice(
                f"severity {flag}: {severity} is not one of {', '.join(SEVERITIES)} with "
                f"{INFORMATION}, {WARNING} or {BLOCKING}",
                value=(flag, severity),
                choices=tuple(SEVERITIES),
            )
    return {**SEVERITIES, **(chosen or {})}


def count_warnings(flags: Iterable[str], chosen: Mapping[str, str] | None) -> int:
    """How many of the flags deserve a look under the `chosen` severities."""
    weights = severities_of(chosen)
    return sum(weights[flag] != INFORMATION for flag in flags)


def is_inconsistent(o: np.ndarray, h: np.ndarray, low: np.ndarray, c: np.ndarray) -> np.ndarray:
    """Mask of the bars whose `high` or `low` does not enclose `open` and `close`; nulls enclose all."""
    mask: np.ndarray = (h < o) | (h < c) | (h < low) | (low > o) | (low > c)
    return mask


def refused_rows(bars: pa.Table, severities: Mapping[str, str] | None = None) -> dict[str, np.ndarray]:
    """Masks, shape `(rows,)`, of the rows that may not be stored as bars, by the flag that refuses them.

    `bars` has the columns of `BARS_SCHEMA`; its `ts` does not count. A row is refused for what blocks under
    `severities`, as `conform` takes them; one without any price above zero always is, being no bar at all.
    """
    weights = severities_of(severities)
    prices = [_finite(bars, name) for name in PRICES]
    volume = _finite(bars, "volume")
    priceless = ~np.logical_or.reduce([price > 0 for price in prices])
    price_is_null = np.logical_or.reduce([np.isnan(price) for price in prices])
    non_finite = price_is_null & (priceless | (weights["non_finite"] == BLOCKING))
    if (severities or {}).get("non_finite") == BLOCKING:
        non_finite |= np.isnan(volume)
    non_positive = np.logical_or.reduce([price <= 0 for price in prices])
    masks = {
        "non_finite": non_finite,
        "non_positive_price": non_positive & (priceless | (weights["non_positive_price"] == BLOCKING)),
        "ohlc_inconsistent": is_inconsistent(*prices) & (weights["ohlc_inconsistent"] == BLOCKING),
        "negative_volume": (volume < 0) & (weights["negative_volume"] == BLOCKING),
    }
    return {flag: mask for flag, mask in masks.items() if mask.any()}


def _finite(bars: pa.Table, name: str) -> np.ndarray:
    values = np.asarray(bars.column(name))
    return np.where(np.isinf(values), np.nan, values)


def sound_rows(bars: pa.Table, severities: Mapping[str, str] | None = None) -> pa.Array:
    """Mask of the rows that `refused_rows` does not refuse."""
    refused = refused_rows(bars, severities)
    return pa.array(~np.logical_or.reduce([np.zeros(bars.num_rows, dtype=bool), *refused.values()]))


def flat_bars(bars: pa.Table) -> np.ndarray:
    """Mask of the rows without volume whose four prices are one."""
    values = [bars.column(name).to_numpy() for name in PRICES]
    is_one_price = np.logical_and.reduce([value == values[0] for value in values])
    mask: np.ndarray = (bars.column("volume").to_numpy() == 0) & is_one_price
    return mask


def without_zero_rows(bars: pa.Table) -> pa.Table:
    """The rows that are bars at all: some exchanges send one of zeros where they have none."""
    prices = [np.asarray(bars.column(name)) for name in PRICES]
    return bars.filter(pa.array(np.logical_or.reduce([price != 0 for price in prices])))
