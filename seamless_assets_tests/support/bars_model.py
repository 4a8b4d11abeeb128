"""The contract of conformed bars as a pandera model, written apart from the check that the product makes."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pandera.pandas as pandera

from seamless_assets.core.bars.epochs import SECONDS_LIMIT
from seamless_assets.core.bars.table import PRICES
from seamless_assets.core.calendar.instant import OLDEST_MARKET


class Bars(pandera.DataFrameModel):
    """Plain int64 and float64 columns; other columns may stand beside them."""

    ts: np.int64 = pandera.Field(in_range={"min_value": OLDEST_MARKET, "max_value": SECONDS_LIMIT})
    open: np.float64 = pandera.Field(gt=0)
    high: np.float64 = pandera.Field(gt=0)
    low: np.float64 = pandera.Field(gt=0)
    close: np.float64 = pandera.Field(gt=0)
    volume: np.float64 = pandera.Field(ge=0)

    @pandera.check("ts", name="ts ascends without repeats")
    def _ascends(cls, ts: pd.Series[int]) -> bool:  # noqa: N805
        values = ts.to_numpy()
        return bool((values[1:] > values[:-1]).all())

    @pandera.check(*PRICES, "volume", name="numbers are finite")
    def _is_finite(cls, numbers: pd.Series[float]) -> pd.Series[bool]:  # noqa: N805
        return numbers.abs() < np.inf

    @pandera.dataframe_check(name="high encloses open, close and low")
    def _high_encloses(cls, bars: pd.DataFrame) -> pd.Series[bool]:  # noqa: N805
        high = bars["high"]
        return (high >= bars["open"]) & (high >= bars["close"]) & (high >= bars["low"])

    @pandera.dataframe_check(name="low encloses open and close")
    def _low_encloses(cls, bars: pd.DataFrame) -> pd.Series[bool]:  # noqa: N805
        return (bars["low"] <= bars["open"]) & (bars["low"] <= bars["close"])
