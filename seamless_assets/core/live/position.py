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

_ALWAYS = -(2**62)


@dataclass(frozen=True, slots=True)
class Position:
    """All from `since` to `upto` (exclusive, on the grid) was told, but for `gaps`, which were told as such.

    `since` is None where that lies farther back than anything is followed. `revised` are pairs of an open and
    how many corrections of that bar are in what was told; of all other bars none is. All ascending.
    `unstored` is the open of a bar that was told before it was stored, and the values that it was told with.
    """

    upto: int
    gaps: tuple[Gap, ...] = ()
    revised: tuple[tuple[int, int], ...] = ()
    since: int | None = None
    unstored: tuple[int, tuple[float, float, float, float, float]] | None = None

    @classmethod
    def begin(cls, upto: int) -> Position:
        """That of a stream which tells nothing of bars before `upto`."""
        return cls(upto, since=upto)

    @property
    def is_begun(self) -> bool:
        """Whether anything was told."""
        return self.since != self.upto

    @property
    def stored_upto(self) -> int:
        """How far all that was told is known to be stored."""
        return self.upto if self.unstored is None else self.unstored[0]

    def followed_from(self, timeframe: Timeframe) -> int:
        """Begin of what may still change for the stream."""
        oldest = max(timeframe.shift(self.upto, -FOLLOWED_BARS), self._since)
        awaited = min((gap.start for gap in self.gaps if gap.reason == MISSING), default=oldest)
        return min(oldest, awaited)

    def without_old(self, timeframe: Timeframe) -> Position:
        """The same without what is no longer followed."""
        recent = timeframe.shift(self.upto, -FOLLOWED_BARS)
        since = None if self.since is None or self.since <= recent else self.since
        if not self.gaps and not self.revised and since == self.since:
            return self
        awaited = timeframe.shift(self.upto, -AWAITED_BARS)
        gaps = [gap for gap in self.gaps if gap.end > (awaited if gap.reason == MISSING else recent)]
        revised = [pair for pair in self.revised if pair[0] >= recent]
        return replace(self, gaps=tuple(gaps[-MAX_GAPS:]), revised=tuple(revised), since=since)

    def follows(self, ts: int, timeframe: Timeframe) -> bool:
        """Whether corrections of the bar at `ts` are told: it was told itself, and not too long ago."""
        return max(timeframe.shift(self.upto, -FOLLOWED_BARS), self._since) <= ts < self.upto

    @property
    def _since(self) -> int:
        return _ALWAYS if self.since is None else self.since
