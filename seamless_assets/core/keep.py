"""How long the hot store keeps bars that artifacts hold, and what it says of its own state."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from seamless_assets.core.segment import Segment
from seamless_assets.core.timeframe import Timeframe


@dataclass(frozen=True, slots=True)
class StoreStatus:
    """What an operator wants to know of a store. `latency_ms` is that of one empty question."""

    kind: str
    address: str
    version: str
    lag: str
    latency_ms: float


@dataclass(frozen=True, slots=True)
class Finding:
    """What a look at one part of the pipeline found: its state, or why it has none, and what to do."""

    part: str
    is_well: bool
    status: StoreStatus | None
    advice: str


def evictable(
    timeframe: Timeframe, released: Sequence[Segment], now: float, keep_days: float
) -> list[Segment]:
    """The parts of `released` segments that are older than `keep_days` days before `now` (epoch seconds)."""
    limit = timeframe.floor(int(now - keep_days * 86_400))
    aged = [segment.intersect(Segment(min(segment.start, limit), limit)) for segment in released]
    return [segment for segment in aged if not segment.is_empty]
