"""A replay: the events of the past in the order of time, from releases and what was revised."""

from __future__ import annotations

import heapq
import math
from collections import deque
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import replace
from itertools import pairwise

import pyarrow as pa

from seamless_assets.core.bars.table import REVISIONS_SCHEMA, changes, empty_table
from seamless_assets.core.calendar.instant import epoch_micros, instant_text
from seamless_assets.core.calendar.segment import Segment
from seamless_assets.core.live.cursor import Place
from seamless_assets.core.live.events import Event
from seamless_assets.core.live.position import Position
from seamless_assets.core.live.progress import Progress
from seamless_assets.core.live.replay import ReplayRequest, order_of, replayed
from seamless_assets.core.live.sequence import Known, in_order
from seamless_assets.core.node import NodeId
from seamless_assets.core.reading.context import ComputeContext
from seamless_assets.core.releases.snapshot import Snapshot
from seamless_assets.flows.live.known import MAX_BARS
from seamless_assets.flows.ports import Ports
from seamless_assets.flows.reading.gather import gather_released
from seamless_assets.flows.reading.released import bind_snapshot, refuse_uncovered

BATCH = 500
"""Events that are handed on at once, at most."""
LONGEST_AHEAD_S = 1.0
"""Releases of one millisecond are dated one after the other, so the last ones lie ahead of the clock."""


async def replay(ports: Ports, request: ReplayRequest) -> AsyncGenerator[Event, None]:
    """The events of the nodes, all together in the order of time.

    Raises `NothingReleased`, `CoverageMissing`, `AsOfInFuture` before the first one, and `ArtifactCorrupt`.
    """
    async with aclosing(replay_in_batches(ports, request)) as batches:
        async for batch in batches:
            for event in batch:
                yield event


async def bound_now(ports: Ports, request: ReplayRequest) -> ReplayRequest:
    """The request with an `as_of`, by default now: so it tells the same when it is asked for again.

    Raises `NothingReleased`, and `AsOfInFuture` where a release is of a clock far ahead of ours.
    """
    if request.as_of is not None:
        return request
    snapshots = [await bind_snapshot(ports, node, ComputeContext()) for node in request.nodes]
    newest = max(one.release.as_of for one in snapshots if one.release)
    ahead = epoch_micros(newest, "as_of") / 1e6 - ports.clock.now()
    if 0 < ahead < LONGEST_AHEAD_S:
        await ports.clock.sleep(ahead)
    return replace(request, as_of=max(newest, instant_text(math.floor(ports.clock.now() * 1e6))))


async def replay_in_batches(ports: Ports, request: ReplayRequest) -> AsyncGenerator[Sequence[Event], None]:
    """The same events, as many at once as are due: so none costs a change of threads of its own."""
    snapshots = {node: await _bound(ports, request, node) for node in request.nodes}
    queues = [
        _Queue(_parts_of(ports, request, node, snapshots[node]), node.timeframe.floor(request.end))
        for node in request.nodes
    ]
    try:
        pace = None if request.speed is None else _Pace(ports, request.speed)
        progress, batch = Progress(request.positions), list[Event]()
        waiting = [(queue.due, number) for number, queue in enumerate(queues) if await queue.fill()]
        heapq.heapify(waiting)
        while waiting:
            (at, _), number = waiting[0]
            queue = queues[number]
            if len(batch) == BATCH or (batch and pace is not None and pace.left(at) > 0):
                yield batch
                progress, batch = progress.restarted(), []
            if pace is not None:
                await pace.wait_for(at)
            event, own = queue.take()
            positions = progress.move(event.node_id, own)
            # The only node of a stream stands where its event says.
            is_alone = len(queues) == 1
            batch.append(event if is_alone else replace(event, place=Place(positions, event.node_id, own)))
            if queue.must_load:
                # What is due waits for no load, and is not lost where that fails.
                yield batch
                progress, batch = progress.restarted(), []
            if await queue.fill():
                heapq.heapreplace(waiting, (queue.due, number))
            else:
                heapq.heappop(waiting)
        if batch:
            yield batch
    finally:
        for queue in queues:
            await queue.close()


class _Pace:
    """Lets so many seconds of history pass in one."""

    def __init__(self, ports: Ports, speed: float) -> None:
        self._clock, self._speed = ports.clock, speed
        self._began: tuple[float, float] | None = None

    def left(self, at: float) -> float:
        """Seconds until it is `at` (epoch seconds) in what is replayed, which begins with the first call."""
        now = self._clock.now()
        first, began = self._began = self._began or (at, now)
        return began + (at - first) / self._speed - now

    async def wait_for(self, at: float) -> None:
        """Return when it is `at`."""
        if (left := self.left(at)) > 0:
            await self._clock.sleep(left)


Emitted = tuple[Event, Position]


