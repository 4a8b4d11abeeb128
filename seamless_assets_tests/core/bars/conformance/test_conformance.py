"""Flags, their units and severities, and which rows stay."""

from __future__ import annotations

import dataclasses
from typing import Any, get_args

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from pandera.errors import SchemaError
from support.bars_model import Bars

import seamless_assets.core.bars.conformance.conform as conformance
from seamless_assets.core.bars.conformance.conform import Report, conform
from seamless_assets.core.bars.conformance.contract import contract_violations
from seamless_assets.core.bars.conformance.flags import MEANINGS, SEVERITIES, Flag
from seamless_assets.core.bars.table import COLUMNS
from seamless_assets.core.calendar.instant import OLDEST_MARKET
from seamless_assets.core.calendar.timeframe import Timeframe
from seamless_assets.errors import InvalidChoice, InvalidFrame, InvalidTimeframe, SeamlessError

START = 1_735_689_600  # 2025-01-01
DAY = 86_400


def candles(ts: Any, **columns: Any) -> pd.DataFrame:
    rows = len(ts)
    usual = {"open": 10.0, "high": 12.0, "low": 9.0, "close": 11.0, "volume": 1.0}
    return pd.DataFrame({"ts": ts, **{name: [value] * rows for name, value in usual.items()}} | columns)


def minutes(*numbers: int) -> list[int]:
    return [START + 60 * number for number in numbers]


def flags(frame: Any, *args: Any, **kwargs: Any) -> dict[str, int]:
    return conform(frame, *args, **kwargs)[1].flags


def test_clean_bars_pass_without_a_flag() -> None:
    frame = candles(minutes(0, 1, 2))
    bars, report = conform(frame)
    pd.testing.assert_frame_equal(bars, frame)
    assert report == Report(flags={}, rows_in=3, rows_out=3)
    assert report.ok and report.conformance_version == "v2"


def test_a_report_is_frozen_and_counts_in_plain_integers() -> None:
    _, report = conform(candles(minutes(0, 0, 5)))
    with pytest.raises(dataclasses.FrozenInstanceError):
        report.flags = {}  # type: ignore[misc]
    assert report.flags == {"duplicate_ts": 1, "gap": 4}
    assert {type(count) for count in report.flags.values()} == {int}


@pytest.mark.parametrize(
    ("frame", "expected", "blocking"),
    [
        (candles(minutes(0, 3)), {"gap": 2}, ()),
        (candles(minutes(1, 0)), {}, ()),
        (candles(minutes(0, 1, 1, 1)), {"duplicate_ts": 2}, ()),
        (candles([START + 7, START + 60]), {"misaligned_ts": 1}, ()),
        (candles(minutes(0, 1), volume=[-1.0, 2.0]), {"negative_volume": 1}, ()),
        (candles(minutes(0, 1), close=[np.nan, -np.inf]), {"non_finite": 2}, ("non_finite",)),
        (candles(minutes(0), open=[None], close=[None]), {"dtype_cast": 2, "non_finite": 2}, ("non_finite",)),
        (candles(minutes(0), volume=[np.nan]), {"non_finite": 1}, ()),
        (candles(minutes(0, 1), high=[10.5, 12.0]), {"ohlc_inconsistent": 1}, ("ohlc_inconsistent",)),
        (candles(minutes(0), low=[10.5]), {"ohlc_inconsistent": 1}, ("ohlc_inconsistent",)),
        (candles(minutes(0)).drop(columns=["open", "volume"]), {"missing_column": 2}, ("missing_column",)),
        (candles(minutes(0), open=["10"], close=[11]), {"dtype_cast": 2}, ()),
        (candles(minutes(0), open=["ten"]), {"dtype_mismatch": 1}, ("dtype_mismatch",)),
        (candles([START, None]), {"ts_cast": 1, "invalid_timestamp": 1}, ("invalid_timestamp",)),
    ],
)
def test_every_flag_counts_in_its_unit(
    frame: pd.DataFrame, expected: dict[str, int], blocking: tuple[str, ...]
) -> None:
    _, report = conform(frame)
    assert report.flags == expected
    assert report.blocking == blocking
    assert report.ok is (not blocking)


def test_counts_are_of_the_input_before_rows_are_dropped() -> None:
    frame = candles([START, START, None], open=[np.nan, 10.0, np.nan], volume=[-1.0, 1.0, -1.0])
    bars, report = conform(frame)
    assert report.flags["non_finite"] == 2
    assert report.flags["negative_volume"] == 2
    assert report.flags["duplicate_ts"] == 1
    assert (report.rows_in, report.rows_out, len(bars)) == (3, 1, 1)


