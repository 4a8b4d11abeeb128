"""One judge: what conform blocks is what fetching refuses, and what settings call a slip."""

from __future__ import annotations

import math
from datetime import date
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seamless_assets.core.bars.conformance.conform import conform
from seamless_assets.core.bars.conformance.flags import refused_rows, sound_rows, without_zero_rows
from seamless_assets.core.bars.table import BARS_SCHEMA, COLUMNS, PRICES
from seamless_assets.core.calendar.instant import OLDEST_MARKET
from seamless_assets.errors import InvalidChoice

START = 1_735_689_600  # 2025-01-01
DAY = 86_400
BY_ROW = ("non_finite", "non_positive_price", "ohlc_inconsistent", "negative_volume")
NUMBERS = st.one_of(st.integers(-1, 4).map(float), st.sampled_from([math.nan, math.inf, -0.0]))
SEVERITIES = st.dictionaries(st.sampled_from(BY_ROW), st.sampled_from(["information", "warning", "blocking"]))


def bars_of(*rows: tuple[float, ...]) -> pa.Table:
    columns = zip(*rows, strict=True)
    opens = [START + 60 * at for at in range(len(rows))]
    return pa.table([opens, *map(list, columns)], schema=BARS_SCHEMA)


def dated(times: Any, **columns: Any) -> pd.DataFrame:
    usual = {"open": 10.0, "high": 12.0, "low": 9.0, "close": 11.0, "volume": 1.0}
    return pd.DataFrame({"ts": times, **usual} | columns)


@given(st.lists(st.tuples(*[NUMBERS] * 5), min_size=1, max_size=6), SEVERITIES)
def test_a_row_is_refused_just_where_conform_blocks_it(
    rows: list[tuple[float, ...]], severities: dict[str, str]
) -> None:
    refused = refused_rows(bars_of(*rows), severities)
    for at, row in enumerate(rows):
        _, report = conform(bars_of(row), severities=severities)
        named = {flag for flag, mask in refused.items() if mask[at]}
        if any(0 < price < math.inf for price in row[:4]):
            assert named == set(report.blocking)
        else:
            assert named >= set(report.blocking) and named, "what has no price is no bar"
    sound = sound_rows(bars_of(*rows), severities).to_pylist()
    assert sound == [not any(mask[at] for mask in refused.values()) for at in range(len(rows))]


def test_a_null_volume_is_a_warning_and_is_refused_where_it_blocks() -> None:
    bars = bars_of((10.0, 12.0, 9.0, 11.0, math.nan))
    assert sound_rows(bars).to_pylist() == [True]
    assert conform(bars)[1].warnings == ("non_finite: 1 cells are null or not finite (volume 1)",)
    strict = {"non_finite": "blocking"}
    assert (
        list(refused_rows(bars, strict))
        == ["non_finite"]
        == list(conform(bars, severities=strict)[1].blocking)
    )


def test_severities_that_do_not_exist_are_refused_by_every_judge() -> None:
    with pytest.raises(InvalidChoice):
        refused_rows(bars_of((1.0,) * 5), {"volume": "warning"})


def test_a_row_of_zeros_is_no_bar_and_one_zero_is_a_bad_price() -> None:
    bars = bars_of((0.0, 0.0, 0.0, 0.0, 0.0), (1.0, 1.0, 0.0, 1.0, 0.0), (1.0, 1.0, 1.0, 1.0, 0.0))
    assert without_zero_rows(bars).num_rows == 2
    assert sound_rows(bars).to_pylist() == [False, False, True]
    assert conform(bars)[1].flags == {"non_positive_price": 2}


@pytest.mark.parametrize(
    ("times", "interval"),
    [
        ([20250101, 20250102, 20250103], 86_400),
        ([20250101.0, 20250102.0], 86_400),
        (["20250101", "20250102", "20250103"], 86_400),
        (np.array([20250101, 20250102], dtype="int32"), 86_400),
        ([202501, 202502], 86_400),
        ([202501010000, 202501010001], 60),
        ([20250101000000, 20250101000100, 20250101000200], 60),
        ([20250101000000000], 60),
        (["20250101000000"], 60),
        ([45658, 45659], 86_400),  # days of a spreadsheet
        ([20089, 20090], 86_400),  # days since 1970
        ([482136, 482137], 3_600),  # hours since 1970
        (pd.to_datetime([START, START + 60]), 60),  # seconds taken for nanoseconds
        ([date(1970, 1, 1)], 86_400),
        (["0001-01-01", "1999-12-31T23:59:59Z"], 86_400),
        ([-START], 60),
        ([0], None),
        ([OLDEST_MARKET - 1], 1),
    ],
    ids=repr,
)
def test_times_before_any_market_block_and_say_what_was_read(times: Any, interval: Any) -> None:
    _, report = conform(dated(times), interval)
    counts = [report.flags.get(flag, 0) for flag in ("implausible_timestamp", "invalid_timestamp")]
    assert sum(counts) == len(times) and not report.ok
    assert "write dates as 2025-01-31" in report.problems[-1] or "the first is" in report.problems[0]
    assert conform(dated(times), interval, None)[1].blocking == report.blocking


def test_the_first_market_and_what_follows_is_plausible() -> None:
    assert conform(dated([OLDEST_MARKET, OLDEST_MARKET + 1]), 1)[1].flags == {}


def test_rows_before_any_market_are_kept_for_a_look() -> None:
    bars, report = conform(dated([20250101, START]), 86_400)
    assert bars["ts"].tolist() == [20217600, START]
    (problem,) = report.problems
    assert problem == (
        "implausible_timestamp: 1 rows open before any market, 2009-01-03 (the first is 20250101, which "
        "says 1970-08-23T09:01:41Z; numbers are epochs, so write dates as 2025-01-31)"
    )


