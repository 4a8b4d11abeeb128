"""Whether a hole can be chance: how long nobody trades, judged by the share of empty bars of the series."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

LEAST_LIKELY = 1e-6
"""A hole less likely than this needs more than bars on both sides."""
QUIET_SHARE = 0.05
"""In a series with a smaller share of empty bars each one is unusual, and worth a second look."""
SHORTEST_OUTAGE = 3
"""Bars; a hole of one or two says nothing of an exchange."""
_SURPRISE = 1e-3


@dataclass(frozen=True, slots=True)
class Emptiness:
    """How usual empty bars are: so many of so many bars, holes that are too long for chance left out."""

    empty: int
    bars: int

    @classmethod
    def of(cls, holes: Iterable[int], bars: int) -> Emptiness:
        """That of `bars` bars, the empty ones in `holes` of so many each.

        The longest holes are put to the test first, each by what is left without it, so that neither a long
        outage nor a single lost row vouches for itself or for others.
        """
        lengths = sorted(holes, reverse=True)
        usual = cls(sum(lengths), bars)
        for length in lengths:
            if usual.allows(length):
                break
            usual = cls(usual.empty - length, usual.bars - length)
        return usual

    def allows(self, hole: int) -> bool:
        """Whether a hole of so many bars, itself among those counted, can be chance."""
        empty, bars = self.empty - hole, self.bars - hole
        return 0 < empty < bars and (empty / bars) ** hole >= LEAST_LIKELY

    @property
    def is_usual(self) -> bool:
        """Whether bars without trades are nothing unusual."""
        return self.empty >= QUIET_SHARE * self.bars > 0


def is_surprising(bars: int, absent: int, of: int) -> bool:
    """Whether a hole of `bars` is too long for chance in a page of `of` bars, `absent` of them elsewhere."""
    share = max(absent, 1) / max(of - bars, 1)
    return bars >= SHORTEST_OUTAGE and share < 1 and of * share**bars < _SURPRISE
