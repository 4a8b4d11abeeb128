"""Reads of released bars as they were known at an `as_of`."""

from __future__ import annotations

from collections.abc import Sequence

from seamless_assets.core.calendar.instant import seconds_text
from seamless_assets.core.calendar.segment import Segment
from seamless_assets.core.coverage.coverage import Gap
from seamless_assets.core.node import NodeId
from seamless_assets.core.reading.admission import seconds_open
from seamless_assets.core.reading.context import NEWEST, ComputeContext
from seamless_assets.core.reading.gathered import Gathered
from seamless_assets.core.reading.request import ReadRequest
from seamless_assets.core.releases.snapshot import Snapshot
from seamless_assets.errors import CoverageMissing, NothingReleased
from seamless_assets.flows.ports import Ports
from seamless_assets.flows.reading.gather import gather_cached


async def bind_snapshot(ports: Ports, node: NodeId, context: ComputeContext) -> Snapshot:
    """The snapshot of the context's `as_of` or `dataset_fingerprint`.

    Raises `NothingReleased` and `AsOfInFuture`.
    """
    snapshot = await ports.artifacts.load_snapshot(node, context.as_of, context.dataset_fingerprint)
    if snapshot.release is None or not snapshot.artifacts:
        log = await ports.artifacts.list_releases(node)
        first = f"; its first release is of {log[0].as_of}" if log else "; materialize it first"
        at = f" at or before {context.as_of}" if context.as_of else ""
        of = f" of the dataset {context.dataset_fingerprint}" if context.dataset_fingerprint else ""
        raise NothingReleased(
            f"{node} has no release{of}{at}{first}{_hint(ports, node)}",
            node_id=str(node),
            as_of=context.as_of,
        )
    if context.as_of in (None, snapshot.release.as_of) or not await is_waited_for(ports, node, context.as_of):
        return snapshot
    return await ports.artifacts.load_snapshot(node, context.as_of, context.dataset_fingerprint)


async def is_waited_for(ports: Ports, node: NodeId, as_of: str | None) -> bool:
    """Whether a release could still come at or before `as_of`; it is waited until none can.

    So an `as_of` of a machine whose clock is a little ahead of ours can be read here, and reads the same
    for ever. Raises `AsOfInFuture` where that would take over a minute.
    """
    waited = False
    while True:
        newest = (await ports.artifacts.load_snapshot(node)).release
        ahead = seconds_open(as_of, ports.clock.now(), newest.as_of if newest else None)
        if not ahead:
            return waited
        await ports.clock.sleep(ahead)
        waited = True


async def snapshot_files(ports: Ports, node: NodeId, context: ComputeContext) -> list[str]:
    """URIs of the Parquet files of a snapshot, ascending. Raises `NothingReleased`."""
    snapshot = await bind_snapshot(ports, node, context)
    folder = ports.artifacts.file_uri(node, "")
    return [folder + ref.file_path for ref in snapshot.artifacts]


async def load_released(ports: Ports, request: ReadRequest) -> tuple[Gathered, Snapshot]:
    """The released bars of the request's window; the same `as_of` always gives the same bars.

    Raises `NothingReleased` and `CoverageMissing`, and `ArtifactCorrupt` rather than serve bytes that do
    not match the log.
    """
    node = request.node
    snapshot = await bind_snapshot(ports, node, request.context or NEWEST)
    window = request.window(*reach(snapshot))
    refuse_uncovered(ports, node, window, snapshot)
    gathered = await gather_cached(ports, node, window, snapshot, request.context)
    while request.limit is not None and request.start is None and gathered.bars.num_rows < request.limit:
        # Bars that do not exist are none of the last so many.
        wider = Segment(window.start - max(window.end - window.start, 1), window.end)
        window = wider.intersect(Segment(*reach(snapshot))).whole_bars(node.timeframe.grid)
        if window == gathered.window:
            break
        refuse_uncovered(ports, node, window, snapshot)
        gathered = await gather_cached(ports, node, window, snapshot, request.context)
    return gathered, snapshot


def reach(snapshot: Snapshot) -> Segment:
    """From the first to the last released time of a snapshot that holds anything."""
    return Segment(snapshot.artifacts[0].start, snapshot.artifacts[-1].end)


def refuse_uncovered(ports: Ports, node: NodeId, window: Segment, *snapshots: Snapshot) -> None:
    """Raise `CoverageMissing` where no artifact of the snapshots holds a part of `window`.

    Bars that a released artifact itself lists as missing were let through its gate; others were not.
    """
    left: Sequence[Segment] = (window,)
    for snapshot in snapshots:
        left = [part for whole in left for part in snapshot.lacking(whole)]
    if left:
        gaps = [Gap(*part, "not released") for part in left]
        named = ", ".join(f"[{seconds_text(gap.start)}, {seconds_text(gap.end)})" for gap in gaps[:3])
        more = f" and {len(gaps) - 3} more" if len(gaps) > 3 else ""
        way_out = f"materialize them or ask for less{_hint(ports, node)}"
        raise CoverageMissing(
            f"released artifacts of {node} do not hold {named}{more} of the asked "
            f"[{seconds_text(window.start)}, {seconds_text(window.end)}); {way_out}",
            node_id=str(node),
            gaps=tuple(gaps),
        )


def _hint(ports: Ports, node: NodeId) -> str:
    near = ports.reading.nearest(node)
    return f"; did you mean {near}?" if near else ""
