"""The weighted mean of several series, bar by bar."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from seamless_assets.core.bars.table import BARS_SCHEMA, PRICES, timestamps
from seamless_assets.core.calendar.segment import Segment
from seamless_assets.core.calendar.timeframe import Timeframe
from seamless_assets.core.deriving.recipes import LOOK_BACK, UNKNOWN, SourceBars, Synthetic


def weighed(
    recipe: Synthetic, sources: Sequence[SourceBars], timeframe: Timeframe, window: Segment
) -> pa.Table:
    """The bars of `window`: prices are weighted means of the legs' prices, volumes their sums.

    `sources` are those of the legs, in their order. There is no bar where no leg has one, nor where a bar of
    a leg is missing: what nobody knows stands for nothing.
    """
    grid = timeframe.opens_array(*window)
    legs = [_Leg(source, grid) for source in sources]
    weights = np.array([weight for _, weight in recipe.legs])
    there = np.array([leg.is_there for leg in legs])
    is_made = there.any(axis=0) & ~np.logical_or.reduce([leg.is_unknown for leg in legs])
    shares = np.repeat(weights[:, None], len(grid), axis=1)
    if recipe.missing_leg == "hold":
        is_made &= np.logical_and.reduce([leg.is_there | np.isfinite(leg.held) for leg in legs])
    elif recipe.missing_leg == "reweight":
        shares = np.where(there, shares, 0.0)
    else:
        is_made &= there.all(axis=0)
    total = shares.sum(axis=0)
    prices = {name: np.zeros(len(grid)) for name in PRICES}
    volume = np.zeros(len(grid))
    for leg, share in zip(legs, shares, strict=True):
        for name in PRICES:
            value = np.where(leg.is_there, leg.values[name], leg.held)
            prices[name] += np.where(share > 0, share * np.nan_to_num(value), 0.0)
        volume += np.where(leg.is_there, leg.values["volume"], 0.0)
    with np.errstate(invalid="ignore", divide="ignore"):
        means = {name: values / total for name, values in prices.items()}
    # Rounding must not put a price beyond the highest and lowest.
    means["high"] = np.maximum.reduce([means["high"], means["open"], means["close"]])
    means["low"] = np.minimum.reduce([means["low"], means["open"], means["close"]])
    made = pa.table([grid, *(means[name] for name in PRICES), volume], BARS_SCHEMA)
    return made.filter(pa.array(is_made))


class _Leg:
    """One leg on the grid: its values, where it has bars, where nobody knows, and the close before."""

    def __init__(self, source: SourceBars, grid: np.ndarray) -> None:
        opens = timestamps(source.bars)
        at = np.searchsorted(opens, grid, side="right") - 1
        before = np.maximum(at, 0)
        has_before = (at >= 0) if len(opens) else np.zeros(len(grid), dtype=bool)
        self.is_there = has_before & (opens[before] == grid) if len(opens) else has_before
        self.values = {}
        for name in BARS_SCHEMA.names[1:]:
            column = source.bars.column(name).to_numpy()
            self.values[name] = column[before] if len(opens) else np.full(len(grid), np.nan)
        step = source.node.timeframe.approximate_seconds
        latest = opens[before] if len(opens) else np.zeros_like(grid)
        unknown = [gap for gap in source.gaps if gap.reason in UNKNOWN]
        # Behind what nobody knows, nobody knows whether the close before it was the last one.
        last = np.searchsorted([gap.start for gap in unknown], grid, side="right")
        begun = np.array([np.iinfo(np.int64).min, *(gap.start for gap in unknown)])[last]
        is_near = has_before & (grid - latest <= LOOK_BACK * step) & (begun < latest)
        self.held = np.where(is_near, self.values["close"], np.nan)
        self.is_unknown = np.zeros(len(grid), dtype=bool)
        for gap in unknown:
            self.is_unknown[np.searchsorted(grid, gap.start) : np.searchsorted(grid, gap.end)] = True
