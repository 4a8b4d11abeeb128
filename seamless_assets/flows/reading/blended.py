"""A live read: what is released, what is hot, and what an exchange still has to say, within its deadline."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from seamless_assets.core.calendar.segment import Segment
from seamless_assets.core.node import NodeId
from seamless_assets.core.reading.admission import Admission, Fill
from seamless_assets.core.reading.gathered import Gathered, nothing_gathered
from seamless_assets.core.reading.request import ReadRequest
from seamless_assets.core.reading.sla import Phase
from seamless_assets.core.releases.snapshot import Snapshot
from seamless_assets.flows.filling.clocks import known_now
from seamless_assets.flows.ports import Ports
from seamless_assets.flows.reading.deadline import Deadline, PhaseCut
from seamless_assets.flows.reading.gather import gather_blended


@dataclass(frozen=True, slots=True)
class FillPlan:
    """Missing ranges by when they are filled: the newest bars, what is filled first, what is filled later."""

    tail: tuple[Segment, ...]
    first: tuple[Segment, ...]
    later: tuple[Segment, ...]


def live_window(ports: Ports, request: ReadRequest) -> Segment:
    """The bars that a live read asks for and that have closed by now; no other can be there yet."""
    closed = request.node.timeframe.floor(int(known_now(ports, request.node)))
    return request.window(ports.reading.starts.get(str(request.node), closed), closed).until(closed)


def plan_fills(
    node: NodeId, window: Segment, missing: Sequence[Segment], admission: Admission, most_bars: int
) -> FillPlan:
    """When each missing range is filled, as the admission says; at most `most_bars` by a read BY_SIZE."""
    parts = tuple(missing)
    if not parts or admission.fill is Fill.NEVER:
        return FillPlan((), (), ())
    if admission.fill is Fill.FIRST:
        return FillPlan((), parts, ())
    if admission.fill is Fill.BACKGROUND:
        return FillPlan((), (), parts)
    tail: tuple[Segment, ...] = ()
    if admission.follows and parts[-1].end == window.end and _bars(node, parts[-1:]) <= most_bars:
        tail, parts = parts[-1:], parts[:-1]
    is_small = _bars(node, parts) <= most_bars
    return FillPlan(tail, parts if is_small else (), () if is_small else parts)


async def read_blended(
    ports: Ports,
    request: ReadRequest,
    admission: Admission,
    window: Segment,
    snapshot: Snapshot,
    deadline: Deadline,
) -> tuple[Gathered, tuple[str, ...]]:
    """What is there of `window` once the fills that the read waits for are done or cut.

    The problems of those fills stand beside it.
    """
    node = request.node
    gathered = await _gather(ports, request, window, snapshot, deadline)
    problems: list[str] = []
    tried_from = window.end
    # What a fill proves not to exist may show that the last so many bars begin earlier.
    while gathered.window.start < tried_from:
        untried = Segment(gathered.window.start, tried_from)
        tried_from = untried.start
        # No exchange has bars of a derived node.
        missing = () if node in ports.policy.derived else gathered.coverage.missing_gaps
        parts = [part for gap in missing if not (part := gap.segment.intersect(untried)).is_empty]
        wanted = plan_fills(node, gathered.window, parts, admission, request.sla.max_sync_gap_bars)
        await fill_later(ports, node, wanted.later, deadline)
        phases: tuple[tuple[Phase, tuple[Segment, ...]], ...] = (
            ("backfill_wait", wanted.first),
            ("live_wait", wanted.tail),
        )
        for phase, awaited in phases:
            if awaited:
                problems += await _filled(ports, node, awaited, phase, deadline)
        # Where the fill took all the time, a second look would be cut in its place, and named for it.
        if (wanted.first or wanted.tail) and deadline.has_time("storage_wait"):
            again = await _gather(ports, request, gathered.window, snapshot, deadline)
            # A second look that was cut knows less than the first.
            gathered = again if again.coverage.present >= gathered.coverage.present else gathered
    return gathered, tuple(problems)


def earliest(ports: Ports, node: NodeId, snapshot: Snapshot, otherwise: int) -> int:
    """The first open that is declared or released of a node; `otherwise` where nothing of it is."""
    known = [ports.reading.starts.get(str(node)), *(ref.start for ref in snapshot.artifacts[:1])]
    return min((at for at in known if at is not None), default=otherwise)


async def _gather(
    ports: Ports, request: ReadRequest, window: Segment, snapshot: Snapshot, deadline: Deadline
) -> Gathered:
    """What is there of `window`, or of one that holds as many bars as are asked for."""
    node, first = request.node, earliest(ports, request.node, snapshot, window.start)

    async def look(part: Segment) -> Gathered:
        gathering = gather_blended(ports, node, part, snapshot, request.context)
        return await deadline.run("storage_wait", gathering)

    try:
        gathered = await look(window)
    except PhaseCut:
        return nothing_gathered(node, window)
    # A longer look that was cut leaves what was found before it.
    with suppress(PhaseCut):
        wider = request.last_window(gathered.window, gathered.coverage, first)
        while wider != gathered.window and deadline.has_time("storage_wait"):
            gathered = await look(wider)
            wider = request.last_window(gathered.window, gathered.coverage, first)
    return gathered


async def _filled(
    ports: Ports, node: NodeId, parts: Sequence[Segment], phase: Phase, deadline: Deadline
) -> tuple[str, ...]:
    filling = ports.fills.start(ports, node, reach_of(parts), is_awaited=True)
    try:
        # The reader's time ends; the fill goes on for whoever reads next.
        return await deadline.run(phase, asyncio.shield(filling.outcome))
    except PhaseCut:
        return ()


async def fill_later(ports: Ports, node: NodeId, parts: Sequence[Segment], deadline: Deadline) -> None:
    """Begin to fill `parts` for whoever reads next; return once that is on record."""
    if not parts:
        return
    filling = ports.fills.start(ports, node, reach_of(parts), is_awaited=False)
    with suppress(PhaseCut):
        await deadline.run("backfill_wait", asyncio.shield(filling.recorded))


def reach_of(parts: Sequence[Segment]) -> Segment:
    """From the first to the last of ascending parts; what is known between them is not asked for."""
    return Segment(parts[0].start, parts[-1].end)


def _bars(node: NodeId, parts: Sequence[Segment]) -> int:
    return sum(node.timeframe.count(*part) for part in parts)
