"""Pages of candles that clients fetch one after the other: what of a page is served, and whether it is.

A client keeps what it got and asks for what follows, so that a hole within a page would stay in its data for
ever. Newest bars that have not come yet are left out of a page, as an exchange does that is late.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from seamless_assets.core.calendar.segment import Segment
from seamless_assets.core.calendar.timeframe import Timeframe
from seamless_assets.core.coverage.coverage import MISSING, Gap
from seamless_assets.core.reading.context import Verdict
from seamless_assets.core.reading.settings import ReadSettings


@dataclass(frozen=True, slots=True)
class PageEvidence:
    """What a page is judged by: its window, the gaps in that, and the time by the exchange's clock.

    `is_newest`: no later bars go with it. `problems` are those of its fill, `violations` the phases that
    their budgets cut.
    """

    timeframe: Timeframe
    window: Segment
    gaps: Sequence[Gap]
    now: float
    is_newest: bool
    problems: Sequence[str] = ()
    violations: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class PageJudgement:
    """The bars that open before `until` are served, unless the verdict is HOLD."""

    until: int
    verdict: Verdict
    reasons: tuple[str, ...]


def judge_page(page: PageEvidence, settings: ReadSettings) -> PageJudgement:
    """What is served of a page. PARTIAL: the exchange was asked for bars that are missing, and has none."""
    missing = [gap for gap in page.gaps if gap.reason == MISSING]
    is_cut = page.is_newest and bool(missing) and missing[-1].end == page.window.end
    until = missing[-1].start if is_cut else page.window.end
    holes = sum(page.timeframe.count(*gap.segment) for gap in missing if gap.end <= until)
    holding = tuple(_holding(page, settings, until, holes))
    if holding:
        return PageJudgement(until, "HOLD", holding)
    if holes:
        return PageJudgement(until, "PARTIAL", (f"bars_missing: {holes} bars are not there",))
    return PageJudgement(until, "PASS", ())


def _holding(page: PageEvidence, settings: ReadSettings, until: int, holes: int) -> Iterator[str]:
    late = page.now - page.timeframe.shift(until, 1)
    if until < page.window.end and late > settings.max_lag:
        yield f"lag_exceeded: a bar closed {late:g} s ago and is not there, max_lag is {settings.max_lag:g} s"
        yield from _unasked(page)
    if not holes:
        return
    ratio = 1 - holes / page.timeframe.count(page.window.start, until)
    if ratio < settings.min_coverage:
        yield f"coverage_below_minimum: {ratio:.4f} of the bars are there"
    elif not settings.allow_partial:
        yield f"partial_not_allowed: {holes} bars are missing, and domains.live.allow_partial is false"
    yield from _unasked(page)


def _unasked(page: PageEvidence) -> Iterator[str]:
    """Why the exchange was not asked for all that is missing."""
    yield from (f"fill_failed: {problem}" for problem in page.problems)
    if page.violations:
        yield f"sla_exceeded: {', '.join(page.violations)} took longer than the budget"
