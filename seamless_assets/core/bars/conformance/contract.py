"""The contract of conformed bars, checked on the result.

The tests state the same as a pandera model and hold the two against each other. pandera itself changes the
environment of the process that imports it, so it stays out of the processes of users.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from seamless_assets.core.bars.epochs import SECONDS_LIMIT
from seamless_assets.core.bars.table import COLUMNS
from seamless_assets.core.calendar.instant import OLDEST_MARKET


def contract_violations(bars: Mapping[str, np.ndarray]) -> list[str]:
    """What of the contract the columns of clean bars break, in words; nothing where they keep it."""
    lacking = [name for name in COLUMNS if name not in bars]
    if lacking:
        return [f"columns {', '.join(lacking)} are missing"]
    foreign = [name for name in COLUMNS if bars[name].dtype != (np.int64 if name == "ts" else np.float64)]
    if foreign:
        return [f"columns {', '.join(foreign)} are not plain int64 and float64"]
    ts, o, h, low, c, volume = (bars[name] for name in COLUMNS)
    # One at a time, of truth values alone: of many bars, each column of numbers in between would count.
    promises: dict[str, Callable[[], np.ndarray]] = {
        "ts lies between the first market and 2099": lambda: (ts >= OLDEST_MARKET) & (ts <= SECONDS_LIMIT),
        "ts ascends without repeats": lambda: ts[1:] > ts[:-1],
        "numbers are finite": lambda: np.isfinite(o) & np.isfinite(h) & np.isfinite(low) & np.isfinite(c),
        "prices are above zero": lambda: low > 0,
        "high encloses open, close and low": lambda: (h >= o) & (h >= c) & (h >= low),
        "low encloses open, close and high": lambda: (low <= o) & (low <= c) & (low <= h),
        "volume is finite and not negative": lambda: np.isfinite(volume) & (volume >= 0),
    }
    return [promise for promise, is_kept in promises.items() if not is_kept().all()]
