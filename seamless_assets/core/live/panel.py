"""Panels: the bars of several nodes by time, as one tick for each."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

from seamless_assets.core.calendar.segment import Segment, outside
from seamless_assets.core.calendar.timeframe import Timeframe
from seamless_assets.core.coverage.coverage import Gap as Hole
from seamless_assets.core.live.cursor import Place, write_cursor
from seamless_assets.core.live.events import Bar, Event, Filled, Gap, Revised
from seamless_assets.core.live.position import Position
from seamless_assets.core.node import NodeId
from seamless_assets.errors import InvalidInput

E = TypeVar("E", bound=Event)
MAX_AHEAD = 1_000
"""Events of a node that wait for the others; more of it are not asked for before there is room."""
LATE = "late"
"""Why a bar is missing that had not come at the deadline."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tick:
    """The bars of all nodes of a panel that cover `[ts, end)`, by node id.

    `missing` names the nodes without one, with the reason: that of their gap, or `late`. `late` are events of
    earlier ticks that came since the last one: bars after their deadline, filled gaps, corrections.
    """

    ts: int
    end: int
    bars: Mapping[str, Bar]
    missing: Mapping[str, str]
    late: tuple[Event, ...] = ()
    positions: Mapping[str, Position] = field(compare=False, repr=False)

    @property
    def cursor(self) -> str:
        """A text that resumes the panel after this tick, in any process."""
        return write_cursor(self.positions)


def timeframe_of(nodes: Sequence[NodeId]) -> Timeframe:
    """The one timeframe of a panel. Raises `InvalidInput`."""
    frames = sorted({node.timeframe for node in nodes})
    if len(frames) != 1:
        raise InvalidInput(
            f"the nodes of a panel have {', '.join(map(str, frames))}; give nodes of one timeframe",
            value=tuple(map(str, frames)),
        )
    return frames[0]


class Panel:
    """Puts events of several nodes together, from their `positions` on; the next tick opens at `ts`."""

    def __init__(self, nodes: Sequence[NodeId], positions: Mapping[str, Position]) -> None:
        self._frame = timeframe_of(nodes)
        self._names = [str(node) for node in nodes]
        self._positions = dict(positions)
        self._reached = {name: positions[name].upto for name in self._names}
        self._waiting: dict[str, deque[Event]] = {name: deque() for name in self._names}
        # Who was late at the last tick is behind the others.
        self.ts = max(self._reached.values())
        self._came: deque[tuple[int, float]] = deque()
        """How far the first of all nodes has reached, and when."""

    def add(self, event: Event, at: float) -> None:
        """Take an event of one of the nodes, which came at `at`, in seconds of any clock."""
        self._waiting[event.node_id].append(event)
        self._reached[event.node_id] = reached = event.place.own.upto
        if reached >= self._end and (not self._came or reached > self._came[-1][0]):
            self._came.append((reached, at))

    def place(self, event: Event) -> Place:
        """Where the panel stands, for an event that belongs to no tick: behind what it has told."""
        return self._place(event.node_id, dict(self._positions))

    def has_room(self, node: NodeId) -> bool:
        """Whether more of a node may be added: it is not too far ahead of the others."""
        return len(self._waiting[str(node)]) < MAX_AHEAD

    @property
    def is_begun(self) -> bool:
        """Whether some node's part of the next tick is there."""
        return any(reached >= self._end for reached in self._reached.values())

    @property
    def begun_at(self) -> float:
        """When the first part of the next tick came, where it has begun."""
        return self._came[0][1]

    @property
    def length(self) -> int:
        """Seconds that the next tick covers."""
        return self._end - self.ts

    @property
    def is_complete(self) -> bool:
        """Whether all parts of the next tick are there."""
        return all(reached >= self._end for reached in self._reached.values())

    def tick(self) -> Tick:
        """The next tick as it is by now."""
        bars: dict[str, Bar] = {}
        missing: dict[str, str] = {}
        late: list[Event] = []
        for name in self._names:
            missing[name] = LATE
            while (event := self._next(name)) is not None:
                if isinstance(event, Bar) and event.ts == self.ts:
                    bars[name] = event
                    del missing[name]
                elif isinstance(event, Gap) and event.end == self._end:
                    missing[name] = event.reason
                else:
                    late.append(event)
        positions = dict(self._positions)
        tick = Tick(
            ts=self.ts,
            end=self._end,
            bars={name: self._placed(bar, positions) for name, bar in bars.items()},
            missing=missing,
            late=tuple(self._placed(event, positions) for event in late),
            positions=positions,
        )
        self.ts = self._end
        while self._came and self._came[0][0] < self._end:
            self._came.popleft()
        return tick

    @property
    def _end(self) -> int:
        return self._frame.shift(self.ts, 1)

    def _placed(self, event: E, positions: Mapping[str, Position]) -> E:
        """An event of a tick, with the place of the tick: that of the stream may lie beyond it."""
        return replace(event, place=self._place(event.node_id, positions))

    def _place(self, name: str, positions: Mapping[str, Position]) -> Place:
        return Place(positions, name, positions[name])

    def _next(self, name: str) -> Event | None:
        """The next event of a node that belongs to the tick or to earlier ones; None where none is there."""
        waiting = self._waiting[name]
        if not waiting:
            return None
        event = waiting[0]
        if isinstance(event, Bar) and event.ts > self.ts:
            return None
        if isinstance(event, Gap) and event.start >= self._end:
            return None
        waiting.popleft()
        if isinstance(event, Gap):
            # What lies before the tick was late, and is told beside it.
            for edge in (self.ts, self._end):
                if event.start < edge < event.end:
                    return self._cut(name, event, edge)
        if isinstance(event, Bar | Filled | Revised | Gap):
            self._positions[name] = event.place.own
        return event

    def _cut(self, name: str, gap: Gap, edge: int) -> Gap:
        """The part of a gap before an edge; the rest waits for its turn."""
        own, rest = gap.place.own, Segment(edge, gap.end)
        self._waiting[name].appendleft(replace(gap, start=edge))
        gaps = tuple(Hole(*part, hole.reason) for hole in own.gaps for part in outside(hole.segment, [rest]))
        self._positions[name] = replace(own, upto=edge, gaps=gaps)
        return replace(gap, end=edge)
