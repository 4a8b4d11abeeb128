"""conform against a slow oracle that does the same row by row."""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from seamless_assets.core.bars.conformance.conform import conform
from seamless_assets.core.bars.epochs import SECONDS_LIMIT
from seamless_assets.core.bars.table import COLUMNS
from seamless_assets.core.calendar.instant import OLDEST_MARKET
from seamless_assets.core.calendar.timeframe import Timeframe, grid_of

START = 1_735_689_600
INTERVALS = st.sampled_from([1, 60, 300, 86_400, 604_800, Timeframe("1M"), Timeframe("1y"), None])
STAMPS = st.one_of(
    st.integers(START - 200, START + 200).map(lambda ts: ts // 60 * 60),
    st.integers(START - 200, START + 200),
    st.integers((START - 200) * 1000, (START + 200) * 1000),
    st.integers((START - 10) * 10**9, (START + 10) * 10**9),
    st.integers(-400, 400),
    st.sampled_from([-SECONDS_LIMIT, SECONDS_LIMIT, -SECONDS_LIMIT * 1000]),
    st.integers(-(2**63), 2**63 - 1),
)
PRICES = st.one_of(st.integers(-2, 3).map(float), st.sampled_from([math.nan, math.inf, -math.inf]))
ROWS = st.lists(st.tuples(STAMPS, PRICES, PRICES, PRICES, PRICES, PRICES), max_size=14)


def same(left: list[float], right: list[float]) -> bool:
    return all(a == b or (a != a and b != b) for a, b in zip(left, right, strict=True))


def oracle(rows: list[tuple[Any, ...]], interval: Any) -> tuple[dict[int, list[float]], Mapping[str, int]]:
    grid = None if interval is None else grid_of(interval)
    flags = dict.fromkeys(
        (
            "invalid_timestamp",
            "ts_cast",
            "implausible_timestamp",
            "misaligned_ts",
            "non_finite",
            "non_positive_price",
            "ohlc_inconsistent",
            "negative_volume",
            "duplicate_ts",
            "conflicting_ts",
            "gap",
        ),
        0,
    )
    best: dict[int, tuple[bool, list[float]]] = {}
    sent: dict[int, list[list[float]]] = {}
    for ts, *numbers in rows:
        held = [value if math.isfinite(value) else math.nan for value in numbers]
        flags["non_finite"] += sum(map(math.isnan, held))
        o, h, low, c, volume = held
        flags["ohlc_inconsistent"] += h < o or h < c or h < low or low > o or low > c
        flags["negative_volume"] += volume < 0
        flags["non_positive_price"] += min(o, h, low, c, key=lambda p: p if p == p else 1) <= 0
        units = [unit for unit in (1, 10**3, 10**6, 10**9) if abs(ts) <= SECONDS_LIMIT * unit]
        if not units:
            flags["invalid_timestamp"] += 1
            continue
        seconds = ts // units[0]
        opened = seconds if grid is None else grid.open(grid.index(seconds))
        if opened < -SECONDS_LIMIT:
            flags["invalid_timestamp"] += 1
            continue
        flags["ts_cast"] += units[0] > 1
        flags["implausible_timestamp"] += opened < OLDEST_MARKET
        floored = opened * units[0] != ts
        flags["misaligned_ts"] += floored and grid is not None
        known = best.get(opened)
        sent.setdefault(opened, []).append(held)
        if known is None or known[0] or not floored:
            best[opened] = (floored, held)
    for opened, repeats in sent.items():
        flags["duplicate_ts"] += len(repeats) - 1
        flags["conflicting_ts"] += sum(not same(row, best[opened][1]) for row in repeats)
    opens = sorted(best)
    for left, right in pairwise(opens):
        flags["gap"] += 0 if grid is None else grid.index(right) - grid.index(left) - 1
    return {ts: best[ts][1] for ts in opens}, {name: count for name, count in flags.items() if count}


@given(ROWS, INTERVALS)
def test_conform_does_what_the_oracle_does(rows: list[tuple[Any, ...]], interval: Any) -> None:
    columns = list(zip(*rows, strict=True)) or [()] * len(COLUMNS)
    frame = pd.DataFrame(
        {
            name: np.array(values, dtype="int64" if name == "ts" else "float64")
            for name, values in zip(COLUMNS, columns, strict=True)
        }
    )
    expected, flags = oracle(rows, interval)
    for given_frame in (frame, pa.Table.from_pandas(frame)):
        result, report = conform(given_frame, interval)
        bars = result.to_pandas() if isinstance(result, pa.Table) else result
        assert report.flags == flags
        assert bars["ts"].tolist() == list(expected)
        np.testing.assert_array_equal(
            bars[list(COLUMNS[1:])].to_numpy(), np.array(list(expected.values())).reshape(-1, 5)
        )
    again, second = conform(conform(frame, interval)[0], interval)
    pd.testing.assert_frame_equal(again, conform(frame, interval)[0])
    assert second.flags.keys() <= {
        *("gap", "non_finite", "non_positive_price", "ohlc_inconsistent", "negative_volume"),
        "implausible_timestamp",
    }
