"""Made-up one-minute bars, such as an exchange sends of BTC/USDT.

Needs numpy and pandas alone, since peers make the same ones in environments of their own.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

START = 1_577_836_800
"""2020-01-01"""
LONG_START = 1_420_070_400
"""2015-01-01, where ten years begin."""
MINUTE, DAY = 60, 86_400
DAY_BARS, YEAR_BARS = 1_440, 365 * 1_440


def market_bars(rows: int, seed: int = 1, start: int = START) -> pd.DataFrame:
    """Gapless bars, `ts` in epoch seconds; prices in cents, volumes of five decimals."""
    dice = np.random.default_rng(seed)
    close = np.round(30_000 * np.exp(dice.normal(scale=6e-4, size=rows).cumsum()), 2)
    opened = np.append(close[:1], close[:-1])
    above, below = (np.round(np.abs(dice.normal(scale=9, size=rows)), 2) for _ in range(2))
    lowest = np.minimum(opened, close)
    prices = {
        "open": opened,
        "high": np.round(np.maximum(opened, close) + above, 2),
        "low": np.round(np.maximum(lowest - below, lowest / 2), 2),
        "close": close,
    }
    volume = np.round(dice.exponential(20.0, rows), 5)
    return pd.DataFrame({"ts": start + MINUTE * np.arange(rows), **prices, "volume": volume})


def dirty_bars(clean: pd.DataFrame, *, blocked: bool) -> pd.DataFrame:
    """The same in milliseconds, shuffled, with gaps and repeats, and with NaN prices where `blocked`."""
    dice = np.random.default_rng(2)
    kept = clean.take(dice.permutation(len(clean))[: int(len(clean) * 0.98)])
    dirty = pd.concat([kept, kept.iloc[: len(clean) // 50]], ignore_index=True)
    dirty["ts"] *= 1000
    if blocked:
        dirty.loc[dice.integers(0, len(dirty), len(clean) // 1000), "open"] = np.nan
    return dirty


def indexed(bars: pd.DataFrame) -> pd.DataFrame:
    """The bars by a time index, as data frame stores want them."""
    index = pd.DatetimeIndex((bars["ts"].to_numpy() * 10**9).astype("datetime64[ns]"), name="ts")
    return bars.drop(columns="ts").set_index(index)
