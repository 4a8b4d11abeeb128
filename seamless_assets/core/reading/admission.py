"""Admission: what a read may touch, decided before anything is asked of a store or an exchange.

domain    | as_of      | reads              | may fill          | serves
----------|------------|--------------------|-------------------|---------------------------------
none      | newest     | releases           | where a strategy is named | the release it makes
backtest  | required   | releases           | never             | releases, all of the window
dryrun    | required   | releases, hot store| as the strategy says | what it publishes
live      | session's  | releases, hot store| as the strategy says | releases, hot bars, live tail
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from seamless_assets.core.calendar.instant import CLOCKS_DIFFER_S, epoch_micros, instant_text
from seamless_assets.core.reading.context import ComputeContext, Domain, Strategy
from seamless_assets.core.reading.settings import ReadSettings
from seamless_assets.errors import AsOfInFuture, AsOfRequired


class Fill(Enum):
    """When a read fills what is missing of its window."""

    NEVER = "never"
    FIRST = "first"
    """Before it answers, whatever the size of the gap."""
    BACKGROUND = "background"
    """After it answered."""
    BY_SIZE = "by_size"
    """Before it answers where the gap is at most `max_sync_gap_bars`, else after."""


@dataclass(frozen=True, slots=True)
class Admission:
    """What a read may do.

    `publishes`: what it serves is a release, made where there is none. `blends`: bars that are not released
    are served too. `follows`: the newest bar is waited for. `must_cover`: a window that releases do not hold
    whole is an error.
    """

    domain: Domain | None
    strategy: Strategy | None
    fill: Fill
    publishes: bool
    blends: bool
    follows: bool
    must_cover: bool

    @property
    def asks_exchange(self) -> bool:
        """Whether an exchange may be asked for the read, at once or later."""
        return self.fill is not Fill.NEVER


_FILLS: dict[Strategy, Fill] = {
    "FAIL_FAST": Fill.NEVER,
    "AUTO_BACKFILL": Fill.FIRST,
    "PARTIAL_FILL": Fill.BACKGROUND,
    "SEAMLESS": Fill.BY_SIZE,
}


def admit(context: ComputeContext | None, strategy: Strategy | None, settings: ReadSettings) -> Admission:
    """What a read of `context` may do; `strategy` is the one that the call names, if it names one.

    Raises `AsOfRequired` where a backtest or a dry run is not bound.
    """
    if context is None:
        return _unbound(strategy, settings)
    chosen = strategy or settings.strategy
    if context.domain != "live":
        _require_bound(context)
    if context.domain == "backtest":
        return Admission("backtest", chosen, Fill.NEVER, False, False, False, must_cover=True)
    is_live = context.domain == "live"
    return Admission(
        domain=context.domain,
        strategy=chosen,
        fill=_fill(chosen, settings) if is_live or settings.dryrun_publishes else Fill.NEVER,
        publishes=not is_live and settings.dryrun_publishes,
        blends=is_live,
        follows=is_live and chosen == "SEAMLESS",
        must_cover=False,
    )


def _fill(strategy: Strategy, settings: ReadSettings) -> Fill:
    fill = _FILLS[strategy]
    return Fill.FIRST if settings.waits_for_fills and fill is not Fill.NEVER else fill


_NEWEST = Admission(None, None, Fill.NEVER, False, False, False, must_cover=True)


def _unbound(strategy: Strategy | None, settings: ReadSettings) -> Admission:
    if strategy is None:
        return _NEWEST
    fill = _fill(strategy, settings)
    is_filled = fill is not Fill.NEVER
    return Admission(None, strategy, fill, is_filled, blends=False, follows=False, must_cover=not is_filled)


def _require_bound(context: ComputeContext) -> None:
    if context.as_of is None and context.dataset_fingerprint is None:
        kind = "backtest" if context.domain == "backtest" else "dry run"
        raise AsOfRequired(
            f"a {kind} needs as_of: pass one of releases(node)[i].as_of, an ISO instant or epoch seconds "
            "in ComputeContext(as_of=...), or a release's dataset_fingerprint"
        )


def seconds_open(as_of: str | None, now: float, newest: str | None) -> float:
    """Seconds for which releases may still come at or before `as_of`; 0 where none can.

    `newest` is the `as_of` of the node's last release: later ones come after it, whatever a clock says.
    Raises `AsOfInFuture` where that takes longer than the clocks of machines differ by.
    """
    if as_of is None or (newest is not None and as_of <= newest):
        return 0.0
    ahead = epoch_micros(as_of, "as_of") / 1_000_000 - now
    if ahead > CLOCKS_DIFFER_S:
        raise AsOfInFuture(
            f"as_of {as_of} lies after now ({instant_text(int(now * 1_000_000))}): releases until then would "
            "change what it reads; bind a release's as_of, or an instant that has passed",
            as_of=as_of,
        )
    return max(ahead, 0.0)
