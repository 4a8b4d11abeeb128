"""Cells and columns that are no plain numbers or times are reported, whatever they are."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from seamless_assets.core.bars.conformance.conform import conform
from seamless_assets.core.releases.fingerprint import fingerprint
from seamless_assets.errors import InvalidFrame

START = 1_735_689_600
TIMES = [START, START + 60, START + 120]
NODE = "ohlcv:binance:BTC/USDT:1m"
PLAIN = {"ts": TIMES, **dict.fromkeys(("open", "high", "low", "close", "volume"), [3.0] * 3)}
NOT_UTF8 = pa.Array.from_buffers(
    pa.string(), 3, [None, pa.py_buffer(np.arange(4, dtype=np.int32)), pa.py_buffer(b"\xff33")]
)


def objects(*cells: Any) -> pd.Series[Any]:
    return pd.Series(list(cells), dtype=object)


def hash_of(frame: Any) -> str:
    return fingerprint(frame, node_id=NODE, interval=60)


@pytest.mark.parametrize("column", ["ts", "volume"])
@pytest.mark.parametrize(
    ("folded", "unfolded"),
    [
        (pd.Categorical([START, None, START + 60]), pd.array([START, None, START + 60], dtype="Int64")),
        (pd.Categorical([3, 3, 4]), np.array([3, 3, 4])),
        (pd.Categorical([True, None, True]), objects(True, None, True)),
        (pd.Categorical([3.5, None, 3.0]), np.array([3.5, np.nan, 3.0])),
    ],
)
def test_categories_are_what_they_stand_for(column: str, folded: Any, unfolded: Any) -> None:
    (bars, report), (same, expected) = (
        conform(pd.DataFrame({**PLAIN, column: values})) for values in (folded, unfolded)
    )
    assert report == expected
    pd.testing.assert_frame_equal(bars, same)


@pytest.mark.parametrize("column", ["ts", "volume"])
@pytest.mark.parametrize(
    "values",
    [
        pa.array([START, None, START + 60]),
        pa.array([3, None, 3], pa.int32()),
        pa.array(["3", None, "x"]),
        pa.array([True, None, False]),
        pa.array([START, None, START + 60], pa.timestamp("s", "Asia/Tokyo")),
    ],
)
def test_arrow_dictionaries_are_what_they_stand_for(column: str, values: Any) -> None:
    at = list(PLAIN).index(column)
    plain = pa.table(PLAIN).set_column(at, column, values)
    folded = plain.set_column(at, column, values.dictionary_encode())
    (bars, report), (same, expected) = conform(folded), conform(plain)
    assert report == expected
    pd.testing.assert_frame_equal(bars.to_pandas(), same.to_pandas())


def test_a_null_within_a_dictionary_is_a_null() -> None:
    folded = pa.DictionaryArray.from_arrays(pa.array([0, 1, 0]), pa.array([3, None]))
    table = pa.table({**PLAIN, "volume": folded})
    assert conform(table)[1].flags == {"dtype_cast": 1, "non_finite": 1}
    assert hash_of(table) == hash_of(pa.table({**PLAIN, "volume": [3.0, None, 3.0]}))


@pytest.mark.parametrize(
    "cell",
    [
        1 + 9j,
        True,
        np.True_,
        10**400,
        -(10**5000),
        Decimal("sNaN"),
        "\ud800",
        pd.Timestamp(START),
        np.array(3.0),
    ],
    ids=lambda cell: type(cell).__name__,
)
def test_a_cell_that_is_no_number_makes_a_mismatch(cell: Any) -> None:
    frame = pd.DataFrame({**PLAIN, "open": objects(cell, 3.0, None)})
    bars, report = conform(frame)
    assert report.flags == {"dtype_mismatch": 1, "non_finite": 1}
    np.testing.assert_array_equal(bars["open"], [np.nan, 3.0, np.nan])
    with pytest.raises(InvalidFrame, match="open holds"):
        hash_of(frame)


@pytest.mark.parametrize("cells", [[10**400, 1, 1], [Decimal("sNaN"), Decimal(1), Decimal(1)]])
def test_numbers_that_no_float_holds_have_no_fingerprint(cells: list[Any]) -> None:
    with pytest.raises(InvalidFrame, match="open holds"):
        hash_of(pd.DataFrame({**PLAIN, "open": objects(*cells)}))


@pytest.mark.parametrize("cell", [10**400, Decimal("sNaN"), "\ud800", b"3", np.array(3.0)], ids=repr)
def test_a_cell_that_is_no_time_is_an_invalid_timestamp(cell: Any) -> None:
    frame = pd.DataFrame({**PLAIN, "ts": objects(cell, *TIMES[1:])})
    assert conform(frame)[1].flags == {"invalid_timestamp": 1}
    with pytest.raises(InvalidFrame, match="1 values of ts"):
        hash_of(frame)


@pytest.mark.parametrize(("dtype", "value"), [("float32", 1e39), ("float16", 1e6), ("float32", -np.inf)])
def test_what_is_infinite_as_the_asked_dtype_is_not_finite(dtype: str, value: float) -> None:
    bars, report = conform(pd.DataFrame({**PLAIN, "open": [value, 3.0, np.nan]}), 60, {"open": dtype})
    assert report.flags == {"dtype_cast": 1, "non_finite": 2}
    np.testing.assert_array_equal(bars["open"], np.array([np.nan, 3.0, np.nan], dtype=dtype))


@pytest.mark.parametrize("cell", [10**400, Decimal("sNaN")], ids=["long", "signal"])
@pytest.mark.parametrize("dtype", ["uint64", "int64[pyarrow]", "datetime64[ns]", "complex128"])
def test_a_cast_that_fails_in_any_way_is_a_mismatch(dtype: str, cell: Any) -> None:
    _, report = conform(pd.DataFrame({**PLAIN, "open": objects(cell, 1, 1)}), 60, {"open": dtype})
    assert report.flags == {"dtype_mismatch": 1}


def test_a_zone_that_nobody_knows_says_the_same_instants() -> None:
    table = pa.table({**PLAIN, "ts": pa.array(TIMES, pa.timestamp("s", "Mars/Phobos"))})
    bars, report = conform(table)
    assert report.flags == {"ts_cast": 3, "ts_timezone_normalized": 3}
    assert bars["ts"].to_pylist() == TIMES
    assert hash_of(table) == hash_of(pa.table(PLAIN))


@pytest.mark.parametrize(
    "values",
    [
        pa.UnionArray.from_sparse(pa.array([0, 1, 0], pa.int8()), [pa.array([3, 3, 3]), pa.array(["x"] * 3)]),
        NOT_UTF8,
    ],
    ids=["union", "not utf-8"],
)
def test_arrow_columns_that_pandas_cannot_hold_are_read_cell_by_cell(values: pa.Array) -> None:
    _, report = conform(pa.table({**PLAIN, "volume": values}))
    assert report.flags == {"dtype_mismatch": 1}


@pytest.mark.parametrize("kind", [pa.string_view(), pa.run_end_encoded(pa.int32(), pa.int64())])
def test_a_time_column_of_any_arrow_layout_is_sorted(kind: pa.DataType) -> None:
    times = pa.array([str(ts) if kind == pa.string_view() else ts for ts in reversed(TIMES)])
    laid = pa.compute.run_end_encode(times) if pa.types.is_run_end_encoded(kind) else times.cast(kind)
    bars, _ = conform(pa.table({**PLAIN, "ts": laid}))
    assert bars["ts"].to_pylist() == TIMES


@pytest.mark.parametrize(
    "values",
    [
        pa.array(["a", None, "b"], pa.string_view()),
        pa.array([b"a", None, b"b"], pa.binary_view()),
        pa.compute.run_end_encode(pa.array(["a", None, None]), run_end_type=pa.int16()),
        pa.array([["a"], None, ["b", "c"]], pa.list_(pa.string_view())),
        pa.array([{"x": [b"a"]}, None, {"x": []}], pa.struct([("x", pa.large_list(pa.binary_view()))])),
        pa.array([[("a", "b")], None, []], pa.map_(pa.string_view(), pa.string_view())),
    ],
    ids=lambda values: str(values.type),
)
def test_an_extra_column_of_any_arrow_layout_keeps_it(values: pa.Array) -> None:
    table = pa.table({**PLAIN, "ts": [*TIMES[:0:-1], None], "more": values})
    bars, report = conform(table)
    assert report.flags == {"invalid_timestamp": 1}
    assert bars["more"].type == values.type
    assert bars["more"].to_pylist() == values.to_pylist()[1::-1]


def test_polars_columns_that_arrow_lacks_are_read_cell_by_cell() -> None:
    import polars

    frame = polars.DataFrame({**PLAIN, "open": polars.Series([3, None, 3], dtype=polars.Int128)})
    assert conform(frame)[1].flags == {"dtype_cast": 1, "non_finite": 1}
    frame = frame.with_columns(polars.Series("open", [3, object(), 3.0], dtype=polars.Object))
    assert conform(frame)[1].flags == {"dtype_mismatch": 1}
