"""Windows as callers give them: by two instants, in whichever form."""

from __future__ import annotations

from typing import Any

from seamless_assets.core.calendar.instant import epoch_seconds
from seamless_assets.core.calendar.segment import Segment

Instant = Any
"""Epoch seconds, an ISO 8601 text or an aware datetime; naive datetimes are an error."""


def window_of(start: Instant, end: Instant) -> Segment:
    """The window of two instants. Raises `InvalidTimestamp` and `InvalidSegment`."""
    return Segment(epoch_seconds(start, "start", round_up=True), epoch_seconds(end, "end"))
