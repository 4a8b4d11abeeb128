"""What of a page is served, and when it is not."""

from __future__ import annotations

from typing import Any

import pytest

from seamless_assets.core.calendar.segment import Segment
from seamless_assets.core.calendar.timeframe import Timeframe
from seamless_assets.core.coverage.coverage import MISSING, Gap
from seamless_assets.core.live.page import PageEvidence, judge_page
from seamless_assets.core.reading.settings import ReadSettings

START = 1_735_689_600
MINUTE = Timeframe("1m")
WINDOW = Segment(START, START + 6_000)
SETTINGS = ReadSettings(max_lag=120.0, min_coverage=0.98)


def gap(first: int, last: int, reason: str = MISSING) -> Gap:
    """Bars of the window, by their numbers."""
    return Gap(START + 60 * first, START + 60 * last, reason)


def judged(*gaps: Gap, now: float = WINDOW.end + 1.0, **evidence: Any) -> tuple[str, int, list[str]]:
    """The verdict, how many bars of the window are served, and the codes of the reasons."""
    evidence.setdefault("is_newest", True)
    settings = evidence.pop("settings", SETTINGS)
    found = judge_page(PageEvidence(MINUTE, WINDOW, gaps, now, **evidence), settings)
    codes = [reason.partition(":")[0] for reason in found.reasons]
    return found.verdict, MINUTE.count(START, found.until), codes


def test_a_whole_page_is_served() -> None:
    assert judged() == ("PASS", 100, [])
    assert judged(gap(5, 9, "no_trades"), gap(98, 100, "no_trades")) == ("PASS", 100, [])


def test_the_newest_bars_may_be_late() -> None:
    assert judged(gap(99, 100)) == ("PASS", 99, [])
    assert judged(gap(98, 100)) == ("PASS", 98, [])
    assert judged(gap(99, 100), problems=["away"]) == ("PASS", 99, [])
    assert judged(gap(0, 100), now=START + 60 + 119) == ("PASS", 0, [])


def test_newest_bars_that_are_too_late_are_said_to_come_later() -> None:
    assert judged(gap(97, 100), now=WINDOW.end + 1) == ("HOLD", 97, ["lag_exceeded"])
    late = judged(gap(99, 100), now=WINDOW.end + 121, problems=["away"], violations=["live_wait"])
    assert late == ("HOLD", 99, ["lag_exceeded", "fill_failed", "sla_exceeded"])


def test_an_older_page_has_no_late_bars() -> None:
    assert judged(gap(99, 100), is_newest=False) == ("PARTIAL", 100, ["bars_missing"])
    assert judged(gap(99, 100), is_newest=False, problems=["away"])[0] == "HOLD"


def test_holes_that_the_exchange_has_too_are_told() -> None:
    assert judged(gap(40, 42)) == ("PARTIAL", 100, ["bars_missing"])


@pytest.mark.parametrize(
    ("evidence", "code"),
    [
        ({"problems": ["away"]}, "fill_failed"),
        ({"violations": ["backfill_wait"]}, "sla_exceeded"),
        ({"settings": ReadSettings(allow_partial=False)}, "partial_not_allowed"),
        ({"settings": ReadSettings(min_coverage=0.985)}, "coverage_below_minimum"),
    ],
)
def test_holes_that_may_be_filled_later_are_not_served(evidence: dict[str, Any], code: str) -> None:
    assert judged(gap(40, 42), **evidence) == ("HOLD", 100, [code])