def test_no_row_is_dropped_for_its_prices() -> None:
    bars, _ = conform(candles(minutes(0, 1, 2), open=[np.inf, np.nan, 99.0]))
    assert list(bars["ts"]) == minutes(0, 1, 2)
    assert bars["open"].isna().tolist() == [True, True, False]


def test_infinities_become_nan_and_are_not_judged_as_prices() -> None:
    bars, report = conform(candles(minutes(0), low=[np.inf]))
    assert np.isnan(bars["low"].iloc[0])
    assert report.flags == {"non_finite": 1}


def test_the_last_row_of_a_ts_wins() -> None:
    bars, _ = conform(candles(minutes(1, 0, 1, 0), volume=[1.0, 2.0, 3.0, 4.0]))
    assert bars["volume"].tolist() == [4.0, 3.0]


def test_an_aligned_row_beats_a_floored_one_that_comes_later() -> None:
    bars, report = conform(candles([START, START + 1, START + 61, START + 62], volume=[1.0, 2.0, 3.0, 4.0]))
    assert bars["ts"].tolist() == minutes(0, 1)
    assert bars["volume"].tolist() == [1.0, 4.0]
    assert report.flags == {"misaligned_ts": 3, "duplicate_ts": 2, "conflicting_ts": 2}


def test_a_fraction_of_a_second_off_the_grid_is_off_the_grid() -> None:
    bars, report = conform(candles([START * 1000, START * 1000 + 60_001], volume=[1.0, 2.0]))
    assert bars["ts"].tolist() == minutes(0, 1)
    assert report.flags == {"ts_cast": 2, "misaligned_ts": 1}


def test_without_a_grid_nothing_is_floored_and_no_gap_is_seen() -> None:
    bars, report = conform(candles([START + 500, START + 7]), None)
    assert bars["ts"].tolist() == [START + 7, START + 500]
    assert report.flags == {}


@pytest.mark.parametrize("interval", [604_800, Timeframe("1w"), Timeframe("7d")])
def test_weeks_open_on_monday(interval: Any) -> None:
    monday = START + 5 * DAY
    bars, report = conform(candles([monday - 1, monday, monday + 21 * DAY + 1]), interval)
    assert bars["ts"].tolist() == [monday - 7 * DAY, monday, monday + 21 * DAY]
    assert report.flags == {"misaligned_ts": 2, "gap": 2}


def test_months_follow_the_calendar() -> None:
    january, february, may = START, START + 31 * DAY, START + 120 * DAY
    bars, report = conform(candles([may + 5, january, february]), Timeframe("1M"))
    assert bars["ts"].tolist() == [january, february, may]
    assert report.flags == {"misaligned_ts": 1, "gap": 2}


@pytest.mark.parametrize("year", [1969, 1970, 2024])
def test_quarters_and_years_floor_on_both_sides_of_the_epoch(year: int) -> None:
    stamp = int(pd.Timestamp(f"{year}-06-15").timestamp())
    opens = {"3M": f"{year}-04-01", "1y": f"{year}-01-01"}
    for text, opened in opens.items():
        bars, _ = conform(candles([stamp]), Timeframe(text))
        assert bars["ts"].tolist() == [int(pd.Timestamp(opened).timestamp())]


@pytest.mark.parametrize("interval", [0, -60, 1.5, "1m", True, object()])
def test_an_interval_that_is_none_is_refused(interval: Any) -> None:
    with pytest.raises(InvalidTimeframe):
        conform(candles(minutes(0)), interval)


@pytest.mark.parametrize("frame", [None, "frame", [1, 2], {"ts": [1]}, np.zeros(3), pd.Series([1])])
def test_what_is_no_frame_is_refused(frame: Any) -> None:
    with pytest.raises(InvalidFrame, match="not a frame"):
        conform(frame)


