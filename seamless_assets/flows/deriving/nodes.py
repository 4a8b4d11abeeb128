"""Derive declared nodes: from what is released of their sources, partition by partition."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import suppress
from dataclasses import replace

import numpy as np
import pyarrow as pa

from seamless_assets.core.bars.conformance.conform import conform
from seamless_assets.core.bars.redenomination import redenominated
from seamless_assets.core.bars.sorted_sets import is_in
from seamless_assets.core.bars.table import (
    BARS_SCHEMA,
    COLUMNS,
    between,
    empty_bars,
    stack,
    timestamps,
)
from seamless_assets.core.calendar.instant import seconds_text
from seamless_assets.core.calendar.partition import Partition, partitions
from seamless_assets.core.calendar.segment import Segment, outside
from seamless_assets.core.coverage.coverage import MISSING, Gap
from seamless_assets.core.deriving.deriving import derive
from seamless_assets.core.deriving.inputs import DerivationInput
from seamless_assets.core.deriving.recipes import Recipe, Resample, SourceBars
from seamless_assets.core.node import NodeId
from seamless_assets.core.releases.scan import gaps_within
from seamless_assets.core.releases.snapshot import Snapshot
from seamless_assets.core.sharing.aliases import cut_at_joints, source_at
from seamless_assets.errors import ExchangeRefused, ExchangeUnavailable, ReleaseOutdated
from seamless_assets.flows.deriving.publish import publish_derived
from seamless_assets.flows.ports import Ports
from seamless_assets.flows.releasing.materialize import MaterializeReport, PartitionReport, report_of
from seamless_assets.flows.sharing.retry import with_retries

TRIES = 5
_SAME = 1e-12
"""What sums of redenominated volumes may be off by."""


async def derive_node(ports: Ports, node: NodeId, recipe: Recipe, window: Segment) -> MaterializeReport:
    """Derive every partition that `window` touches, and release those that pass their checks.

    The same released sources change nothing. No bar comes of an exchange; where it has bars of the node's
    own timeframe, resampled ones are held against them, and `problems` says where they differ. Raises
    `StoreError`.
    """
    return report_of(node, window, [report async for report in derive_node_each(ports, node, recipe, window)])


async def derive_node_each(
    ports: Ports, node: NodeId, recipe: Recipe, window: Segment
) -> AsyncGenerator[PartitionReport, None]:
    """The same, handing over each partition's report as soon as it is done."""
    unit = ports.policy.partition_unit(node.timeframe)
    for partition in partitions(node.timeframe, unit, window):
        yield await _derive_newest(ports, node, recipe, partition)


async def _derive_newest(ports: Ports, node: NodeId, recipe: Recipe, partition: Partition) -> PartitionReport:
    """Derive a partition, again where its sources were released anew meanwhile and others were quicker."""
    for _ in range(TRIES - 1):
        with suppress(ReleaseOutdated):
            return await _derive_partition(ports, node, recipe, partition)
    return await _derive_partition(ports, node, recipe, partition)


async def _derive_partition(
    ports: Ports, node: NodeId, recipe: Recipe, partition: Partition
) -> PartitionReport:
    snapshots = [await ports.artifacts.load_snapshot(source) for source in recipe.sources]
    ends = [snapshot.artifacts[-1].end if snapshot.artifacts else 0 for snapshot in snapshots]
    starts = [snapshot.artifacts[0].start for snapshot in snapshots if snapshot.artifacts]
    since = max([partition.window.start, *starts])
    window = Segment(since, max(since, min([partition.window.end, *ends])))
    window = window.whole_bars(node.timeframe.grid)
    if window.is_empty:
        lacking = recipe.sources[ends.index(min(ends))]
        problem = f"{partition.key}: nothing of it is released of {lacking}; materialize that first"
        return PartitionReport(partition, False, None, None, None, (problem,), is_settled=False)
    reach = recipe.reach(window)
    sources = [
        await _source_bars(ports, source, reach, snapshot)
        for source, snapshot in zip(recipe.sources, snapshots, strict=True)
    ]
    bars = derive(recipe, sources, node.timeframe, window)
    inputs = [
        _input(ports, source, reach, snapshot) for source, snapshot in zip(sources, snapshots, strict=True)
    ]
    report = await publish_derived(
        ports,
        node,
        partition,
        window.end,
        bars,
        inputs,
        since=window.start,
        needs_all=recipe.needs_all,
        held_bars=recipe.held_bars,
    )
    if not isinstance(recipe, Resample):
        return report
    problems = await _against_own(ports, node, partition, window, bars)
    return replace(report, problems=(*report.problems, *problems))


