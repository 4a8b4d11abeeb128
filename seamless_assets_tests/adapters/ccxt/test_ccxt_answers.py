"""What an HTTP answer says beneath ccxt: how long to wait."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta

import pytest

from seamless_assets.adapters.ccxt.limits import pause_asked_for


def retry_after(header: str) -> float | None:
    return pause_asked_for({"retry-after": header})


@pytest.mark.parametrize("zone", [" GMT", " +0000", " -0000", ""])
def test_a_date_is_utc_whatever_zone_it_leaves_out(zone: str) -> None:
    soon = datetime.now(UTC) + timedelta(hours=1)
    seconds = retry_after(f"{soon:%a, %d %b %Y %H:%M:%S}{zone}")
    assert seconds is not None and 3_500 < seconds <= 3_600
    past = soon - timedelta(hours=2)
    assert retry_after(f"{past:%a, %d %b %Y %H:%M:%S}{zone}") == 0


@pytest.mark.parametrize(
    ("header", "seconds"),
    [("2", 2.0), ("1.5", 1.5), ("-5", 0.0), ("0", 0.0), ("inf", math.inf), ("999999999999", 1e12 - 1)],
)
def test_seconds_are_taken_as_they_are(header: str, seconds: float) -> None:
    assert retry_after(header) == seconds


@pytest.mark.parametrize(
    "header", ["nan", "soon", "", "2, 2", "2026-11-26T03:22Z", "Thu, 26 Nov 2026 03:22:24 +9999999999999999"]
)
def test_garbage_says_nothing(header: str) -> None:
    assert retry_after(header) is None
