"""Recipes: how a declared node is made of others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import pyarrow as pa

from seamless_assets.core.calendar.segment import Segment
from seamless_assets.core.calendar.timeframe import CalendarGrid, FixedGrid, Timeframe
from seamless_assets.core.coverage.coverage import MISSING, RETENTION, Gap
from seamless_assets.core.node import NodeId

MissingLeg = Literal["hold", "reweight", "missing"]
_DAY = 86_400
UNKNOWN = frozenset({MISSING, RETENTION})
"""Reasons of gaps in which there may have been bars: what an exchange no longer serves is not absent."""
LOOK_BACK = 100
"""So many bars back a leg's last close is looked for that stands in where it has no bar."""


@dataclass(frozen=True, slots=True)
class Resample:
    """Bars of a finer node joined to longer ones."""

    source: NodeId

    @property
    def sources(self) -> tuple[NodeId, ...]:
        """The nodes that it is made of."""
        return (self.source,)

    @property
    def needs_all(self) -> bool:
        """Whether there is no bar where one of the sources has none: of one, its parts may be absent."""
        return False

    @property
    def held_bars(self) -> int:
        """Of so many bars before one the last of a source may stand in for it."""
        return 0

    def reach(self, window: Segment) -> Segment:
        """What is read of each of them to make the bars of `window`."""
        return window


@dataclass(frozen=True, slots=True)
class Synthetic:
    """The weighted mean of nodes of one timeframe.

    `missing_leg` says what becomes of a bar of which a leg is proven absent: that leg's last close stands in
    (`hold`), the weights of the others are scaled up (`reweight`), or there is no bar (`missing`).
    """

    legs: tuple[tuple[NodeId, float], ...]
    missing_leg: MissingLeg

    @property
    def sources(self) -> tuple[NodeId, ...]:
        """The nodes that it is made of."""
        return tuple(node for node, _ in self.legs)

    @property
    def needs_all(self) -> bool:
        """Whether there is no bar where one of the sources has none, nor one that stands in for it."""
        return self.missing_leg != "reweight"

    @property
    def held_bars(self) -> int:
        """Of so many bars before one the last of a source may stand in for it."""
        return LOOK_BACK if self.missing_leg == "hold" else 0

    def reach(self, window: Segment) -> Segment:
        """What is read of each of them to make the bars of `window`."""
        return Segment(self.legs[0][0].timeframe.shift(window.start, -self.held_bars), window.end)


Recipe = Resample | Synthetic


@dataclass(frozen=True, slots=True)
class SourceBars:
    """Released bars of a node and the ascending gaps of the window that they are of."""

    node: NodeId
    bars: pa.Table
    gaps: Sequence[Gap]


def is_made_of(coarse: Timeframe, fine: Timeframe) -> bool:
    """Whether each bar of `coarse` is several whole bars of `fine`."""
    if coarse <= fine:
        return False
    if isinstance(coarse.grid, FixedGrid) and isinstance(fine.grid, FixedGrid):
        apart = coarse.grid.anchor - fine.grid.anchor
        return coarse.grid.seconds % fine.grid.seconds == 0 and apart % fine.grid.seconds == 0
    if isinstance(fine.grid, FixedGrid):
        return _DAY % fine.grid.seconds == 0
    if isinstance(coarse.grid, CalendarGrid) and isinstance(fine.grid, CalendarGrid):
        return coarse.grid.months % fine.grid.months == 0
    return False
