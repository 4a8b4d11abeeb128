"""pandera's model of conformed bars: the contract of the result, checked on the result."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd
    from pandera.pandas import DataFrameSchema


@cache
def bars_model() -> DataFrameSchema:
    """The model of clean bars. pandera takes a while to import, so it is imported at first use."""
    import pandera.pandas as pandera

    number = pandera.Column("float64", nullable=False)
    return pandera.DataFrameSchema(
        {
            "ts": pandera.Column("int64", checks=pandera.Check(_ascends, error="ts ascend without repeats")),
            **dict.fromkeys(("open", "high", "low", "close"), number),
            "volume": pandera.Column("float64", nullable=True),
        },
        checks=pandera.Check(_fits, error="high and low enclose open and close"),
        strict=False,
        name="bars",
    )


def _ascends(ts: pd.Series[int]) -> bool:
    values = ts.to_numpy()
    return bool((values[1:] > values[:-1]).all())


def _fits(bars: pd.DataFrame) -> bool:
    o, h, low, c = (bars[name].to_numpy() for name in ("open", "high", "low", "close"))
    return bool(((h >= o) & (h >= c) & (h >= low) & (low <= o) & (low <= c)).all())
