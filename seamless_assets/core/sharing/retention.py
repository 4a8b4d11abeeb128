"""How long the hot store keeps bars that artifacts hold."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from seamless_assets.core.calendar.partition import default_unit, partitions
from seamless_assets.core.calendar.segment import Segment
from seamless_assets.core.calendar.timeframe import Timeframe
from seamless_assets.core.canonical import sha256_text


@dataclass(frozen=True, slots=True)
class Evictable:
    """A range whose hot bars may go, as long as they are still those of `digest` (see `digest_of`)."""

    segment: Segment
    digest: str


def digest_of(bars: pa.Table) -> str:
    """`sha256:` over bars as they are stored, sorted by `ts`; equal bars have equal digests."""
    return sha256_text(b"".join(np.asarray(column).tobytes() for column in bars.columns))


def aged_parts(timeframe: Timeframe, released: Segment, now: float, keep_days: float) -> list[Segment]:
    """What of a released segment is older than `keep_days` days before `now` (epoch seconds).

    Cut at the timeframe's default partitions, so that no part lies across two partitions of a store.
    """
    limit = max(released.start, timeframe.floor(int(now - keep_days * 86_400)))
    aged = released.intersect(Segment(released.start, limit))
    parts = [aged.intersect(part.window) for part in partitions(timeframe, default_unit(timeframe), aged)]
    return [part for part in parts if not part.is_empty]
