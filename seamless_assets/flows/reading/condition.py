"""The condition of a node's partitions, from what is released and what is known beyond it."""

from __future__ import annotations

from seamless_assets.core.calendar.partition import partitions
from seamless_assets.core.calendar.segment import Segment
from seamless_assets.core.calendar.watermark import settled
from seamless_assets.core.coverage.coverage import Coverage, counted
from seamless_assets.core.node import NodeId
from seamless_assets.core.releases.condition import Condition, condition_of
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
    found = []
    for partition in touched:
        part = settled(partition.window, node.timeframe, now, bars)
        held = [ref.segment.intersect(partition.window).end for ref in snapshot.overlapping(partition.window)]
        released_until = max(held, default=partition.window.start)
        found.append(condition_of(partition, part.end, released_until, _within(node, known, part), log))
    return found


def _within(node: NodeId, known: Coverage, part: Segment) -> Coverage:
    """Coverage of a part of what is known."""
    return counted(node.timeframe, node.timeframe.count(*part), gaps_within(known.gaps, part))
