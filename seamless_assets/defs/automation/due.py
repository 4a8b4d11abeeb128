"""What is due: which partitions of which nodes to materialize, from what is released of them and the time.

Pure functions. As they look at what is released, and not at what was asked for before, a tick may be late,
come twice or be lost: the next one finds what is left.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from seamless_assets.core.calendar.partition import Partition, PartitionUnit, partitions
from seamless_assets.core.calendar.segment import Segment, join_segments, outside
from seamless_assets.core.calendar.timeframe import Timeframe
from seamless_assets.core.calendar.watermark import settled, watermark
from seamless_assets.core.node import NodeId
from seamless_assets.core.releases.snapshot import Snapshot

PATIENCE = 24
"""A node that stays stale alone is asked for again after a 24th of the time that it has been so."""
LONGEST_WAIT_S = 21_600


@dataclass(frozen=True)
class PartitionGrid:
    """The partitions that nodes of some timeframe share, from `start` (epoch seconds) on."""

    timeframe: Timeframe
    unit: PartitionUnit
    start: int
    stabilization_bars: int

    def settled_until(self, now: float) -> int:
        """The exclusive end of settled time."""
        return watermark(self.timeframe, now, self.stabilization_bars)

    def settled_part(self, partition: Partition, now: float) -> Segment:
        """What of a partition is settled."""
        return settled(partition.window, self.timeframe, now, self.stabilization_bars)

    def last(self, count: int, now: float) -> list[Partition]:
        """The last `count` partitions in which anything is settled, ascending."""
        end = self.settled_until(now)
        if end <= self.start:
            return []
        # A partition is no longer than a year and a week; so many reach back far enough.
        span = {"day": 86_400, "month": 31 * 86_400, "year": 366 * 86_400}[self.unit] * (count + 1)
        every = partitions(self.timeframe, self.unit, Segment(max(self.start, end - span), end))
        return [part for part in every if not self.settled_part(part, now).is_empty][-count:]


@dataclass(frozen=True)
class NodeState:
    """What is in force of a node, and what only a release by hand may change."""

    node: NodeId
    in_force: tuple[Segment, ...] = ()
    pinned: tuple[Segment, ...] = ()

    @classmethod
    def of(cls, node: NodeId, snapshot: Snapshot) -> NodeState:
        """The state that a snapshot says."""
        return cls(node, tuple(join_segments(ref.segment for ref in snapshot.artifacts)), snapshot.pinned)

    @property
    def end(self) -> int | None:
        """The exclusive end of what is in force; None where nothing is."""
        return self.in_force[-1].end if self.in_force else None

    def lacks(self, part: Segment) -> bool:
        """Whether anything of `part` is neither in force nor pinned."""
        return bool(outside(part, join_segments((*self.in_force, *self.pinned))))

    def holds_any(self, part: Segment) -> bool:
        """Whether anything of `part` is in force."""
        return any(not part.intersect(held).is_empty for held in self.in_force)


@dataclass(frozen=True, order=True)
class Batch:
    """Nodes to be materialized in one run, over the partitions from `first` to `last`."""

    first: str
    last: str
    nodes: tuple[NodeId, ...]


def unreleased(grid: PartitionGrid, states: Iterable[NodeState], count: int, now: float) -> list[Batch]:
    """What is settled and not released of the last `count` partitions."""
    recent = grid.last(count, now)
    return batches(
        recent,
        {
            state.node: [part.key for part in recent if state.lacks(grid.settled_part(part, now))]
            for state in states
        },
    )


def unfinished(grid: PartitionGrid, states: Iterable[NodeState], now: float, give_up_s: float) -> list[Batch]:
    """Partitions that are over and settled to their end, released in part, and not over for `give_up_s`."""
    due: dict[NodeId, list[str]] = {}
    every: dict[str, Partition] = {}
    for state in states:
        for held in state.in_force:
            # A hole of released time begins in the partition that was not finished, or at the next.
            for part in partitions(grid.timeframe, grid.unit, Segment(max(0, held.end - 1), held.end)):
                is_over = grid.settled_part(part, now) == part.window
                is_over &= now - part.window.end < give_up_s
                if is_over and state.holds_any(part.window) and state.lacks(part.window):
                    every[part.key] = part
                    due.setdefault(state.node, []).append(part.key)
    ordered = sorted(every.values(), key=lambda part: part.window)
    return batches(ordered, due)


def changeable(grid: PartitionGrid, states: Iterable[NodeState], count: int, now: float) -> list[Batch]:
    """The last `count` partitions that are over, of nodes that have anything of them in force."""
    over = [part for part in grid.last(count + 1, now) if grid.settled_part(part, now) == part.window]
    recent = over[-count:]
    return batches(
        recent,
        {state.node: [part.key for part in recent if state.holds_any(part.window)] for state in states},
    )


def batches(order: Sequence[Partition], due: Mapping[NodeId, Iterable[str]]) -> list[Batch]:
    """Runs that hold what is due: one for each stretch of adjoining partitions that any node needs."""
    needed = {key for keys in due.values() for key in keys}
    found = []
    for stretch in _stretches([part for part in order if part.key in needed]):
        keys = {part.key for part in stretch}
        nodes = tuple(sorted((node for node, asked in due.items() if keys & set(asked)), key=str))
        found.append(Batch(stretch[0].key, stretch[-1].key, nodes))
    return found


def _stretches(parts: Sequence[Partition]) -> Iterator[list[Partition]]:
    joined = join_segments(part.window for part in parts)
    for _, stretch in groupby(
        parts, lambda part: next(at for at, whole in enumerate(joined) if part.window.start < whole.end)
    ):
        yield list(stretch)


@dataclass(frozen=True)
class Freshness:
    """When a node is stale, how often it is looked at, and how far back it is asked for."""

    max_lag_s: int
    retry_s: int
    partitions: int


@dataclass(frozen=True)
class Look:
    """What a look at nodes found: what to ask for, and when (epoch seconds) to look again."""

    batches: tuple[Batch, ...]
    next_at: float


def look_at(
    grid: PartitionGrid,
    states: Sequence[NodeState],
    now: float,
    looked_at: float | None,
    how: Freshness,
    was_outage: bool = False,
) -> Look:
    """Which nodes are stale and are to be asked for now, the last look having been at `looked_at`.

    A node that stays stale is asked for again and again, ever less often. If the last run failed in an
    outage, and half of the nodes or more are stale, all of these are asked for at each look: what was away
    may be back.
    """
    recent = grid.last(how.partitions, now)
    lags = {state.node: lag_of(grid, state, recent, now) for state in states}
    stale = {node: lag for node, lag in lags.items() if lag > how.max_lag_s}
    is_outage = was_outage and 2 * len(stale) >= len(states)
    asked = {node for node, lag in stale.items() if is_outage or _is_its_turn(lag, now, looked_at, how)}
    needed = {
        state.node: [part.key for part in recent if state.lacks(grid.settled_part(part, now))]
        for state in states
        if state.node in asked
    }
    # One run for all: what lies between two stretches is asked for too.
    whole = _as_one(batches(recent, needed))
    return Look(whole, now + how.retry_s if stale else _next_stale(grid, lags.values(), now, how))


def lag_of(grid: PartitionGrid, state: NodeState, recent: Sequence[Partition], now: float) -> float:
    """Seconds since a node lacks what is settled, as far back as it would be asked for; 0 without a lack."""
    gaps = [
        gap
        for part in recent
        for gap in outside(grid.settled_part(part, now), join_segments((*state.in_force, *state.pinned)))
    ]
    return grid.settled_until(now) - gaps[0].start if gaps else 0.0


def _is_its_turn(lag: float, now: float, looked_at: float | None, how: Freshness) -> bool:
    """Whether a node that is stale for `lag` seconds is to be asked for since the last look."""
    if looked_at is None:
        return True
    before = max(0.0, lag - (now - looked_at))
    return _times_asked(lag, how.retry_s) // 1 > _times_asked(before, how.retry_s) // 1


def _times_asked(lag: float, retry_s: float) -> float:
    """How often a node is asked for that is stale for `lag` seconds, by waits of `lag / PATIENCE` seconds.

    No wait is shorter than `retry_s` or longer than `LONGEST_WAIT_S`.
    """
    often, rarely = PATIENCE * retry_s, PATIENCE * max(LONGEST_WAIT_S, retry_s)
    if lag <= often:
        return lag / retry_s
    return PATIENCE * (1 + math.log(min(lag, rarely) / often)) + max(0.0, lag - rarely) * PATIENCE / rarely


def _next_stale(grid: PartitionGrid, lags: Iterable[float], now: float, how: Freshness) -> float:
    """When the first of nodes that are all fresh is stale, if nobody materializes it before."""
    oldest = grid.settled_until(now) - int(max(lags, default=0))
    first_late = grid.timeframe.ceil(oldest + how.max_lag_s + 1)
    return max(now + 1.0, float(grid.timeframe.shift(first_late, grid.stabilization_bars)))


def _as_one(found: Sequence[Batch]) -> tuple[Batch, ...]:
    if not found:
        return ()
    nodes = sorted({node for batch in found for node in batch.nodes}, key=str)
    return (Batch(found[0].first, found[-1].last, tuple(nodes)),)
