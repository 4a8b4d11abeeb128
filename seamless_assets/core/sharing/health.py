"""What a store says of its own state, and what a look at it found."""

from __future__ import annotations

from dataclasses import dataclass

from seamless_assets.core.calendar.instant import CLOCKS_DIFFER_S


@dataclass(frozen=True, slots=True)
class StoreStatus:
    """What an operator wants to know of a store that works. `latency_ms` is that of one empty question.

    `warning` says what went wrong with a part of it or soon will, and what to do; empty for nothing.
    """

    kind: str
    address: str
    version: str
    lag: str
    latency_ms: float
    warning: str = ""


@dataclass(frozen=True, slots=True)
class Finding:
    """What a look at one part of the pipeline found: its state, or why it has none, and what to do."""

    part: str
    is_well: bool
    status: StoreStatus | None
    advice: str


def dated_ahead(newest: float, now: float) -> str:
    """A warning where the `newest` thing in a store lies ahead of `now` (epoch seconds); else empty."""
    if newest <= now + CLOCKS_DIFFER_S:
        return ""
    return (
        f"something in it is dated {(newest - now) / 86_400:.2f} days ahead of this clock, which was wrong "
        "then or is wrong now; nothing waits for that time, but set the clock by NTP"
    )
