"""Frames as vendors write them: other names of columns, times in a zone that they do not name."""

from __future__ import annotations

import io
from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any
from zoneinfo import ZoneInfo

import pandas as pd
import pyarrow as pa
import pyarrow.csv as pc
import pytest

from seamless_assets.core.bars.conformance.conform import conform
from seamless_assets.core.bars.table import BARS_SCHEMA, COLUMNS
from seamless_assets.errors import InvalidChoice, InvalidFrame, InvalidInput

START = 1_735_689_600  # 2025-01-01T00:00:00Z
HOUR = 3_600
CSV = b"""Date,Open,High,Low,Close,Vol.
2025-01-01 09:00,10,12,9,11,1
2025-01-01 10:00,11,13,10,12,2
"""
NAMES = {"Date": "ts", "Open": "open", "High": "high", "Low": "low", "Close": "close", "Vol.": "volume"}
REST = {"open": 10.0, "high": 12.0, "low": 9.0, "close": 11.0, "volume": 1.0}


def polars_csv() -> Any:
    import polars

    return polars.read_csv(io.BytesIO(CSV))


@pytest.mark.parametrize(
    "read",
    [
        lambda: pd.read_csv(io.BytesIO(CSV)),
        lambda: pd.read_csv(io.BytesIO(CSV), parse_dates=["Date"]),
        lambda: pd.read_csv(io.BytesIO(CSV), index_col="Date"),
        lambda: pd.read_csv(io.BytesIO(CSV), index_col="Date", parse_dates=True),
        lambda: pd.read_csv(io.BytesIO(CSV), dtype_backend="pyarrow"),
        lambda: pc.read_csv(io.BytesIO(CSV)),
        polars_csv,
    ],
    ids=["texts", "datetimes", "index", "datetime index", "pyarrow", "Arrow", "polars"],
)
def test_a_vendors_csv_becomes_bars_by_its_names_and_zone(read: Any) -> None:
    frame = read()
    before = frame.copy(deep=True) if isinstance(frame, pd.DataFrame) else frame
    bars, report = conform(frame, HOUR, rename=NAMES, tz="Asia/Tokyo")
    assert type(bars) is type(frame)
    table = pa.Table.from_pandas(bars, preserve_index=False) if isinstance(bars, pd.DataFrame) else bars
    table = table if isinstance(table, pa.Table) else table.to_arrow()
    assert table.select(COLUMNS).to_pydict() == {
        "ts": [START, START + HOUR],
        "open": [10.0, 11.0],
        "high": [12.0, 13.0],
        "low": [9.0, 10.0],
        "close": [11.0, 12.0],
        "volume": [1.0, 2.0],
    }
    assert report.ok and report.flags == {"dtype_cast": 5, "ts_cast": 2, "ts_timezone_normalized": 2}
    if isinstance(frame, pd.DataFrame):
        pd.testing.assert_frame_equal(frame, before)
    else:
        assert frame is before


def test_other_columns_keep_their_places_and_names() -> None:
    frame = pd.DataFrame({"note": ["a"], "time": [START], **REST, "vol": [7]})
    bars, _ = conform(frame, rename={"time": "ts"})
    assert list(bars.columns) == ["note", "ts", *COLUMNS[1:], "vol"]
    swapped, report = conform(frame, rename={"time": "ts", "volume": "quote_volume", "vol": "volume"})
    assert swapped["volume"].tolist() == [7.0] and swapped["quote_volume"].tolist() == [1.0]
    assert report.flags == {"dtype_cast": 1}


@pytest.mark.parametrize("kind", ["pandas", "arrow", "polars"])
@pytest.mark.parametrize(
    ("rename", "error", "reason"),
    [
        ({"Time": "ts"}, InvalidChoice, "'Time', which the frame has not; it has ts, open"),
        ({"open": "ts"}, InvalidFrame, "ts appear twice"),
        ({"open": 3}, InvalidInput, "rename is"),
        (["open"], InvalidInput, "rename is"),
        ("open", InvalidInput, "rename is"),
    ],
)
def test_names_that_cannot_be_meant_are_refused(
    rename: Any, error: type[Exception], reason: str, kind: str
) -> None:
    import polars

    table = pa.table({"ts": [START], **{name: [value] for name, value in REST.items()}}, BARS_SCHEMA)
    frame = {"pandas": table.to_pandas(), "arrow": table, "polars": polars.from_arrow(table)}[kind]
    with pytest.raises(error, match=reason):
        conform(frame, rename=rename)


