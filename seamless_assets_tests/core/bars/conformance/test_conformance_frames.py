"""Kinds of frames and dtypes, in and out."""

from __future__ import annotations

import subprocess
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from seamless_assets.core.bars.conformance.conform import conform
from seamless_assets.core.bars.table import BARS_SCHEMA, COLUMNS
from seamless_assets.core.calendar.timeframe import Timeframe

START = 1_735_689_600
OF_PRICES = {"ohlc_inconsistent", "non_positive_price"}
CANONICAL = {"ts": "int64", **dict.fromkeys(COLUMNS[1:], "float64")}


def candles(**columns: Any) -> pd.DataFrame:
    usual = {
        "open": [10.0] * 3,
        "high": [12.0] * 3,
        "low": [9.0] * 3,
        "close": [11.0] * 3,
        "volume": [1.0] * 3,
    }
    return pd.DataFrame({"ts": [START + 60, START, START + 60], **usual} | columns)


def dtypes(frame: pd.DataFrame) -> dict[str, str]:
    return {name: str(dtype) for name, dtype in frame.dtypes.items()}


def test_pandas_arrow_and_polars_agree() -> None:
    import polars

    frame = candles(open=[10, 11, None], close=["11", "11", "11"], trades=[7, 8, 9])
    bars, report = conform(frame)
    table, arrow_report = conform(pa.Table.from_pandas(frame))
    from_polars, polars_report = conform(polars.from_pandas(frame))
    assert isinstance(bars, pd.DataFrame)
    assert isinstance(table, pa.Table)
    assert isinstance(from_polars, polars.DataFrame)
    assert report == arrow_report
    # polars keeps whole numbers with a null as integers, where pandas has made them floats.
    assert polars_report.flags == {
        "dtype_cast": 1,
        "non_finite": 1,
        "duplicate_ts": 1,
        "conflicting_ts": 1,
    }
    assert table.select(COLUMNS).schema == BARS_SCHEMA
    pd.testing.assert_frame_equal(table.to_pandas(), bars)
    pd.testing.assert_frame_equal(from_polars.to_pandas(), bars)


@pytest.mark.parametrize("dirty", [True, False])
def test_the_callers_frame_and_the_result_share_nothing_that_can_change(dirty: bool) -> None:
    frame = candles() if dirty else candles(ts=[START, START + 60, START + 120])
    before = frame.copy(deep=True)
    bars, _ = conform(frame)
    pd.testing.assert_frame_equal(frame, before)
    bars.loc[0, "open"] = -5.0
    bars.loc[0, "ts"] = 0
    pd.testing.assert_frame_equal(frame, before)
    kept = bars.copy(deep=True)
    frame.loc[:, "close"] = -7.0
    pd.testing.assert_frame_equal(bars, kept)


def test_extra_columns_are_kept_in_place_with_their_types() -> None:
    table = pa.table(
        {
            "trades": pa.array([5, None, 7], pa.int64()),
            **{name: pa.array(values) for name, values in candles().to_dict("list").items()},
            "note": pa.array(["a", "b", None]),
        }
    )
    bars, _ = conform(table)
    assert bars.column_names == table.column_names
    assert bars.column("trades").to_pylist() == [None, 7]
    assert bars.column("note").to_pylist() == ["b", None]
    assert bars.schema.field("trades").type == pa.int64()
    frame, report = conform(candles(note=pd.Categorical(["x", "y", "z"])))
    assert frame["note"].tolist() == ["y", "z"]
    assert frame["note"].dtype == "category"
    assert report.flags == {"duplicate_ts": 1}


def test_an_index_named_ts_is_the_time() -> None:
    frame = candles().set_index("ts")
    frame.index = pd.to_datetime(frame.index, unit="s", utc=True)
    bars, report = conform(frame)
    assert list(bars.columns) == list(COLUMNS)
    assert bars["ts"].tolist() == [START, START + 60]
    assert report.flags == {"ts_cast": 3, "ts_timezone_normalized": 3, "duplicate_ts": 1}


def test_an_index_that_says_nothing_of_time_is_replaced() -> None:
    clean = candles(ts=[START, START + 60, START + 120]).set_index(pd.Index([9, 9, 9], name="row"))
    bars, report = conform(clean)
    assert bars.index.equals(pd.RangeIndex(3))
    assert report.flags == {}


@pytest.mark.parametrize(
    "frame",
    [
        pd.DataFrame(columns=list(COLUMNS)),
        candles().iloc[:0],
        pa.Table.from_pandas(candles().iloc[:0]),
        pa.table({name: pa.array([], pa.string()) for name in COLUMNS}),
    ],
)
def test_an_empty_frame_keeps_its_schema_and_has_no_flag(frame: Any) -> None:
    bars, report = conform(frame)
    assert report.flags == {} and report.ok
    assert (report.rows_in, report.rows_out) == (0, 0)
    if isinstance(frame, pa.Table):
        assert bars.schema.remove_metadata() == BARS_SCHEMA
    else:
        assert dtypes(bars) == CANONICAL