class _Queue:
    """The events of one node up to `end`, each with the position after it; loaded part by part."""

    def __init__(self, parts: AsyncGenerator[Sequence[Emitted], None], end: int) -> None:
        self._parts, self._end = parts, end
        self._part: deque[Emitted] = deque()
        self._is_last = False

    @property
    def due(self) -> tuple[float, int]:
        """Its place: when the next event was emitted, in epoch seconds, and what goes first then."""
        return order_of(self._part[0][0])

    def take(self) -> Emitted:
        """The next event."""
        event, position = self._part.popleft()
        self._is_last = position.upto >= self._end
        return event, position

    @property
    def must_load(self) -> bool:
        """Whether the next event is to be loaded first."""
        return not self._part and not self._is_last

    async def fill(self) -> bool:
        """Whether there is a next event, once it is loaded."""
        while not self._part:
            try:
                self._part.extend(await anext(self._parts))
            except StopAsyncIteration:
                return False
        return True

    async def close(self) -> None:
        """Load no more."""
        await self._parts.aclose()


async def _bound(ports: Ports, request: ReplayRequest, node: NodeId) -> Snapshot:
    snapshot = await bind_snapshot(ports, node, ComputeContext(as_of=request.as_of))
    start = request.positions[str(node)].stored_upto
    asked = Segment(start, max(start, node.timeframe.floor(request.end)))
    refuse_uncovered(ports, node, asked, snapshot)
    return snapshot


async def _parts_of(
    ports: Ports, request: ReplayRequest, node: NodeId, snapshot: Snapshot
) -> AsyncGenerator[Sequence[Emitted], None]:
    """The events of one node, part by part."""
    frame, position = node.timeframe, request.positions[str(node)]
    until = frame.floor(request.end)
    corrected = await _released_changes(ports, request, node) if request.knowledge == "then" else None
    while position.upto < until:
        furthest = min(until, frame.shift(position.upto, MAX_BARS))
        window = _whole_artifacts(snapshot, Segment(position.upto, furthest))
        window = Segment(position.stored_upto, window.end)
        gathered = await gather_released(ports, node, window, snapshot)
        revisions = empty_table(REVISIONS_SCHEMA)
        if corrected is not None:
            followed = Segment(position.followed_from(frame), window.end)
            revisions = await _revisions(ports, request, node, followed, corrected)
        released = [ref.segment for ref in gathered.refs]
        known = Known(window, gathered.bars, gathered.coverage.gaps, [window], revisions, released, True)
        emitted = list(replayed(node, position, known))
        yield emitted
        position = emitted[-1][1]


def _whole_artifacts(snapshot: Snapshot, window: Segment) -> Segment:
    """The beginning of a window that ends with an artifact, where more than one lies in it.

    So each is loaded by itself, or always together with the same others, and kept in memory once.
    """
    refs = snapshot.overlapping(window)
    is_cut = bool(refs) and refs[-1].start > window.start and refs[-1].end > window.end
    return Segment(window.start, refs[-1].start) if is_cut else window


async def _revisions(
    ports: Ports, request: ReplayRequest, node: NodeId, window: Segment, released: pa.Table
) -> pa.Table:
    """Every correction of the window's bars until `as_of`, in the order of a stream.

    What the hot store kept goes before what releases show, which is later.
    """
    kept = await ports.hot.load_revisions(node, window)
    ts, seen = released.column("ts").to_numpy(), set(kept.column("ts").to_pylist())
    is_other = [window.start <= at < window.end and at not in seen for at in ts.tolist()]
    table = pa.concat_tables([kept, released.filter(pa.array(is_other, pa.bool_()))])
    table = in_order(table, node.timeframe)
    if request.as_of is not None:
        came = table.column("recorded_at").to_numpy()
        table = table.filter(pa.array(came <= epoch_micros(request.as_of, "as_of") / 1e6))
    return table


async def _released_changes(ports: Ports, request: ReplayRequest, node: NodeId) -> pa.Table:
    """Bars that the request follows and one release changed against the one before, dated by its `as_of`."""
    log = await ports.artifacts.list_releases(node)
    start = request.positions[str(node)].followed_from(node.timeframe)
    window = Segment(start, max(start, request.end))
    found = [empty_table(REVISIONS_SCHEMA)]
    for before, after in pairwise(log):
        if request.as_of is not None and after.as_of > request.as_of:
            break
        if not any(revision.changed for revision in after.revisions):
            continue
        old = await ports.artifacts.load_snapshot(node, before.as_of)
        new = await ports.artifacts.load_snapshot(node, after.as_of)
        for ref in after.added:
            part = ref.segment.intersect(window)
            if not part.is_empty:
                held = (await gather_released(ports, node, part, old)).bars
                fresh = (await gather_released(ports, node, part, new)).bars
                found.append(changes(held, fresh, epoch_micros(after.as_of, "as_of") / 1e6)[1])
    return pa.concat_tables(found)