@pytest.mark.parametrize(
    ("tz", "local", "utc"),
    [
        ("Asia/Tokyo", "2025-01-01 09:00", START),
        ("America/New_York", "2024-12-31 19:00", START),
        ("America/New_York", "2024-06-30 20:00", START - 184 * 24 * HOUR),
        ("+09:00", "2025-01-01 09:00", START),
        ("-0330", "2024-12-31 20:30", START),
        ("UTC", "2025-01-01", START),
        (UTC, "2025-01-01T00:00:00", START),
        (timezone(timedelta(hours=8)), "2025-01-01 08:00", START),
        (ZoneInfo("Asia/Kathmandu"), "2025-01-01 05:45", START),
    ],
    ids=str,
)
def test_times_without_a_zone_are_local_times_of_tz(tz: Any, local: str, utc: int) -> None:
    moment = datetime.fromisoformat(local)
    columns: list[Any] = [
        [local],
        [moment],
        pd.Series([moment]).astype("datetime64[s]"),
        pd.Series([moment]).astype("datetime64[ns]"),
        pd.Series([moment], dtype=object),
        pd.Series([moment], dtype=pd.ArrowDtype(pa.timestamp("ms"))),
    ]
    for times in columns:
        bars, report = conform(pd.DataFrame({"ts": times, **REST}), 60, tz=tz)
        assert bars["ts"].tolist() == [utc]
        assert report.flags == {"ts_cast": 1, "ts_timezone_normalized": 1}


def test_dates_without_a_zone_are_its_midnights_and_other_times_stay() -> None:
    times = [date(2025, 1, 1), "2025-01-02", START + 8, "2025-01-03T00:00:00Z", pd.Timestamp(START, unit="s")]
    frame = pd.DataFrame({"ts": pd.Series(times, dtype=object), **REST})
    bars, report = conform(frame, None, tz="+09:00")
    day = 24 * HOUR
    assert bars["ts"].tolist() == [START - 9 * HOUR, START + 8, START + day - 9 * HOUR, START + 2 * day]
    assert report.flags == {
        "ts_cast": 4,
        "ts_timezone_normalized": 4,
        "duplicate_ts": 1,
    }


@pytest.mark.parametrize(
    ("local", "is_readable"),
    [
        ("2025-03-30 01:59", True),
        ("2025-03-30 02:00", False),  # skipped
        ("2025-03-30 02:59:59", False),
        ("2025-03-30 03:00", True),
        ("2025-10-26 01:59", True),
        ("2025-10-26 02:00", False),  # there twice
        ("2025-10-26 02:59", False),
        ("2025-10-26 03:00", True),
    ],
)
def test_local_times_that_are_not_there_or_there_twice_are_invalid(local: str, is_readable: bool) -> None:
    bars, report = conform(pd.DataFrame({"ts": [local], **REST}), 60, tz="Europe/Berlin")
    assert report.ok is is_readable and len(bars) == is_readable
    if is_readable:
        expected = pd.Timestamp(local, tz="Europe/Berlin").timestamp()
        assert bars["ts"].tolist() == [expected]
    else:
        assert report.flags == {"invalid_timestamp": 1}
        assert "2025" in report.problems[0]


@pytest.mark.parametrize("times", [[START], [START * 1000], ["2025-01-01T00:00:00Z"], [f"{START}"]])
def test_a_zone_that_no_time_needs_is_refused(times: list[Any]) -> None:
    with pytest.raises(InvalidInput, match="leave tz out"):
        conform(pd.DataFrame({"ts": times, **REST}), tz="Asia/Tokyo")


def test_a_frame_without_rows_or_times_needs_no_zone() -> None:
    nothing = pd.DataFrame({"ts": [], **{name: [] for name in REST}})
    assert conform(nothing, tz="Asia/Tokyo")[1].flags == {}
    assert conform(pd.DataFrame(REST, index=[0]), tz="Asia/Tokyo")[1].flags == {"missing_column": 1}


@pytest.mark.parametrize(
    "tz", ["Mars/Phobos", "", "+25:00", 9, "../../etc/passwd", "a\0b", object(), "x" * 5000]
)
def test_what_is_no_zone_is_refused(tz: Any) -> None:
    with pytest.raises(InvalidInput, match="no time zone"):
        conform(pd.DataFrame({"ts": ["2025-01-01"], **REST}), tz=tz)
