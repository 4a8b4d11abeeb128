"""Instants as people type them."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seamless_assets.core.calendar.instant import (
    epoch_micros,
    epoch_seconds,
    instant_text,
    is_instant_text,
    seconds_text,
    typed_instant,
)
from seamless_assets.errors import InvalidTimestamp


@pytest.mark.parametrize(
    ("text", "ts"), [("1735689600", 1735689600), ("-60", -60), ("2025-01-01", 1735689600)]
)
def test_digits_are_epoch_seconds_and_all_else_is_a_text(text: str, ts: int) -> None:
    assert epoch_seconds(typed_instant(text)) == ts


@pytest.mark.parametrize("text", ["²", "--5", "-", "", "1e9", "9" * 5_000, "9" * 20, "soon"])
def test_what_only_looks_like_a_number_is_refused(text: str) -> None:
    with pytest.raises(InvalidTimestamp):
        epoch_seconds(typed_instant(text))


def test_texts_sort_as_the_instants_do_in_every_year() -> None:
    years = [1, 45, 999, 1000, 1969, 1970, 2026, 9999]
    instants = [epoch_micros(datetime(year, 1, 1, tzinfo=UTC)) for year in years]
    texts = [instant_text(micros) for micros in instants]
    assert texts == sorted(texts)
    assert [epoch_micros(text) for text in texts] == instants
    assert texts[1] == "0045-01-01T00:00:00.000000Z"
    assert seconds_text(instants[1] // 1_000_000) == "0045-01-01T00:00:00Z"


@pytest.mark.parametrize(
    "value",
    [
        pd.NaT,
        "0001-01-01T00:00:00+14:00",
        "9999-12-31T23:59:59-14:00",
        pd.Timestamp("0001-01-01T00:00:00+14:00"),
    ],
)
def test_what_is_no_time_of_utc_is_refused(value: Any) -> None:
    with pytest.raises(InvalidTimestamp):
        epoch_micros(value)


def test_the_first_and_the_last_time_of_utc_are_times() -> None:
    for text in ("0001-01-01T00:00:00.000000Z", "9999-12-31T23:59:59.999999Z"):
        assert instant_text(epoch_micros(text)) == text


WRITTEN = "2025-01-31T12:30:45.000001Z"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "2025-01-31",
        "2025-01-31T12:30:45Z",
        "2025-01-31T12:30:45.000001",
        "2025-01-31T12:30:45.000001+00:00",
        "2025-01-31T12:30:45.000001z",
        "2025-01-31 12:30:45.000001Z",
        " 2025-01-31T12:30:45.000001Z",
        "2025-01-31T24:00:00.000000Z",
        "2025-W05-5T12:30:45.000001Z",
    ],
)
def test_an_instant_is_written_in_one_way(text: str) -> None:
    assert is_instant_text(WRITTEN) and not is_instant_text(text)


@given(
    st.lists(st.tuples(st.integers(0, len(WRITTEN) - 1), st.sampled_from("0123456789-:T.Z+W ")), max_size=3)
)
def test_what_is_written_as_an_instant_is_what_an_instant_is_written_as(
    changes: list[tuple[int, str]],
) -> None:
    letters = list(WRITTEN)
    for place, letter in changes:
        letters[place] = letter
    text = "".join(letters)
    try:
        is_written = instant_text(epoch_micros(text)) == text
    except InvalidTimestamp:
        is_written = False
    assert is_instant_text(text) == is_written


def at(*moment: int) -> int:
    return int(datetime(*moment, tzinfo=UTC).timestamp())  # type: ignore[arg-type, misc]


BERLIN = ZoneInfo("Europe/Berlin")
NEW_YEAR = 1_735_689_600


class Whole:
    """Something that has an index, as numbers of other libraries have."""

    def __index__(self) -> int:
        return NEW_YEAR

    def __repr__(self) -> str:
        return "Whole"


@pytest.mark.parametrize(
    ("value", "down", "up"),
    [
        (NEW_YEAR, NEW_YEAR, NEW_YEAR),
        (np.int64(NEW_YEAR), NEW_YEAR, NEW_YEAR),
        (np.uint32(NEW_YEAR), NEW_YEAR, NEW_YEAR),
        (np.array(NEW_YEAR), NEW_YEAR, NEW_YEAR),
        (Whole(), NEW_YEAR, NEW_YEAR),
        (float(NEW_YEAR), NEW_YEAR, NEW_YEAR),
        (NEW_YEAR + 0.5, NEW_YEAR, NEW_YEAR + 1),
        (-0.5, -1, 0),
        (np.float64(NEW_YEAR + 0.25), NEW_YEAR, NEW_YEAR + 1),
        (np.float32(1024.5), 1024, 1025),
        (Decimal(NEW_YEAR), NEW_YEAR, NEW_YEAR),
        (Decimal("1735689600.000000001"), NEW_YEAR, NEW_YEAR + 1),
        (Decimal("1735689599.999999999"), NEW_YEAR - 1, NEW_YEAR),
        (Fraction(NEW_YEAR * 3 + 1, 3), NEW_YEAR, NEW_YEAR + 1),
        ("2025-01-01", NEW_YEAR, NEW_YEAR),
        (" 2025-01-01\n", NEW_YEAR, NEW_YEAR),
        ("20250101", NEW_YEAR, NEW_YEAR),
        ("2025-W01-3", NEW_YEAR, NEW_YEAR),
        ("2025W013", NEW_YEAR, NEW_YEAR),
        ("2025-W01", NEW_YEAR - 2 * 86_400, NEW_YEAR - 2 * 86_400),
        ("2025-01-01T00:00:00Z", NEW_YEAR, NEW_YEAR),
        ("2025-01-01 00:00:00+00:00", NEW_YEAR, NEW_YEAR),
        ("20250101T000000Z", NEW_YEAR, NEW_YEAR),
        ("2025-W01-3T01:00+01:00", NEW_YEAR, NEW_YEAR),
        ("2025-01-01T00:00:00.000001Z", NEW_YEAR, NEW_YEAR + 1),
        (date(2025, 1, 1), NEW_YEAR, NEW_YEAR),
        (datetime(2025, 1, 1, tzinfo=UTC), NEW_YEAR, NEW_YEAR),
        (datetime(2025, 1, 1, 1, tzinfo=BERLIN), NEW_YEAR, NEW_YEAR),
        (pd.Timestamp("2025-01-01", tz="UTC"), NEW_YEAR, NEW_YEAR),
        (pd.Timestamp("2025-01-01T01:00", tz="Europe/Berlin"), NEW_YEAR, NEW_YEAR),
        (pd.Timestamp(NEW_YEAR * 10**9 + 1, tz="UTC"), NEW_YEAR, NEW_YEAR + 1),
        (pd.Timestamp(NEW_YEAR * 10**9 - 1, tz="UTC"), NEW_YEAR - 1, NEW_YEAR),
        (0, 0, 0),
        (4_100_000_000, 4_100_000_000, 4_100_000_000),
    ],
    ids=repr,
)
def test_a_time_is_read_exactly_in_every_form(value: Any, down: int, up: int) -> None:
    assert epoch_seconds(value) == down and epoch_seconds(value, round_up=True) == up
    assert epoch_micros(value) // 1_000_000 == down
    assert type(epoch_seconds(value)) is int and type(epoch_micros(value)) is int


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (20_250_101, r"start 20250101 reads as a date.*1970-08-23.*write start as '2025-01-01'"),
        (np.int32(20_250_101), "reads as a date"),
        (20_250_101.0, "reads as a date"),
        (Decimal(20_250_101), "reads as a date"),
        (20_250_101_000_000, r"too large.*reads as a date; write '2025-01-01T00:00:00\+00:00'"),
        (202_501_010_000, r"reads as a date; write '2025-01-01T00:00:00\+00:00'"),
        (1_735_689_600_000, r"too large for epoch seconds: divide milliseconds by 1,000"),
        (10**5_000, "of 16610 bits is too large"),
        (-(10**5_000), "too large"),
        (Decimal("1e999999"), "Decimal"),
        (Decimal("1e-999999"), "Decimal"),
        (Decimal("sNaN"), "Decimal"),
        (Fraction(10**400), "too large"),
        (float("nan"), r"nan \(float\)"),
        (float("-inf"), "inf"),
        (np.float32("inf"), "inf"),
        (True, r"True \(bool\)"),
        (np.True_, "bool"),
        (1j, "complex"),
        (None, "NoneType"),
        ([2025], "list"),
        (np.array([1, 2]), "ndarray"),
        (np.datetime64("2025-01-01"), "datetime64"),
        (timedelta(days=1), "timedelta"),
        (pd.Period("2025-01"), "Period"),
        (b"2025-01-01", "bytes"),
        (time(1), "time"),
        ("", "not ISO 8601"),
        ("now", "not ISO 8601"),
        ("2025", "epoch seconds go in as a number"),
        ("1735689600", "epoch seconds go in as a number"),
        ("20250101000000", "epoch seconds go in as a number"),
        ("202001011234500Z", "not ISO 8601"),
        ("2025-01-01X00:00Z", "not ISO 8601"),
        ("2025-13-01", "not ISO 8601"),
        ("2025-02-30", "not ISO 8601"),
        ("2025/01/01", "not ISO 8601"),
        ("01.02.2025", "not ISO 8601"),
        ("2025-001", "not ISO 8601"),
        ("x" * 10**6, "not ISO 8601"),
        ("2025-01-01T00:00:00", "no time zone"),
        ("20250101T00", "no time zone"),
        (datetime(2025, 1, 1), "no time zone"),  # noqa: DTZ001
        (pd.Timestamp("2025-01-01"), "no time zone"),
        ("0001-01-01", "no time of a market"),
        ("9999-12-31", "no time of a market"),
        (date(1, 1, 1), "no time of a market"),
        (pd.Timestamp("2262-01-01", tz="UTC"), "no time of a market"),
    ],
    ids=lambda message: type(message).__name__,
)
def test_what_is_no_time_of_a_market_is_refused_with_its_reading(value: Any, message: str) -> None:
    with pytest.raises(InvalidTimestamp, match=message) as refused:
        epoch_seconds(value, "start")
    assert len(str(refused.value)) < 400 and isinstance(refused.value, ValueError)


@given(st.integers(-4_099_999_999, 4_099_999_998), st.integers(0, 999_999_999))
def test_no_instant_moves_by_a_nanosecond(seconds: int, nanos: int) -> None:
    exact = Decimal(seconds) + Decimal(nanos).scaleb(-9)
    for value in (exact, Fraction(exact), pd.Timestamp(seconds * 10**9 + nanos, tz="UTC")):
        if not (nanos == 0 and str(seconds)[:2] in ("19", "20") and len(str(seconds)) == 8):
            assert epoch_seconds(value) == seconds
            assert epoch_seconds(value, round_up=True) == seconds + bool(nanos)
            assert epoch_micros(value) == seconds * 1_000_000 + nanos // 1_000


@pytest.mark.parametrize("typed", ["20250131", "19991231"])
def test_eight_digits_that_a_person_types_are_a_date(typed: str) -> None:
    year, month, day = int(typed[:4]), int(typed[4:6]), int(typed[6:])
    assert epoch_seconds(typed_instant(typed)) == at(year, month, day)
    assert typed_instant("20251399") == 20_251_399
