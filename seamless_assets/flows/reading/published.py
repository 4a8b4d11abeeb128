"""Reads whose answer is a release: the one they are bound to, else one that they make themselves."""

from __future__ import annotations

import asyncio

from seamless_assets.core.calendar.partition import partitions
from seamless_assets.core.calendar.segment import Segment
from seamless_assets.core.calendar.watermark import watermark
from seamless_assets.core.reading.admission import Admission, Fill
from seamless_assets.core.reading.gathered import Gathered
from seamless_assets.core.reading.request import ReadRequest
from seamless_assets.core.releases.snapshot import Snapshot
from seamless_assets.core.worlds.session import SessionKey, add_made
from seamless_assets.errors import CoverageMissing, NothingReleased
from seamless_assets.flows.filling.history import coverage
from seamless_assets.flows.ports import Ports
from seamless_assets.flows.reading.blended import plan_fills
from seamless_assets.flows.reading.deadline import Deadline
from seamless_assets.flows.reading.gather import gather_layered, gather_released
from seamless_assets.flows.reading.released import load_released, refuse_uncovered
from seamless_assets.flows.releasing.materialize import release_settled


async def load_published(
    ports: Ports, request: ReadRequest, admission: Admission, deadline: Deadline
) -> tuple[Gathered, Snapshot, tuple[str, ...]]:
    """Released bars of the window; where none hold it, those of a release that is made now.

    What is fetched first is what the strategy says. Raises `CoverageMissing` where the window is not
    released afterwards either, and `PhaseCut`.
    """
    key = SessionKey.of(request.context, str(request.node)) if request.context else None
    if key is not None or admission.fill is Fill.NEVER:
        try:
            return *(await deadline.run("storage_wait", load_released(ports, request))), ()
        except (NothingReleased, CoverageMissing) as refusal:
            known = await deadline.run("storage_wait", _load_made(ports, request, key)) if key else None
            if known is not None:
                return *known, ()
            if admission.fill is Fill.NEVER and key is None:
                raise refusal
    problems = await deadline.run("backfill_wait", _publish(ports, request, admission))
    gathered, snapshot = await deadline.run("storage_wait", _load_newest(ports, request))
    if key is not None and snapshot.release is not None:
        made = snapshot.release.as_of
        await ports.sessions.update(key, lambda record: add_made(record, made))
    return gathered, snapshot, problems


async def _load_made(ports: Ports, request: ReadRequest, key: SessionKey) -> tuple[Gathered, Snapshot] | None:
    """The window at the first release that the session made and that holds it."""
    for as_of in (await ports.sessions.load(key)).made:
        snapshot = await ports.artifacts.load_snapshot(request.node, as_of)
        try:
            return await _load_layered(ports, request, snapshot)
        except CoverageMissing:
            continue
    return None


async def _publish(ports: Ports, request: ReadRequest, admission: Admission) -> tuple[str, ...]:
    node = request.node
    end = watermark(node.timeframe, ports.clock.now(), ports.policy.stabilization_bars)
    window = request.window(ports.reading.starts.get(str(node), end), end).until(end)
    # A partition is released as a whole, so the whole of it is filled.
    unit = ports.policy.partition_unit(node.timeframe)
    parts = [partition.window.until(end) for partition in partitions(node.timeframe, unit, window)]
    if not parts:
        return ()
    whole = Segment(parts[0].start, parts[-1].end)
    known = await coverage(ports, node, whole)
    wanted = plan_fills(node, whole, known.missing_gaps, admission, request.sla.max_sync_gap_bars)
    if wanted.later:
        ports.fills.start(ports, node, wanted.later, is_awaited=False)
    problems: tuple[str, ...] = ()
    if wanted.first:
        problems = await asyncio.shield(ports.fills.start(ports, node, wanted.first, is_awaited=True))
    reports = await release_settled(ports, node, window)
    return (*problems, *(problem for report in reports for problem in report.problems))


async def _load_newest(ports: Ports, request: ReadRequest) -> tuple[Gathered, Snapshot]:
    return await _load_layered(ports, request, await ports.artifacts.load_snapshot(request.node))


async def _load_layered(ports: Ports, request: ReadRequest, newest: Snapshot) -> tuple[Gathered, Snapshot]:
    """The window at a release; a bound read keeps to what it is bound to where that holds it."""
    node, context = request.node, request.context
    end = watermark(node.timeframe, ports.clock.now(), ports.policy.stabilization_bars)
    window = request.window(ports.reading.starts.get(str(node), end), end)
    refuse_uncovered(node, window, newest)
    if context is None:
        return await gather_released(ports, node, window, newest), newest
    bound = await ports.artifacts.load_snapshot(node, context.as_of, context.dataset_fingerprint)
    return await gather_layered(ports, node, window, bound, newest), newest
