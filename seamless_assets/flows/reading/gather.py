"""Gathering the bars of a window: released ones, in one layer or more, and hot ones."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import pyarrow as pa

from seamless_assets.core.bars.table import between, empty_bars, join, timestamps
from seamless_assets.core.calendar.segment import Segment, outside
from seamless_assets.core.coverage.coverage import MISSING, coverage_of
from seamless_assets.core.node import NodeId
from seamless_assets.core.reading.cache import CacheKey
from seamless_assets.core.reading.context import ComputeContext
from seamless_assets.core.reading.gathered import Gathered, Source
from seamless_assets.core.releases.scan import gaps_within
from seamless_assets.core.releases.snapshot import Snapshot
from seamless_assets.flows.filling.history import coverage_of_known
from seamless_assets.flows.ports import Ports


async def gather_released(ports: Ports, node: NodeId, window: Segment, snapshot: Snapshot) -> Gathered:
    """Released bars of `window` at a snapshot; what no artifact of it holds counts as missing."""
    refs = snapshot.overlapping(window)
    scan = await ports.artifacts.load_scan(node, refs)
    bars = between(scan.bars, *window)
    proofs = [gap for gap in gaps_within(scan.gaps, window) if gap.reason != MISSING]
    known = coverage_of(node.timeframe, window, timestamps(bars), proofs)
    return Gathered(window, bars, known, dict(scan.flags), refs, "artifacts" if refs else "none")


async def gather_cached(
    ports: Ports, node: NodeId, window: Segment, snapshot: Snapshot, context: ComputeContext | None
) -> Gathered:
    """The same for a read of `context`, from the cache where it has them."""
    key = cache_key(ports, node, window, snapshot, context)
    kept = ports.frames.load(key)
    if kept is not None:
        return kept
    gathered = await gather_released(ports, node, window, snapshot)
    ports.frames.keep(key, gathered)
    return gathered


def cache_key(
    ports: Ports, node: NodeId, window: Segment, snapshot: Snapshot, context: ComputeContext | None
) -> CacheKey:
    """What the released bars of a read of `context` are kept under."""
    return CacheKey(
        node_id=str(node),
        start=window.start,
        end=window.end,
        interval=node.timeframe.seconds or str(node.timeframe),
        conformance_version=ports.policy.conformance_version,
        world_id=context.world_id if context else "",
        domain=context.domain if context else "",
        as_of=snapshot.release.as_of if snapshot.release else "",
        dataset_fingerprint=snapshot.dataset_fingerprint or "",
    )


async def gather_layered(
    ports: Ports, node: NodeId, window: Segment, snapshots: Sequence[Snapshot]
) -> tuple[Gathered, Snapshot]:
    """Released bars of `window`, each part from the first of `snapshots` that holds it.

    Beside them stands the last snapshot that was needed, the first one where none was.
    """
    layers, last, left = [], snapshots[0], [window]
    for snapshot in snapshots:
        held = [(ref.start, ref.end) for ref in snapshot.overlapping(window)]
        beyond = [gap for part in left for gap in outside(part, held)]
        inside = [part for whole in left for part in outside(whole, beyond)]
        layers += [await gather_released(ports, node, part, snapshot) for part in inside]
        last, left = snapshot if inside else last, beyond
        if not left:
            break
    bars = join([layer.bars for layer in layers]) if layers else empty_bars()
    proofs = [gap for layer in layers for gap in layer.coverage.gaps if gap.reason != MISSING]
    flags: Counter[str] = Counter()
    for layer in layers:
        flags.update(layer.flags)
    refs = tuple(sorted({ref for layer in layers for ref in layer.refs}, key=lambda ref: ref.start))
    known = coverage_of(node.timeframe, window, timestamps(bars), proofs)
    return Gathered(window, bars, known, dict(flags), refs, "artifacts" if refs else "none"), last


async def gather_blended(
    ports: Ports, node: NodeId, window: Segment, snapshot: Snapshot, context: ComputeContext | None
) -> Gathered:
    """Released bars of `window` at a snapshot, and hot ones where it holds none; each bar once.

    What is released at the snapshot stays as it was released, whatever was revised since.
    """
    released = await gather_cached(ports, node, window, snapshot, context)
    missing = [gap.segment for gap in released.coverage.missing_gaps]
    if not missing:
        return released
    # One look over all gaps costs less than one for each.
    reach = Segment(missing[0].start, missing[-1].end)
    hot = await ports.hot.load_bars(node, reach)
    fresh = join([between(hot, *part) for part in missing]) if hot.num_rows else empty_bars()
    bars = _merged(released.bars, fresh)
    since = await coverage_of_known(ports, node, reach, timestamps(between(bars, *reach)))
    # The earlier proof wins, so a release is not contradicted by what was found out since.
    proofs = [gap for gap in (*released.coverage.gaps, *since.gaps) if gap.reason != MISSING]
    known = coverage_of(node.timeframe, window, timestamps(bars), proofs)
    return Gathered(window, bars, known, released.flags, released.refs, _source(released, fresh))


def _merged(released: pa.Table, fresh: pa.Table) -> pa.Table:
    if not fresh.num_rows:
        return released
    if not released.num_rows:
        return fresh
    return join([released, fresh])


def _source(released: Gathered, fresh: pa.Table) -> Source:
    if not fresh.num_rows:
        return released.source
    return "blended" if released.bars.num_rows else "storage"
