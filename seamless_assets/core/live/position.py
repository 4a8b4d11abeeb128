"""Where a stream stands in one node, and how far back it follows what it has told."""

from __future__ import annotations

from dataclasses import dataclass, replace

from seamless_assets.core.calendar.timeframe import Timeframe
from seamless_assets.core.coverage.coverage import MISSING, Gap

FOLLOWED_BARS = 500
"""Corrections, and bars where there was none, are told of the last so many bars; older ones in releases."""
AWAITED_BARS = 20_000
"""A range that nobody can explain is awaited for so many bars."""
MAX_GAPS = 1_000
"""Ranges without bars that a position remembers; of more, the oldest are followed no longer."""


@dataclass(frozen=True, slots=True)
class Position:
    """All before `upto` (exclusive, on the grid) was told, but for `gaps`, which were told as such.

    `revised` are pairs of an open and how many corrections of that bar are in what was told; of all other
    bars none is. All ascending.
    """

    upto: int
    gaps: tuple[Gap, ...] = ()
    revised: tuple[tuple[int, int], ...] = ()

    def followed_from(self, timeframe: Timeframe) -> int:
        """Begin of what may still change for the stream."""
        oldest = timeframe.shift(self.upto, -FOLLOWED_BARS)
        awaited = min((gap.start for gap in self.gaps if gap.reason == MISSING), default=oldest)
        return min(oldest, awaited)

    def without_old(self, timeframe: Timeframe) -> Position:
        """The same without what is no longer followed."""
        if not self.gaps and not self.revised:
            return self
        recent = timeframe.shift(self.upto, -FOLLOWED_BARS)
        awaited = timeframe.shift(self.upto, -AWAITED_BARS)
        gaps = [gap for gap in self.gaps if gap.end > (awaited if gap.reason == MISSING else recent)]
        revised = [pair for pair in self.revised if pair[0] >= recent]
        return replace(self, gaps=tuple(gaps[-MAX_GAPS:]), revised=tuple(revised))
