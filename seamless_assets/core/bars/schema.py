"""pandera's model of conformed bars: the contract of the result, checked on the result."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from seamless_assets.core.bars.epochs import SECONDS_LIMIT
from seamless_assets.core.bars.table import PRICES

if TYPE_CHECKING:
    from pandera.pandas import DataFrameModel


@cache
def bars_model() -> type[DataFrameModel]:
    """The model of bars without a flag. pandera takes a while to import, so it is imported at first use."""
    import pandera.pandas as pandera

    class Bars(pandera.DataFrameModel):
        """Plain int64 and float64 columns; other columns may stand beside them."""

        ts: np.int64 = pandera.Field(in_range={"min_value": -SECONDS_LIMIT, "max_value": SECONDS_LIMIT})
        open: np.float64
        high: np.float64
        low: np.float64
        close: np.float64
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

    return Bars
