"""Bars made by carrying the last close forward, for a reader who asks for them; never stored."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from seamless_assets.core.bars.table import BARS_SCHEMA, timestamps
from seamless_assets.core.calendar.segment import Segment
from seamless_assets.core.calendar.timeframe import Timeframe

FILLED = "filled"
"""The column that tells made bars from real ones."""


def carry_previous_close(bars: pa.Table, timeframe: Timeframe, window: Segment) -> pa.Table:
    """`bars` (sorted) with one row for every open of `window` from the first bar on, and a column `filled`.

    A made row has the close before it as open, high, low and close, and volume 0. What lies before the
    first bar has no close to carry and stays away.
    """
    opens = timestamps(bars)
    if not len(opens):
        return bars.append_column(FILLED, pa.array([], pa.bool_()))
    wanted = timeframe.opens_array(int(opens[0]), window.end)
    # The last real bar at or before each wanted open.
    source = np.searchsorted(opens, wanted, side="right") - 1
    is_made = opens[source] != wanted
    close = bars.column("close").to_numpy()[source]
    made = {"open": close, "high": close, "low": close, "close": close, "volume": np.zeros(len(wanted))}
    real = {name: bars.column(name).to_numpy()[source] for name in made}
    columns = [wanted, *(np.where(is_made, made[name], real[name]) for name in made)]
    return pa.table(columns, schema=BARS_SCHEMA).append_column(FILLED, pa.array(is_made))
