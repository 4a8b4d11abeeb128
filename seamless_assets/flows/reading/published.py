"""Reads whose answer is a release: the one they are bound to, else one that they make themselves."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

from seamless_assets.core.calendar.partition import partitions
from seamless_assets.core.calendar.segment import Segment
from seamless_assets.core.calendar.watermark import watermark
from seamless_assets.core.reading.admission import Admission
from seamless_assets.core.reading.context import NEWEST
from seamless_assets.core.reading.gathered import Gathered
from seamless_assets.core.reading.request import ReadRequest
from seamless_assets.core.releases.snapshot import Snapshot
from seamless_assets.core.worlds.session import SessionKey, add_made
from seamless_assets.errors import CoverageMissing, ExchangeUnavailable, NothingReleased
from seamless_assets.flows.filling.clocks import refuse_derived
from seamless_assets.flows.filling.history import coverage
from seamless_assets.flows.ports import Ports
from seamless_assets.flows.reading.blended import earliest, plan_fills, reach_of
from seamless_assets.flows.reading.deadline import Deadline, PhaseCut
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
    gathered, snapshot, problems = await _load(ports, request, admission, deadline)
    first = earliest(ports, request.node, snapshot, gathered.window.start)
    wider = request.last_window(gathered.window, gathered.coverage, first)
    # Bars that do not exist are none of the last so many; where no more can be had in time, fewer will do.
    try:
        while wider != gathered.window and deadline.has_time("storage_wait"):
            reaching = replace(request, start=wider.start)
            gathered, snapshot, more = await _load(ports, reaching, admission, deadline)
            problems = (*problems, *more)
            wider = request.last_window(gathered.window, gathered.coverage, first)
    except PhaseCut:
        pass
    except CoverageMissing as short:
        problems = (*problems, str(short))
    return gathered, snapshot, problems


async def _load(
    ports: Ports, request: ReadRequest, admission: Admission, deadline: Deadline
) -> tuple[Gathered, Snapshot, tuple[str, ...]]:
    if request.context is None:
        problems = await deadline.run("backfill_wait", _publish(ports, request, admission))
        with _explained(problems):
            return *(await deadline.run("storage_wait", _load_newest(ports, request))), problems
    try:
        return *(await deadline.run("storage_wait", load_released(ports, request))), ()
    except (NothingReleased, CoverageMissing):
        key = SessionKey.of(request.context, str(request.node))
        made = (await deadline.run("storage_wait", ports.sessions.load(key))).made
        try:
            return *(await deadline.run("storage_wait", _load_layered(ports, request, made))), ()
        except CoverageMissing:
            problems = await deadline.run("backfill_wait", _publish(ports, request, admission))
            with _explained(problems):
                return *(await deadline.run("storage_wait", _load_made(ports, request, key, made))), problems


@contextmanager
def _explained(problems: Sequence[str]) -> Iterator[None]:
    """A refusal within says why the bars are not there that were to be fetched for it."""
    try:
        yield
    except CoverageMissing as missing:
        if not problems:
            raise
        raise CoverageMissing(f"{missing}; {problems[0]}", **missing.facts) from missing


async def _publish(ports: Ports, request: ReadRequest, admission: Admission) -> tuple[str, ...]:
    node = request.node
    end = watermark(node.timeframe, ports.clock.now(), ports.policy.stabilization_bars)
    window = _window(ports, request).until(end)
    # A partition is released as a whole, so the whole of it is filled.
    unit = ports.policy.partition_unit(node.timeframe)
    parts = [partition.window.until(end) for partition in partitions(node.timeframe, unit, window)]
    if not parts:
        return ()
    refuse_derived(ports, node)
    whole = Segment(parts[0].start, parts[-1].end)
    known = await coverage(ports, node, whole)
    missing = [gap.segment for gap in known.missing_gaps]
    wanted = plan_fills(node, whole, missing, admission, request.sla.max_sync_gap_bars)
    if wanted.later:
        filling = ports.fills.start(ports, node, reach_of(wanted.later), is_awaited=False)
        await asyncio.shield(filling.recorded)
    problems: tuple[str, ...] = ()
    if wanted.first:
        filling = ports.fills.start(ports, node, reach_of(wanted.first), is_awaited=True)
        problems = await asyncio.shield(filling.outcome)
    try:
        reports = await release_settled(ports, node, window)
    except ExchangeUnavailable as error:
        # What is settled is told by its clock; what is released already is served without it.
        return (*problems, f"{type(error).__name__}: {error}")
    return (*problems, *(problem for report in reports for problem in report.problems))


async def _load_newest(ports: Ports, request: ReadRequest) -> tuple[Gathered, Snapshot]:
    newest = await ports.artifacts.load_snapshot(request.node)
    window = _window(ports, request)
    refuse_uncovered(ports, request.node, window, newest)
    return await gather_released(ports, request.node, window, newest), newest


async def _load_made(
    ports: Ports, request: ReadRequest, key: SessionKey, made: Sequence[str]
) -> tuple[Gathered, Snapshot]:
    """The window with the newest release as one that the session made.

    It is remembered before anything of it is served, and served behind those that readers beside this one
    have remembered meanwhile: what one of them was told, all are told from then on.
    """
    newest = (await ports.artifacts.load_snapshot(request.node)).release
    if newest is None:
        return await _load_layered(ports, request, made)
    layers = await _layers(ports, request, [*made, newest.as_of])
    refuse_uncovered(ports, request.node, _window(ports, request), *layers)
    _, record = await ports.sessions.update(key, lambda record: add_made(record, newest.as_of))
    return await _load_layered(ports, request, record.made)


async def _load_layered(ports: Ports, request: ReadRequest, made: Sequence[str]) -> tuple[Gathered, Snapshot]:
    """The window at what the session is bound to, and where that does not hold it, at what it made."""
    layers, window = await _layers(ports, request, made), _window(ports, request)
    refuse_uncovered(ports, request.node, window, *layers)
    return await gather_layered(ports, request.node, window, layers)


async def _layers(ports: Ports, request: ReadRequest, made: Sequence[str]) -> list[Snapshot]:
    context, node = request.context or NEWEST, request.node
    bound = await ports.artifacts.load_snapshot(node, context.as_of, context.dataset_fingerprint)
    return [bound, *[await ports.artifacts.load_snapshot(node, as_of) for as_of in made]]


def _window(ports: Ports, request: ReadRequest) -> Segment:
    """What is asked for, up to what is settled where the request leaves its end open."""
    timeframe = request.node.timeframe
    end = watermark(timeframe, ports.clock.now(), ports.policy.stabilization_bars)
    return request.window(ports.reading.starts.get(str(request.node), end), end)
