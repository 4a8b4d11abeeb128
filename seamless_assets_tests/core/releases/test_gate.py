"""What is sealed ascends on the grid inside its window and is finite, or it is not sealed."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pytest

from seamless_assets.core.bars.table import BARS_SCHEMA, table_of
from seamless_assets.core.calendar.segment import Segment
from seamless_assets.core.node import NodeId
from seamless_assets.core.releases.gate import refuse_unsound
from seamless_assets.errors import SealRefused
from seamless_assets.testing import DAY, START, random_walk

HOUR = 3_600
NODES = {
    name: NodeId.parse(f"ohlcv:binance:BTC/USDT:{name}") for name in ("1s", "1m", "1h", "1d", "1w", "1M")
}
WINDOWS = {
    "1s": Segment(START, START + 60),
    "1m": Segment(START, START + HOUR),
    "1h": Segment(START, START + DAY),
    "1d": Segment(START, START + 31 * DAY),
    "1w": Segment(START + 5 * DAY, START + 33 * DAY),
    "1M": Segment(START, START + 365 * DAY),
}


def sound(name: str) -> pa.Table:
    opens = list(NODES[name].timeframe.opens(*WINDOWS[name]))
    rows = random_walk(0, len(opens), step=1)
    return table_of(((ts, *rows[at]) for at, ts in enumerate(opens)), BARS_SCHEMA)


def at(bars: pa.Table, row: int, column: str, value: float) -> pa.Table:
    values = bars[column].to_numpy().copy()
    values[row] = value
    return bars.set_column(bars.column_names.index(column), column, pa.array(values))


Spoil = Callable[[pa.Table], pa.Table]
SPOILED: dict[str, Spoil] = {
    "unsorted": lambda bars: bars.take(pa.array([1, 0, *range(2, bars.num_rows)])),
    "repeated": lambda bars: pa.concat_tables([bars.slice(0, 1), bars]),
    "later": lambda bars: at(bars, -1, "ts", bars["ts"][-1].as_py() + 400 * DAY),
    "far later": lambda bars: at(bars, -1, "ts", 2**62),
    "earlier": lambda bars: at(bars, 0, "ts", bars["ts"][0].as_py() - 400 * DAY),
    "negative": lambda bars: at(bars, 0, "ts", -(2**62)),
    "off the grid": lambda bars: at(bars, 1, "ts", bars["ts"][1].as_py() + 1),
    "no open": lambda bars: at(bars, 2, "open", np.nan),
    "infinite high": lambda bars: at(bars, 2, "high", np.inf),
    "infinite volume": lambda bars: at(bars, 2, "volume", np.inf),
    "a null": lambda bars: bars.set_column(4, "close", pa.array([None, *bars["close"].to_pylist()[1:]])),
    "a text": lambda bars: bars.set_column(4, "close", pa.array(["x"] * bars.num_rows)),
    "a column less": lambda bars: bars.drop_columns(["volume"]),
}


@pytest.mark.parametrize("name", NODES)
def test_sound_bars_may_be_sealed(name: str) -> None:
    every = sound(name)
    for bars in (every, every.slice(1), every.slice(0, 0), at(every, 1, "volume", np.nan)):
        refuse_unsound(NODES[name], WINDOWS[name], bars)


@pytest.mark.parametrize("name", NODES)
@pytest.mark.parametrize("how", SPOILED)
def test_others_are_refused_and_it_is_said_what_to_do(name: str, how: str) -> None:
    if (name, how) == ("1s", "off the grid"):
        how = "repeated"
    with pytest.raises(SealRefused, match="restore it, or remove it and materialize again") as refused:
        refuse_unsound(NODES[name], WINDOWS[name], SPOILED[how](sound(name)))
    assert refused.value.segment == WINDOWS[name]