REPEATS = [
    ([1.0, 1.0], 0),
    ([1.0, 2.0], 1),
    ([math.nan, math.nan], 0),
    ([math.nan, 1.0], 1),
    ([1.0, math.nan], 1),
    ([0.0, -0.0], 0),
    ([1.0, 2.0, 1.0], 1),
    ([1.0, 2.0, 2.0], 1),
    ([1.0, 2.0, 3.0], 2),
    (["1", 1.0], 0),
]


@pytest.mark.parametrize(("volumes", "conflicts"), REPEATS, ids=repr)
def test_conflicting_and_identical_repeats_are_counted_apart(volumes: list[Any], conflicts: int) -> None:
    frame = dated([START] * len(volumes), volume=pd.Series(volumes, dtype=object))
    found = conform(frame)[1].flags
    assert found["duplicate_ts"] == len(volumes) - 1
    assert found.get("conflicting_ts", 0) == conflicts


def test_extra_columns_make_no_conflict_unless_the_schema_names_them_or_none() -> None:
    frame = dated([START, START], trades=[1, 2], note=["a", "b"])
    assert conform(frame)[1].flags == {"duplicate_ts": 1}
    assert conform(frame, 60, None)[1].flags == {"duplicate_ts": 1, "conflicting_ts": 1}
    assert conform(frame.drop(columns="trades"), 60, None)[1].flags == {"duplicate_ts": 1}
    assert conform(frame, 60, {"note": "string"})[1].flags["conflicting_ts"] == 1
    lists = dated([START, START], note=[["a"], ["a"]])
    assert "conflicting_ts" not in conform(lists, 60, {"note": "object"})[1].flags


def test_repeats_are_compared_with_the_row_that_is_kept_wherever_it_stands() -> None:
    frame = dated([START + 60, START + 1, START, START + 1, START + 60], volume=[1.0, 5.0, 6.0, 6.0, 1.0])
    bars, report = conform(frame)
    assert bars["volume"].tolist() == [6.0, 1.0]
    assert report.flags == {"misaligned_ts": 2, "duplicate_ts": 3, "conflicting_ts": 1}


@pytest.mark.parametrize("schema", ["ohlcv", None, {"open": "float64"}, {"note": "string"}])
@pytest.mark.parametrize("kind", ["pandas", "arrow", "polars"])
def test_cells_that_are_not_finite_count_in_every_numeric_column(schema: Any, kind: str) -> None:
    import polars

    frame = dated(
        [START, START + 60, START + 120],
        open=[math.nan, 10.0, math.inf],
        trades=pd.array([1, None, 3], dtype="Int64"),
        vwap=[math.nan, -math.inf, 1.0],
        note=["a", None, "b"],
        is_open=pd.array([True, None, False], dtype="boolean"),
    )
    made = {"pandas": lambda f: f, "arrow": pa.Table.from_pandas, "polars": polars.from_pandas}[kind](frame)
    _, report = conform(made, 60, schema)
    assert report.flags["non_finite"] == 5
    assert report.blocking == ("non_finite",), "a price is among them"
    rest = made.drop(columns="open") if kind == "pandas" else made.drop(["open"])
    asked = schema if isinstance(schema, dict) and "note" in schema else None
    assert conform(rest, 60, asked)[1].blocking == ()


def test_extra_columns_stay_as_they_are_though_they_count() -> None:
    frame = dated([START], vwap=[math.inf])
    bars, report = conform(frame)
    assert bars["vwap"].tolist() == [math.inf] and report.flags == {"non_finite": 1}
    assert report.warnings == ("non_finite: 1 cells are null or not finite (vwap 1)",)


def test_what_is_missing_is_named_beside_what_is_there() -> None:
    frame = dated([START]).rename(columns={"ts": "Open time", "volume": "Vol"})
    bars, report = conform(frame)
    assert report.flags == {"missing_column": 2} and len(bars) == 0
    (problem,) = report.problems
    assert problem == (
        "missing_column: 2 columns are missing (ts, volume; the frame has Open time, open, high, low, close, "
        "Vol; rename= says which of them is which)"
    )
    many = pd.DataFrame({f"c{at}": [1.0] for at in range(400)})
    assert len(conform(many)[1].problems[0]) < 400


def test_mismatches_and_unreadable_times_are_named() -> None:
    frame = dated([START, "\x1b[2Jnoon"], open=["ten", "11"], close=["9", object()])
    _, report = conform(frame)
    problems = dict(problem.split(": ", 1) for problem in report.problems)
    assert "(open, close)" in problems["dtype_mismatch"]
    assert "noon" in problems["invalid_timestamp"] and "\x1b" not in problems["invalid_timestamp"]
    assert set(problems) == set(report.blocking)


@pytest.mark.parametrize(
    "values", [[True] * 3, pd.array([True] * 3, dtype="boolean"), np.ones(3, dtype=bool)]
)
@pytest.mark.parametrize("name", [*PRICES, "volume"])
def test_booleans_are_a_lossless_cast(name: str, values: Any) -> None:
    frame = pd.DataFrame({"ts": [START, START + 60, START + 120], **dict.fromkeys(COLUMNS[1:], 1.0)})
    bars, report = conform(frame.assign(**{name: values}))
    assert report.flags == {"dtype_cast": 1} and report.ok
    pd.testing.assert_frame_equal(bars, frame)
    counted, found = conform(frame.assign(**{name: values}), 60, {name: "int8"})
    assert found.flags == {"dtype_cast": 1} and counted[name].tolist() == [1, 1, 1]
