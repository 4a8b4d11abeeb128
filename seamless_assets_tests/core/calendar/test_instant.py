"""Instants as people type them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pandas as pd
import pytest

from seamless_assets.core.calendar.instant import (
    epoch_micros,
    epoch_seconds,
    instant_text,
    seconds_text,
    typed_instant,
)
from seamless_assets.errors import InvalidTimestamp


@pytest.mark.parametrize(
    ("told", "ts"), [("1735689600", 1735689600), ("-60", -60), ("2025-01-01", 1735689600)]
)
def test_digits_are_epoch_seconds_and_all_else_is_a_text(told: str, ts: int) -> None:
    assert epoch_seconds(typed_instant(told)) == ts


@pytest.mark.parametrize("told", ["²", "--5", "-", "", "1e9", "9" * 5_000, "9" * 20, "soon"])
def test_what_only_looks_like_a_number_is_refused(told: str) -> None:
    with pytest.raises(InvalidTimestamp):
        epoch_seconds(typed_instant(told))


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