@pytest.mark.parametrize(
    ("values", "flags"),
    [
        (np.array([10, 10, 10]), {"dtype_cast": 1}),
        (np.array([10, 10, 10], dtype=np.uint8), {"dtype_cast": 1}),
        (np.array([10.5] * 3, dtype=np.float32), {"dtype_cast": 1}),
        (["10", " 10.5 ", "1e1"], {"dtype_cast": 1}),
        ([Decimal("10.5")] * 3, {"dtype_cast": 1}),
        (pd.array([10.5] * 3, dtype="Float64"), {"dtype_cast": 1}),
        (pd.array([10, 10, None], dtype="Int64"), {"dtype_cast": 1, "non_finite": 1}),
        (pd.Categorical(["10", "10", "11"]), {"dtype_cast": 1}),
        (pd.arrays.SparseArray([10.0, 10.0, 10.0]), {}),
        (pd.array([10.5] * 3, dtype=pd.ArrowDtype(pa.float64())), {}),
        (["10", "nan", "10"], {"dtype_cast": 1, "non_finite": 1}),
        (["10", None, "inf"], {"dtype_cast": 1, "non_finite": 2}),
        (["10", "", "10"], {"dtype_mismatch": 1}),
        (["10", "x", None], {"dtype_mismatch": 1, "non_finite": 1}),
        ([True, False, True], {"dtype_cast": 1}),
        (pd.Series([True, None, False], dtype=object), {"dtype_cast": 1, "non_finite": 1}),
        (pd.array([True, None, False], dtype="boolean"), {"dtype_cast": 1, "non_finite": 1}),
        (pd.array([True, True, False], dtype=pd.ArrowDtype(pa.bool_())), {"dtype_cast": 1}),
        (pd.date_range("2025-01-01", periods=3), {"dtype_mismatch": 1}),
        (pd.to_timedelta([1, 2, 3], unit="s"), {"dtype_mismatch": 1}),
        (np.array([1j, 2j, 3j]), {"dtype_mismatch": 1}),
    ],
)
def test_numbers_of_any_kind_become_plain_floats(values: Any, flags: dict[str, int]) -> None:
    frame = candles(ts=[START, START + 60, START + 120], open=values)
    bars, report = conform(frame)
    assert {name: n for name, n in report.flags.items() if name not in OF_PRICES} == flags
    assert dtypes(bars) == CANONICAL


def test_unreadable_cells_alone_become_nan() -> None:
    bars, _ = conform(candles(ts=[START, START + 60, START + 120], open=["10", "x", "11"]))
    np.testing.assert_array_equal(bars["open"], [10.0, np.nan, 11.0])


@pytest.mark.parametrize("kind", ["pandas", "arrow", "polars"])
@pytest.mark.parametrize("schema", ["ohlcv", None, {"trades": "int64"}])
def test_a_frame_without_rows_or_times_keeps_its_other_columns(schema: Any, kind: str) -> None:
    import polars

    table = pa.Table.from_pandas(candles(note=["a"] * 3, trades=[1, 2, 3]), preserve_index=False)
    make = {"pandas": pa.Table.to_pandas, "arrow": lambda table: table, "polars": polars.from_arrow}[kind]
    for frame in (make(table.slice(0, 0)), make(table.drop(["ts"]))):
        bars, report = conform(frame, 60, schema)
        assert type(bars) is type(frame) and len(bars) == 0
        arrow = pa.Table.from_pandas(bars) if kind == "pandas" else bars
        held = arrow.column_names if kind == "arrow" else list(bars.columns)
        assert {*COLUMNS, "note", "trades"} - set(held) == set()
        assert report.ok is ("ts" in (frame.column_names if kind == "arrow" else frame.columns))


def test_schema_none_looks_at_the_time_alone() -> None:
    frame = candles(open=["x"] * 3).drop(columns=["close"])
    bars, report = conform(frame, 60, None)
    assert report.flags == {"duplicate_ts": 1}
    assert bars["open"].tolist() == ["x", "x"]


