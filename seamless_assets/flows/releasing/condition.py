"""The condition of a node's partitions, from what is released and what is known beyond it."""

from __future__ import annotations

from collections.abc import Sequence

from seamless_assets.core.calendar.partition import partitions
from seamless_assets.core.calendar.segment import Segment, outside
from seamless_assets.core.calendar.watermark import settled
from seamless_assets.core.coverage.coverage import MISSING, Coverage, Gap, counted
from seamless_assets.core.node import NodeId
from seamless_assets.core.releases.artifact import Manifest
from seamless_assets.core.releases.condition import Condition, PartitionFacts, condition_of
from seamless_assets.core.releases.scan import gaps_within
from seamless_assets.flows.filling.history import coverage
from seamless_assets.flows.ports import Ports


async def conditions(ports: Ports, node: NodeId, window: Segment) -> list[Condition]:
    """The condition of every partition that `window` touches, ascending. No exchange is asked."""
    now = ports.clock.now()
    unit, bars = ports.policy.partition_unit(node.timeframe), ports.policy.stabilization_bars
    touched = partitions(node.timeframe, unit, window)
    if not touched:
        return []
    log = await ports.artifacts.list_releases(node)
    snapshot = await ports.artifacts.load_snapshot(node)
    whole = Segment(touched[0].window.start, touched[-1].window.end)
    known = await coverage(ports, node, settled(whole, node.timeframe, now, bars))
    manifests = {}
    for ref in snapshot.overlapping(whole):
        manifests[ref] = await ports.artifacts.load_manifest(node, ref)
    found = []
    for partition in touched:
        part = settled(partition.window, node.timeframe, now, bars)
        held = tuple(snapshot.overlapping(partition.window))
        reach = max((ref.segment.intersect(partition.window).end for ref in held), default=part.start)
        until = Segment(partition.window.start, max(reach, partition.window.start))
        released = _within(node, _released_gaps(until, [manifests[ref] for ref in held]), until)
        # What is known counts releases too, and what was said against them since.
        missing = _within(node, known.gaps, until.intersect(part)).missing
        facts = PartitionFacts(
            partition=partition,
            settled_until=part.end,
            released_until=until.end,
            known=_within(node, known.gaps, part),
            released=released,
            doubted=max(0, missing - released.missing),
            held=held,
            log=log,
        )
        found.append(condition_of(facts))
    return found


def _released_gaps(part: Segment, manifests: Sequence[Manifest]) -> list[Gap]:
    """What artifacts lack of a part that they reach to the end of, ascending; what none holds is missing."""
    gaps = [Gap(*hole, MISSING) for hole in outside(part, [manifest.segment for manifest in manifests])]
    gaps += [gap for manifest in manifests for gap in (*manifest.absent, *manifest.missing)]
    return sorted(gaps)


def _within(node: NodeId, gaps: Sequence[Gap], part: Segment) -> Coverage:
    """Coverage of a part by what ascending gaps leave of it."""
    return counted(node.timeframe, node.timeframe.count(*part), gaps_within(gaps, part))
