"""Which partitions of a derived node are due: those whose inputs changed, and those that can be made now.

All of it follows from the release logs of the node and its inputs: nothing is due twice, and a tick may be
late, come twice or be lost.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from seamless_assets.aio.gather import map_bounded
from seamless_assets.core.calendar.partition import Partition, partitions
from seamless_assets.core.calendar.segment import Segment, join_segments, outside
from seamless_assets.core.deriving.inputs import DerivationInput
from seamless_assets.core.node import NodeId
from seamless_assets.core.reading.context import ComputeContext
from seamless_assets.core.releases.artifact import ArtifactRef, InputVersion
from seamless_assets.core.releases.snapshot import Snapshot
from seamless_assets.core.releases.supersession import is_pinned
from seamless_assets.defs.automation.due import NodeState, PartitionGrid
from seamless_assets.defs.derived.nodes import DerivedNode
from seamless_assets.flows.ports import Ports
from seamless_assets.flows.reading.read import read_released

AT_ONCE = 16
"""Manifests read side by side."""


@dataclass(frozen=True)
class Lineage:
    """What is in force of a derived node and of its inputs."""

    own: Snapshot
    inputs: Mapping[NodeId, Snapshot]

    @property
    def state(self) -> str:
        """What changes whenever anything of them is released: the number of each one's last release."""
        every = (self.own, *(self.inputs[node] for node in sorted(self.inputs)))
        return "-".join(str(one.release.seq if one.release else 0) for one in every)


async def load_lineage(ports: Ports, derived: DerivedNode) -> Lineage:
    """What is in force now. Raises `StoreError`."""
    nodes = [derived.node, *derived.made_of]
    own, *inputs = await map_bounded(ports.artifacts.load_snapshot, nodes, AT_ONCE)
    return Lineage(own, dict(zip(derived.made_of, inputs, strict=True)))


async def due_partitions(ports: Ports, derived: DerivedNode, now: Lineage, count: int) -> list[Partition]:
    """The partitions to derive, ascending: any whose inputs changed, and of the last `count` what is new."""
    found = {part.key: part for part in growing_partitions(derived, now, count)}
    leaves = [leaf for leaf in now.own.leaves() if not is_pinned(now.own, leaf)]

    async def look(leaf: ArtifactRef) -> bool:
        manifest = await ports.artifacts.load_manifest(derived.node, leaf)
        known = [one for one in manifest.inputs if NodeId.parse(one.node_id) in now.inputs]
        return any([await _is_changed(ports, one, now.inputs[NodeId.parse(one.node_id)]) for one in known])

    for leaf, is_changed in zip(leaves, await map_bounded(look, leaves, AT_ONCE), strict=True):
        if is_changed:
            # Its key may be that of another unit, which the settings named when it was sealed.
            for part in partitions(derived.node.timeframe, derived.unit, leaf.segment):
                if not part.window.intersect(leaf.segment).is_empty:
                    found[part.key] = part
    return sorted(found.values(), key=lambda part: part.window)


def growing_partitions(derived: DerivedNode, now: Lineage, count: int) -> list[Partition]:
    """Those of the last `count` partitions of which all inputs hold more than is derived, ascending."""
    own = NodeState.of(derived.node, now.own)
    inputs = [NodeState.of(node, snapshot) for node, snapshot in now.inputs.items()]
    ends = [state.end for state in inputs]
    if None in ends:
        return []
    until = min(end for end in ends if end is not None)
    grid = PartitionGrid(derived.node.timeframe, derived.unit, derived.start, stabilization_bars=0)
    due = []
    for partition in grid.last(count, until):
        part = grid.settled_part(partition, until)
        is_there = not any(outside(part, state.in_force) for state in inputs)
        if is_there and own.lacks(part):
            due.append(partition)
    return due


async def _is_changed(ports: Ports, version: InputVersion, now: Snapshot) -> bool:
    """Whether an input reads otherwise now. Of one that is out of force in part nothing can be derived."""
    node, window = NodeId.parse(version.node_id), Segment(version.start, version.end)
    held = now.leaves(window)
    if now.release is None or outside(window, join_segments(leaf.segment for leaf in held)):
        return False
    if all(now.since[leaf.manifest_sha256] <= version.as_of for leaf in held):
        return False
    read = await read_released(ports, node, window, ComputeContext(as_of=now.release.as_of), columns=None)
    content = DerivationInput.of(
        node,
        window,
        read.bars,
        read.metadata.gaps,
        conformance_version=read.metadata.conformance_version,
        as_of=now.release.as_of,
        dataset_fingerprint=now.release.dataset_fingerprint,
    ).version.content
    return content != version.content
