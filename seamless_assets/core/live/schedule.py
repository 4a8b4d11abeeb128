"""When an exchange is asked after a bar has closed."""

from __future__ import annotations

from collections.abc import Sequence

from seamless_assets.core.calendar.timeframe import Timeframe

LOOKS_S = (0.4, 3.0, 15.0, 60.0)
"""Seconds from a bar's close to each look at it while it has not come."""
STREAM_WAIT_S = 3.0
"""A stream that brings a node's bars has so many seconds before they are asked for."""
STREAMED_LOOKS_S = (LOOKS_S[0], 1.0, 1.9, *LOOKS_S[1:])
"""The same where another process follows their stream: those before `STREAM_WAIT_S` look no farther than the
hot store.
"""
OWN_STREAM_LOOKS_S = tuple(after for after in LOOKS_S if after >= STREAM_WAIT_S)
"""The same where this one does, which hears of them by itself."""
TOLD_WAIT_S = OWN_STREAM_LOOKS_S[1]
"""A bar that was told before it is stored has so many seconds before it is asked for."""
THEN_EVERY_S = 300.0
"""After those, as long as no later bar has closed."""
CORRECTIONS_S = (60.0, 300.0, 3_600.0)
"""Seconds from a bar's close to each look for corrections once it has come; later bars bring those, too."""
LONGEST_WAIT_S = 30.0
"""A clock that was set, or a machine that slept, is seen after so many seconds at the latest."""
JITTER_S = 0.4
"""Each look is later by up to so many seconds, so that those who share an exchange do not ask at once."""


def next_look(timeframe: Timeframe, closed: int, now: float, looks: Sequence[float] = LOOKS_S) -> float:
    """The next instant after `now` (both epoch seconds) to ask for the bar that ended at `closed`.

    At the latest it is that of the next bar. `looks` are the first ones, in seconds after the close.
    """
    end = timeframe.shift(closed, 1)
    later = (max(0, int((now - closed) // THEN_EVERY_S)) + 1) * THEN_EVERY_S
    own = next((closed + after for after in looks if closed + after > now), closed + later)
    return own if own < end else end + looks[0]


def next_correction(timeframe: Timeframe, closed: int, now: float, first: float = LOOKS_S[0]) -> float:
    """The next instant after `now` to ask for corrections of the bar that ended at `closed`.

    At the latest it is `first` seconds after the next one has closed.
    """
    end = timeframe.shift(closed, 1)
    own = [closed + after for after in CORRECTIONS_S if now < closed + after < end]
    return min([end + first, *own])


def last_look(timeframe: Timeframe, closed: int, now: float) -> float:
    """The last instant up to `now` at which the bar that ended at `closed` was to be asked for.

    Before the first one it is the bar's close.
    """
    # No look lies between the last two of an even pace.
    skipped = (min(now, timeframe.shift(closed, 1)) - closed) // THEN_EVERY_S - 1
    at = closed + max(0.0, skipped) * THEN_EVERY_S
    while at < (following := next_look(timeframe, closed, at)) <= now:
        at = following
    return at
