"""A replay: the events of the past in the order of time, from releases and what was revised."""

from __future__ import annotations

import heapq
from collections.abc import AsyncGenerator
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pyarrow as pa

from seamless_assets.core.bars.table import REVISIONS_SCHEMA, changes
from seamless_assets.core.calendar.instant import epoch_micros
from seamless_assets.core.calendar.segment import Segment
from seamless_assets.core.live.cursor import Place
from seamless_assets.core.live.events import Event
from seamless_assets.core.live.position import Position
from seamless_assets.core.live.replay import ReplayRequest, emitted_at, replayed
from seamless_assets.core.live.sequence import Known
from seamless_assets.core.node import NodeId
from seamless_assets.core.reading.context import ComputeContext
from seamless_assets.core.releases.snapshot import Snapshot
from seamless_assets.flows.live.known import MAX_BARS
from seamless_assets.flows.ports import Ports
from seamless_assets.flows.reading.gather import gather_released
from seamless_assets.flows.reading.released import bind_snapshot, refuse_uncovered


async def replay(ports: Ports, request: ReplayRequest) -> AsyncGenerator[Event, None]:
    """The events of the nodes, all together in the order of time.

    Raises `NothingReleased`, `CoverageMissing`, `AsOfInFuture` before the first one, and `ArtifactCorrupt`.
    """
    snapshots = {node: await _bound(ports, request, node) for node in request.nodes}
    positions = dict(request.positions)
    streams = [_events_of(ports, request, node, snapshots[node]) for node in request.nodes]
    try:
        waiting: list[tuple[float, int, Event, Position]] = []
        for number, stream in enumerate(streams):
            await _take(stream, number, waiting)
        pace = _Pace(ports, request.speed)
        while waiting:
            at, number, event, own = heapq.heappop(waiting)
            await pace.wait_for(at)
            positions[event.node_id] = own
            yield replace(event, place=Place(dict(positions), event.node_id, own))
            await _take(streams[number], number, waiting)
    finally:
        for stream in streams:
            await stream.aclose()


class _Pace:
    """Lets so many seconds of history pass in one."""

    def __init__(self, ports: Ports, speed: float | None) -> None:
        self._clock, self._speed = ports.clock, speed
        self._began: tuple[float, float] | None = None

    async def wait_for(self, at: float) -> None:
        """Return when it is `at` (epoch seconds) in what is replayed."""
        if self._speed is None:
            return
        now = self._clock.now()
        first, began = self._began = self._began or (at, now)
        if (left := began + (at - first) / self._speed - now) > 0:
            await self._clock.sleep(left)


Stream = AsyncGenerator[tuple[Event, Position], None]


async def _take(stream: Stream, number: int, waiting: list[tuple[float, int, Event, Position]]) -> None:
    try:
        event, own = await anext(stream)
    except StopAsyncIteration:
        return
    heapq.heappush(waiting, (emitted_at(event), number, event, own))


async def _bound(ports: Ports, request: ReplayRequest, node: NodeId) -> Snapshot:
    snapshot = await bind_snapshot(ports, node, ComputeContext(as_of=request.as_of))
    start = request.positions[str(node)].upto
    asked = Segment(start, max(start, node.timeframe.floor(request.end)))
    refuse_uncovered(ports, node, asked, snapshot)
    return snapshot


async def _events_of(ports: Ports, request: ReplayRequest, node: NodeId, snapshot: Snapshot) -> Stream:
    """The events of one node, part by part."""
    frame, position = node.timeframe, request.positions[str(node)]
    until = frame.floor(request.end)
    corrected = await _released_changes(ports, request, node) if request.knowledge == "then" else None
    while position.upto < until:
        window = Segment(position.upto, min(until, frame.shift(position.upto, MAX_BARS)))
        gathered = await gather_released(ports, node, window, snapshot)
        revisions = REVISIONS_SCHEMA.empty_table()
        if corrected is not None:
            followed = Segment(position.followed_from(frame), window.end)
            revisions = await _revisions(ports, request, node, followed, corrected)
        released = [ref.segment for ref in gathered.refs]
        known = Known(window, gathered.bars, gathered.coverage.gaps, [window], revisions, released, True)
        for event, after in replayed(node, position, known):
            position = after
            yield event, after


async def _revisions(
    ports: Ports, request: ReplayRequest, node: NodeId, window: Segment, released: pa.Table
) -> pa.Table:
    """Every correction of the window's bars until `as_of`, in the order in which they came.

    What the hot store kept goes before what releases show, which is later.
    """
    kept = await ports.hot.load_revisions(node, window)
    ts, seen = released.column("ts").to_numpy(), set(kept.column("ts").to_pylist())
    is_other = [window.start <= at < window.end and at not in seen for at in ts.tolist()]
    table = pa.concat_tables([kept, released.filter(pa.array(is_other, pa.bool_()))])
    closes = [node.timeframe.shift(at, 1) for at in table.column("ts").to_pylist()]
    came = np.maximum(table.column("recorded_at").to_numpy(), np.array(closes, dtype=np.float64))
    table = table.set_column(REVISIONS_SCHEMA.get_field_index("recorded_at"), "recorded_at", pa.array(came))
    if request.as_of is not None:
        is_known = came <= epoch_micros(request.as_of, "as_of") / 1e6
        table, came = table.filter(pa.array(is_known)), came[is_known]
    return table.take(pa.array(np.argsort(came, kind="stable")))


async def _released_changes(ports: Ports, request: ReplayRequest, node: NodeId) -> pa.Table:
    """Bars of the request that one release changed against the one before, dated by its `as_of`."""
    log = await ports.artifacts.list_releases(node)
    window = Segment(request.positions[str(node)].upto, max(request.positions[str(node)].upto, request.end))
    found = [REVISIONS_SCHEMA.empty_table()]
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