@pytest.mark.parametrize("seed", range(5))
def test_rows_are_put_in_order_by_their_slots_as_by_sorting(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    dice = np.random.default_rng(seed)
    ts = START + dice.integers(0, 300, 500) * 60 + dice.choice([0, 0, 0, 17], 500)
    frame = pd.DataFrame({"ts": ts, **{name: dice.random(500) + 1 for name in COLUMNS[1:]}})
    by_slots = conform(frame)
    monkeypatch.setattr(conformance, "_DENSE", 0)
    by_sorting = conform(frame)
    pd.testing.assert_frame_equal(by_slots[0], by_sorting[0])
    assert by_slots[1] == by_sorting[1] and by_slots[1].flags["duplicate_ts"] > 100


def test_repeated_column_names_are_refused() -> None:
    with pytest.raises(InvalidFrame, match="open"):
        conform(pd.concat([candles(minutes(0)), candles(minutes(0))[["open"]]], axis=1))


@pytest.mark.parametrize("schema", ["candles", 3, {"open": "floaty"}, {"ts": "float64"}, {"open": None}])
def test_an_unknown_schema_is_refused(schema: Any) -> None:
    with pytest.raises(InvalidChoice):
        conform(candles(minutes(0)), 60, schema)


@pytest.mark.parametrize("severities", [{"gaps": "warning"}, {"gap": "fatal"}])
def test_unknown_severities_are_refused(severities: dict[str, str]) -> None:
    with pytest.raises(InvalidChoice):
        conform(candles(minutes(0)), severities=severities)


def test_severities_are_overridden_by_flag() -> None:
    frame = candles(minutes(0, 2, 2), open=[np.nan, 10.0, 10.0])
    _, report = conform(
        frame, severities={"gap": "blocking", "non_finite": "information", "duplicate_ts": "information"}
    )
    assert report.flags == {"non_finite": 1, "duplicate_ts": 1, "gap": 1}
    assert report.blocking == ("gap",)
    assert report.warnings == ()


def test_warnings_speak_of_warnings_alone() -> None:
    _, report = conform(candles([START + 1, START + 181], open=[np.nan, 10.0]))
    assert [warning.split(":")[0] for warning in report.warnings] == ["misaligned_ts", "gap"]
    assert all("2 " in warning for warning in report.warnings)


def test_every_flag_has_a_severity_and_a_meaning() -> None:
    assert SEVERITIES.keys() == MEANINGS.keys() == set(get_args(Flag))


def promises_broken(bars: pd.DataFrame) -> list[str]:
    return contract_violations({name: bars[name].to_numpy() for name in bars})


def test_the_model_accepts_what_conform_calls_clean_and_nothing_else() -> None:
    bars, _ = conform(candles(minutes(0, 1, 2)))
    Bars.validate(bars)
    assert promises_broken(bars) == []
    spoiled = [
        bars.assign(high=1.0),
        bars.assign(low=11.5),
        bars.assign(open=np.nan),
        bars.assign(close=np.inf, high=np.inf),
        bars.assign(volume=-1.0),
        bars.assign(ts=START),
        bars.iloc[::-1],
        bars.assign(ts=bars["ts"] * 1000),
        bars.astype({"volume": "float32"}),
        bars.drop(columns="low"),
        bars.assign(open=0.0, low=0.0),
        bars.assign(low=-1.0),
        bars.assign(ts=bars["ts"] - OLDEST_MARKET),
        bars.assign(volume=np.nan),
    ]
    for wrong in spoiled:
        with pytest.raises(SchemaError):
            Bars.validate(wrong)
        assert promises_broken(wrong)


def test_a_result_that_breaks_the_model_never_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conformance, "_value_flags", lambda columns: {})
    with pytest.raises(SeamlessError, match="break their own contract: high encloses"):
        conform(candles(minutes(0), high=[1.0]))


@pytest.mark.parametrize("error", [ValueError, KeyError, ZeroDivisionError, pa.ArrowNotImplementedError])
def test_an_internal_error_fails_closed(monkeypatch: pytest.MonkeyPatch, error: type[Exception]) -> None:
    def breaks(*args: Any) -> None:
        raise error("inside")

    monkeypatch.setattr(conformance, "read_epochs", breaks)
    with pytest.raises(SeamlessError, match="nothing of this frame is passed"):
        conform(candles(minutes(0)))


def test_too_many_rows_are_refused_before_keys_could_collide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conformance, "_MAX_ROW_BITS", 1)
    with pytest.raises(InvalidFrame, match="too many"):
        conform(candles(minutes(1, 0)))


def test_a_frame_without_ts_is_blocked_and_comes_out_empty() -> None:
    bars, report = conform(candles(minutes(0, 1)).drop(columns="ts"))
    assert report.flags == {"missing_column": 1}
    assert report.blocking == ("missing_column",)
    assert (report.rows_in, report.rows_out) == (2, 0)
    assert list(bars.columns) == list(COLUMNS) and len(bars) == 0


def test_what_is_conformed_stays_as_it_is() -> None:
    once, _ = conform(candles([START * 1000 + 61_000, START * 1000, START * 1000], volume=[1.0, -0.0, 5.0]))
    twice, report = conform(once)
    pd.testing.assert_frame_equal(twice, once)
    assert report.flags == {}
