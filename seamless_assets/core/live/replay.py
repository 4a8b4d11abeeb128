"""Replaying: what a stream would have told of the past, bar by bar in the order of time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal, cast, get_args

import numpy as np
import pyarrow as pa

from seamless_assets.core.bars.table import BARS_SCHEMA, between, table_of
from seamless_assets.core.calendar.instant import epoch_micros, epoch_seconds, instant_text
from seamless_assets.core.calendar.segment import Segment
from seamless_assets.core.calendar.window import Instant
from seamless_assets.core.coverage.coverage import Gap as Hole
from seamless_assets.core.live.cursor import is_cursor
from seamless_assets.core.live.events import Bar, Event, Filled, Gap, Revised
from seamless_assets.core.live.position import Position
from seamless_assets.core.live.request import MAX_NODES, above_zero, positions_of
from seamless_assets.core.live.sequence import Known, Sequencer, corrections_of, rows_of
from seamless_assets.core.node import NodeId
from seamless_assets.core.reading.context import choose
from seamless_assets.errors import InvalidInput, InvalidSegment

Knowledge = Literal["final", "then"]
KNOWLEDGE: tuple[Knowledge, ...] = get_args(Knowledge)
"""Bars as they are released; or as they were first known, and each correction when it came."""


@dataclass(frozen=True, slots=True)
class ReplayRequest:
    """What is replayed of which nodes: from their positions to `end` (epoch seconds), as known at `as_of`.

    `speed` is how many seconds of history pass in one, None for as fast as it is read.
    """

    nodes: tuple[NodeId, ...]
    positions: Mapping[str, Position] = field(repr=False)
    end: int
    as_of: str | None
    speed: float | None
    knowledge: Knowledge

    @property
    def is_over(self) -> bool:
        """Whether nothing is left of it."""
        return all(self.positions[str(node)].upto >= node.timeframe.floor(self.end) for node in self.nodes)

    @classmethod
    def parse(
        cls,
        nodes: Iterable[NodeId],
        start: Instant,
        end: Instant,
        as_of: Instant,
        speed: float | None,
        knowledge: str,
    ) -> ReplayRequest:
        """The request of a caller. Raises `InvalidInput` and its kinds."""
        known = tuple(dict.fromkeys(nodes))
        if not 0 < len(known) <= MAX_NODES:
            raise InvalidInput(f"{len(known)} nodes were given; give from 1 to {MAX_NODES}", value=len(known))
        if start is None or end is None:
            raise InvalidInput("a replay has a start and an end; give both, or a cursor as start")
        if speed is not None:
            speed = above_zero(speed, "speed", "seconds of history for each second, above 0, or None")
        until = epoch_seconds(end, "end")
        positions = positions_of(known, start, "start")
        if not is_cursor(start) and epoch_micros(start, "start") > epoch_micros(end, "end"):
            raise InvalidSegment(f"end ({end}) lies before start ({start}); swap the two")
        text = None if as_of is None else instant_text(epoch_micros(as_of, "as_of"))
        chosen = cast("Knowledge", choose(knowledge, KNOWLEDGE, "knowledge"))
        return cls(known, positions, until, text, speed, chosen)


def order_of(event: Event) -> tuple[float, int]:
    """Its place among all events of a replay, and of a stream: epoch seconds and a rank.

    A bar is told as it closes, a correction when it was seen; what closes goes before corrections.
    """
    if isinstance(event, Revised):
        return event.recorded_at, 1
    assert isinstance(event, Bar | Filled | Gap)
    return float(event.end), 0


def replayed(node: NodeId, position: Position, released: Known) -> Iterator[tuple[Event, Position]]:
    """The events of what is released, each with the position after it.

    Without revisions these are the bars as they are; with those, bars as they were first known, and each
    correction in its time; the revisions are in the order of `in_order`.
    """
    frame, window = node.timeframe, released.window
    early, came = _first_known(released), _times(released)
    instants = [at for at in dict.fromkeys(sorted(came.tolist())) if position.upto <= at < window.end]
    for at in [*instants, float(window.end)]:
        part = Segment(position.stored_upto, max(position.upto, frame.floor(int(at))))
        inside = [Hole(*hole.segment.intersect(part), hole.reason) for hole in released.holes]
        known = Known(
            window=part,
            bars=between(early, *part),
            holes=[hole for hole in inside if hole.start < hole.end],
            looked=[part],
            revisions=released.revisions.filter(pa.array(came < at)),
            released=released.released,
            is_followed=True,
        )
        sequencer = Sequencer(node, position, {}, known)
        for event in sequencer.events():
            yield event, sequencer.position
        position = sequencer.position


def _times(known: Known) -> np.ndarray:
    """When each revision came, in epoch seconds."""
    recorded: np.ndarray = known.revisions.column("recorded_at").to_numpy()
    return recorded


def _first_known(known: Known) -> pa.Table:
    """The bars with the values they had before any of the revisions."""
    if not known.revisions.num_rows:
        return known.bars
    rows = rows_of(known.bars)
    for one in corrections_of(known.revisions):
        if one.number == 1 and one.ts in rows:
            rows[one.ts] = one.before
    return table_of(((ts, *values) for ts, values in sorted(rows.items())), BARS_SCHEMA)
