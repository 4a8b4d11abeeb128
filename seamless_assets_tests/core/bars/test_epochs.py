"""Timestamps of every kind, as whole epoch seconds."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seamless_assets.core.bars.epochs import SECONDS_LIMIT, read_epochs
from seamless_assets.core.bars.frames import column_of

START = 1_735_689_600  # 2025-01-01
NOON = datetime(2025, 1, 1, 12, tzinfo=UTC)


def read(values: Any, dtype: Any = None) -> list[tuple[int, str]]:
    """(seconds, letters) of each row: c cast, z zoned, f fractional; None where it is unreadable."""
    epochs = read_epochs(column_of(pd.DataFrame({"ts": pd.Series(values, dtype=dtype)}), "ts"))
    letters = zip(epochs.cast, epochs.zoned, epochs.fractional, strict=True)
    said = ["".join(c for c, on in zip("czf", row, strict=True) if on) for row in letters]
    assert not any(row for row, known in zip(said, epochs.readable, strict=True) if not known)
    return [
        (int(ts), row) if known else None
        for ts, row, known in zip(epochs.seconds, said, epochs.readable, strict=True)
    ]  # type: ignore[misc]


@pytest.mark.parametrize(
    "kind", ["int64", "int32", "uint32", "uint64", "Int64", "UInt64", "int64[pyarrow]", object]
)
def test_whole_seconds_of_any_integer_kind_are_no_cast(kind: Any) -> None:
    assert read([START, 0], kind) == [(START, ""), (0, "")]


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (SECONDS_LIMIT, SECONDS_LIMIT),
        (SECONDS_LIMIT * 10**3, SECONDS_LIMIT),
        (SECONDS_LIMIT * 10**6, SECONDS_LIMIT),
        (SECONDS_LIMIT * 10**9, SECONDS_LIMIT),
        ((SECONDS_LIMIT + 1000) // 1000 * 1000, SECONDS_LIMIT // 1000 + 1),
    ],
)
def test_the_unit_is_judged_by_magnitude(sign: int, value: int, seconds: int) -> None:
    for kind in ("int64", object, "str"):
        texts = [str(sign * value)] if kind == "str" else [sign * value]
        assert [row and row[0] for row in read(texts, kind)] == [sign * seconds]


def test_each_value_has_its_own_unit() -> None:
    values = [START, START * 10**3, START * 10**6, START * 10**9, -START * 10**3]
    assert read(values) == [(START, ""), *[(START, "c")] * 3, (-START, "c")]


@given(st.integers(-(2**63), 2**63 - 1))
def test_integers_follow_the_rule_exactly(value: int) -> None:
    units = [unit for unit in (1, 10**3, 10**6, 10**9) if abs(value) <= SECONDS_LIMIT * unit]
    unit = units[0] if units else None
    expected = (
        None if unit is None else (value // unit, ("c" if unit > 1 else "") + ("f" if value % unit else ""))
    )
    assert read([value], "int64") == [expected]
    assert read([value, START], "int64")[0] == expected
    assert read([value], object) == [expected]
    text = read([str(value)], "str")[0]
    assert text == (expected and (expected[0], "c" + expected[1].replace("c", "")))


def test_a_nanosecond_before_a_boundary_is_before_it() -> None:
    last = START * 10**9 - 1
    stamp = pd.Timestamp(last, unit="ns")
    assert read([last]) == [(START - 1, "cf")]
    assert read([str(last)]) == [(START - 1, "cf")]
    assert read([stamp]) == [(START - 1, "cf")]
    assert read([stamp.tz_localize("UTC")], object) == [(START - 1, "czf")]
    assert read(["2024-12-31T23:59:59.999999999Z", "2025-01-01"]) == [(START - 1, "czf"), (START, "c")]
    assert read([-1_000_000_000_000_000_001]) == [(-1_000_000_001, "cf")]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (START + 0.0, (START, "c")),
        (START + 0.5, (START, "cf")),
        (-0.5, (-1, "cf")),
        (START * 1e3, (START, "c")),
        (START * 1e9, (START, "c")),
        (4.2e18, None),
        (np.nan, None),
        (np.inf, None),
        (-np.inf, None),
    ],
)
def test_floats(value: float, expected: Any) -> None:
    for kind in ("float64", "Float64", object):
        assert read([value], kind) == [expected]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f" {START} ", (START, "c")),
        (f"{START}.25", (START, "cf")),
        ("1735689600e0", (START, "c")),
        ("1.7356896e12", (START, "c")),
        ("+1735689600000", (START, "c")),
        ("2025-01-01", (START, "c")),
        ("2025-01-01 00:00", (START, "c")),
        ("20250101T000000", (START, "c")),
        ("2025-01-01T00:00:00.5", (START, "cf")),
        ("2025-01-01T00:00:00Z", (START, "cz")),
        ("2025-01-01T00:00:00z", (START, "cz")),
        ("2025-01-01T09:00:00+09:00", (START, "cz")),
        ("2024-12-31 19:00:00-0500", (START, "cz")),
        ("2024-12-31T19:00-05", (START, "cz")),
        ("2025-01-01 00:00:00 UTC", (START, "cz")),
        ("1969-12-31T23:59:59.9Z", (-1, "czf")),
        ("99999999999999999999", None),
        ("1e999", None),
        ("2500-01-01", None),
        ("2025-13-01", None),
        ("2025-02-30T00:00:00", None),
        ("01/02/2025", None),
        ("now", None),
        ("today", None),
        ("nan", None),
        ("NaT", None),
        ("1_735_689_600", None),
        ("0x10", None),
        ("", None),
        ("yesterday", None),
    ],
)
def test_texts(text: str, expected: Any) -> None:
    assert read([text]) == [expected]
    assert read([text], object) == [expected]
    assert read([text, "2025-01-01T00:00:00+03:00", START], object) == [
        expected,
        (START - 10_800, "cz"),
        (START, ""),
    ]


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_datetimes_of_every_unit_with_and_without_a_zone(unit: str) -> None:
    naive = pd.Series([datetime(2025, 1, 1), None]).astype(f"datetime64[{unit}]")  # noqa: DTZ001
    assert read(naive) == [(START, "c"), None]
    assert read(naive.dt.tz_localize("UTC")) == [(START, "cz"), None]
    assert read(naive.dt.tz_localize("America/New_York")) == [(START + 5 * 3600, "cz"), None]
    arrow = pd.ArrowDtype(pa.timestamp(unit, tz="Asia/Seoul"))
    assert read(naive.dt.tz_localize("Asia/Seoul"), arrow) == [(START - 9 * 3600, "cz"), None]


def test_times_past_the_limit_are_unreadable_whatever_says_them() -> None:
    late = datetime(2101, 1, 1, tzinfo=UTC)
    assert read([late]) == [None]
    assert read([late, START], object) == [None, (START, "")]
    assert read([datetime(9999, 1, 1, tzinfo=UTC), datetime(1, 1, 1, tzinfo=UTC)], object) == [None, None]


def test_a_column_of_all_sorts() -> None:
    values = [
        START,
        START * 1000,
        float(START),
        Decimal(START) + Decimal("0.5"),
        np.int64(START),
        np.float32(0.5),
        str(START),
        NOON,
        NOON.replace(tzinfo=timezone(timedelta(hours=2))),
        NOON.replace(tzinfo=None),
        pd.Timestamp("2025-01-01T00:00:00.000000001Z"),
        np.datetime64("2025-01-01"),
        date(2025, 1, 2),
        None,
        pd.NA,
        pd.NaT,
        np.datetime64("NaT"),
        Decimal("NaN"),
        True,
        np.True_,
        [1],
        object(),
        10**40,
    ]
    noon = START + 43_200
    assert read(values, object) == [
        (START, ""),
        (START, "c"),
        (START, "c"),
        (START, "cf"),
        (START, ""),
        (0, "cf"),
        (START, "c"),
        (noon, "cz"),
        (noon - 7200, "cz"),
        (noon, "c"),
        (START, "czf"),
        (START, "c"),
        (START + 86_400, "c"),
        *[None] * 10,
    ]


@pytest.mark.parametrize("values", [[True, False], pd.array([True, None], dtype="boolean")])
def test_booleans_are_no_times(values: Any) -> None:
    assert read(values) == [None, None]


@pytest.mark.parametrize(
    "column",
    [
        pa.array([START * 10**9 - 1, None], pa.int64()),
        pa.array([START * 10**9 - 1, None], pa.uint64()),
        pa.array([START * 10**9 - 1, None], pa.timestamp("ns")),
    ],
)
def test_arrow_nulls_cost_no_digit(column: pa.Array) -> None:
    epochs = read_epochs(column_of(pa.table({"ts": column}), "ts"))
    assert epochs.seconds.tolist() == [START - 1, 0]
    assert epochs.readable.tolist() == [True, False]


@pytest.mark.parametrize("kind", [pa.date32(), pa.date64()])
def test_arrow_days_are_midnights(kind: pa.DataType) -> None:
    epochs = read_epochs(column_of(pa.table({"ts": pa.array([date(2025, 1, 1)], kind)}), "ts"))
    assert epochs.seconds.tolist() == [START]


@pytest.mark.parametrize("kind", ["int64", "float64", "str", "datetime64[us]", "datetime64[ns, UTC]", object])
def test_no_rows_are_read_as_no_rows(kind: Any) -> None:
    assert read([], kind) == []