def test_a_schema_names_columns_and_dtypes_in_any_case() -> None:
    frame = candles(
        trades=[1.0, 2.0, 3.0], funding=["0.1", "0.2", "0.3"], venue=["a", "b", "c"], big=[2**62 + 1] * 3
    )
    schema = {
        "ts": "Int64",
        "trades": "INT32",
        "funding": "Float64",
        "venue": "String",
        "big": "int64",
        "x": "float64",
    }
    bars, report = conform(frame, 60, schema)
    assert report.flags == {"missing_column": 1, "dtype_cast": 3, "duplicate_ts": 1, "conflicting_ts": 1}
    assert dtypes(bars) | {"trades": "int32", "funding": "float64", "venue": "string"} == dtypes(bars)
    assert bars["big"].tolist() == [2**62 + 1] * 2


@pytest.mark.parametrize(
    "values", [[1.5, 2.0, 3.0], [np.nan, 1.0, 2.0], [300, 1, 1], ["-1", "1", "1"], [2.0**63] * 3]
)
def test_what_no_integer_holds_is_a_mismatch_and_stays_a_float(values: list[Any]) -> None:
    bars, report = conform(candles(n=values), None, {"n": "uint8"})
    assert report.flags["dtype_mismatch"] == 1
    assert dtypes(bars)["n"] == "float64"


@pytest.mark.parametrize("value", [2.0**63, 2.0**64, -(2.0**63) * 2])
def test_integers_never_wrap(value: float) -> None:
    _, report = conform(candles(n=[value] * 3), None, {"n": "int64"})
    assert report.flags["dtype_mismatch"] == 1


def test_other_dtypes_are_cast_where_they_can_be() -> None:
    frame = candles(day=["2025-01-01", "2025-01-02", "x"], kind=["a", "b", "c"])
    bars, report = conform(frame, None, {"day": "datetime64[ns]", "kind": "category"})
    assert report.flags == {"dtype_mismatch": 1, "dtype_cast": 1, "duplicate_ts": 1, "conflicting_ts": 1}
    assert bars["day"].tolist() == ["2025-01-02", "x"]
    assert dtypes(bars)["kind"] == "category"


def test_arrow_columns_in_many_chunks_and_types() -> None:
    first = pa.table(
        {
            "ts": pa.array([START * 1000, None], pa.timestamp("ms", tz="Asia/Seoul")),
            "open": pa.array(["10", "11"]).dictionary_encode(),
            "high": pa.array([12, 13], pa.decimal128(9, 2)),
            "low": pa.array([9, 9], pa.uint8()),
            "close": pa.array([10.0, None]),
            "volume": pa.array([1, 2], pa.int64()),
        }
    )
    bars, report = conform(pa.concat_tables([first, first.slice(0, 0), first]))
    assert bars.schema == BARS_SCHEMA
    assert bars.to_pylist() == [
        {"ts": START, "open": 10.0, "high": 12.0, "low": 9.0, "close": 10.0, "volume": 1.0}
    ]
    assert report.flags == {
        "invalid_timestamp": 2,
        "ts_cast": 2,
        "ts_timezone_normalized": 2,
        "dtype_cast": 4,
        "non_finite": 2,
        "duplicate_ts": 1,
    }


def test_arrow_nulls_of_prices_come_out_as_nan() -> None:
    table = pa.Table.from_pandas(candles(ts=[START, START + 60, START + 120]), preserve_index=False)
    bars, _ = conform(table.set_column(1, "open", pa.array([None, 10.0, 10.0])))
    assert bars.column("open").null_count == 0
    assert np.isnan(bars.column("open").to_numpy()).tolist() == [True, False, False]


def test_recorded_markets_are_clean_but_for_the_minutes_without_trades(market_data: Path) -> None:
    files = [file for file in sorted(market_data.glob("*_*_*.parquet")) if "trades" not in file.stem]
    assert files
    for file in files:
        timeframe = Timeframe(file.stem.rpartition("_")[2])
        table = pq.read_table(file)
        bars, report = conform(table.select(list(COLUMNS)), timeframe)
        assert report.flags.keys() <= {"gap"}, file.name
        spoiled = table.take(np.random.default_rng(7).permutation(table.num_rows)).to_pandas()
        spoiled["ts"] = pd.to_datetime(spoiled["ts"], unit="s").dt.tz_localize("Asia/Seoul")
        spoiled["ts"] -= pd.Timedelta(hours=-9)
        mended, found = conform(spoiled[list(COLUMNS)], timeframe)
        assert found.flags.get("gap") == report.flags.get("gap")
        assert pa.Table.from_pandas(mended, schema=BARS_SCHEMA, preserve_index=False).equals(bars), file.name


def test_conforming_needs_neither_pandera_nor_polars() -> None:
    program = (
        "import sys, pandas; from seamless_assets.core.bars.conformance.conform import conform;"
        "import seamless_assets.core.releases.fingerprint;"
        "conform(pandas.DataFrame({name: [1735689600] for name in 'ts open high low close volume'.split()}));"
        "print(sorted({'pandera', 'polars'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