async def _against_own(
    ports: Ports, node: NodeId, partition: Partition, window: Segment, bars: pa.Table
) -> list[str]:
    """What the exchange says otherwise, where it has bars of the node's own timeframe.

    One page is asked, and one of each symbol that the series had before.
    """
    cut = cut_at_joints(window, ports.policy.aliases_of(node))
    parts = [part.whole_bars(node.timeframe.grid) for part in cut]
    try:
        own = stack([await _own(ports, node, part) for part in parts if part.start < part.end])
    except ExchangeUnavailable as error:
        return [f"{partition.key}: not held against bars of the exchange itself: {error}"]
    differing = _differing(own, bars)
    if not len(differing):
        return []
    first = seconds_text(int(differing[0]))
    said = f"{len(differing)} bars differ from those that the exchange itself has, the first at {first}"
    return [f"{partition.key}: {said}"]


def _differing(own: pa.Table, bars: pa.Table) -> np.ndarray:
    """Opens of the bars that both tables hold by other values."""
    own = own.filter(pa.array(is_in(timestamps(own), timestamps(bars))))
    bars = bars.filter(pa.array(is_in(timestamps(bars), timestamps(own))))
    differs = np.zeros(bars.num_rows, dtype=bool)
    for name in COLUMNS[1:]:
        ours, theirs = (table.column(name).to_numpy() for table in (bars, own))
        differs |= ~np.isclose(ours, theirs, rtol=_SAME, atol=0.0, equal_nan=True)
    opens: np.ndarray = timestamps(bars)[differs]
    return opens


async def _own(ports: Ports, node: NodeId, window: Segment) -> pa.Table:
    """A page of the exchange's own bars of a window between two joints; none where it refuses."""
    source, factor = source_at(node, ports.policy.aliases_of(node), window.start)
    try:
        await ports.source.check_node(source)
        page = await with_retries(ports, lambda: ports.source.fetch_candles(source, window))
    except ExchangeRefused:
        return empty_bars()
    own, _ = conform(page.candles, node.timeframe, severities=ports.policy.severities)
    return redenominated(own.select(COLUMNS).cast(BARS_SCHEMA), factor)


async def _source_bars(ports: Ports, node: NodeId, window: Segment, snapshot: Snapshot) -> SourceBars:
    """What a snapshot holds of a window; what no artifact holds is missing."""
    refs = snapshot.overlapping(window)
    scan = await ports.artifacts.load_scan(node, refs) if refs else None
    gaps = list(gaps_within(scan.gaps, window)) if scan else []
    gaps += [Gap(*part, MISSING) for part in outside(window, [ref.segment for ref in refs])]
    bars = between(scan.bars, *window) if scan else empty_bars()
    return SourceBars(node, bars, sorted(gaps))


def _input(ports: Ports, source: SourceBars, window: Segment, snapshot: Snapshot) -> DerivationInput:
    assert snapshot.release is not None
    return DerivationInput.of(
        source.node,
        window,
        source.bars,
        source.gaps,
        conformance_version=ports.policy.conformance_version,
        as_of=snapshot.release.as_of,
        dataset_fingerprint=snapshot.release.dataset_fingerprint,
    )
