"""Bars from the trades that they are made of."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pyarrow as pa

from seamless_assets.core.bars.table import BARS_SCHEMA, empty_bars
from seamless_assets.core.calendar.timeframe import Timeframe

_MOST_DECIMALS = 15
_EXACT = 2**53
"""Up to here every integer is a float."""


def bars_of_trades(
    seconds: np.ndarray, prices: np.ndarray, amounts: np.ndarray, timeframe: Timeframe
) -> pa.Table:
    """The bars of trades in the order in which they were made: one for each that somebody traded in.

    `seconds` (epoch, int64, ascending), `prices` and `amounts` have the shape `(trades,)`. Volumes are what
    the amounts as they are written in decimals add up to, so that 0.1 and 0.2 are 0.3.
    """
    if len(seconds) == 0:
        return empty_bars()
    opens = _opens(seconds, timeframe)
    first = np.flatnonzero(np.append(True, opens[1:] != opens[:-1]))
    last = np.append(first[1:], len(opens)) - 1
    columns = [
        opens[first],
        prices[first],
        np.maximum.reduceat(prices, first),
        np.minimum.reduceat(prices, first),
        prices[last],
        decimal_sums(amounts, first),
    ]
    return pa.table([pa.array(column) for column in columns], BARS_SCHEMA)


def decimal_sums(values: np.ndarray, first: np.ndarray) -> np.ndarray:
    """Sums of the groups of `values` that begin at the positions `first`, exact in decimals."""
    sums, lengths = np.empty(len(first)), np.diff(first, append=len(values))
    groups, left, starts = np.arange(len(first)), values, first
    inexact: list[int] = []
    for decimals in range(_MOST_DECIMALS + 1):
        scaled = np.rint(left * 10.0**decimals)
        fits = np.add.reduceat(np.abs(scaled), starts) < _EXACT
        is_exact = fits & np.logical_and.reduceat(scaled / 10.0**decimals == left, starts)
        sums[groups[is_exact]] = np.add.reduceat(scaled, starts)[is_exact] / 10.0**decimals
        inexact += groups[~fits].tolist()
        is_left = fits & ~is_exact
        left = left[np.repeat(is_left, lengths)]
        groups, lengths = groups[is_left], lengths[is_left]
        if len(groups) == 0:
            break
        starts = np.cumsum(lengths) - lengths
    ends = np.append(first[1:], len(values))
    for group in [*inexact, *groups.tolist()]:
        exact = (Fraction(repr(value)) for value in values[first[group] : ends[group]].tolist())
        sums[group] = float(sum(exact, Fraction()))
    return sums


def _opens(seconds: np.ndarray, timeframe: Timeframe) -> np.ndarray:
    """The open of the bar that each of ascending times lies in."""
    grid = timeframe.opens_array(timeframe.floor(int(seconds[0])), timeframe.shift(int(seconds[-1]), 1))
    found: np.ndarray = grid[np.searchsorted(grid, seconds, side="right") - 1]
    return found
