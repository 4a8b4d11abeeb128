"""What is known of a node's past: the hot store's bars, and released ones where those were evicted."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from seamless_assets.core.artifact import ArtifactRef
from seamless_assets.core.bars import between, changes, join, timestamps
from seamless_assets.core.coverage import Coverage, Gap, coverage_of
from seamless_assets.core.keep import Evictable, aged_parts, digest_of
from seamless_assets.core.ledger import Fact, facts_of
from seamless_assets.core.node import NodeId
from seamless_assets.core.segment import Segment
from seamless_assets.flows.ports import Ports


async def known_bars(ports: Ports, node: NodeId, window: Segment) -> pa.Table:
    """Bars that open in `window`, sorted; a hot bar goes before a released one."""
    hot = await ports.hot.load_bars(node, window)
    evicted = await ports.hot.load_evictions(node, window)
    if not evicted:
        return hot
    released = await _released_bars(ports, node, evicted)
    unknown = ~np.isin(timestamps(released), timestamps(hot))
    return join([hot, released.filter(pa.array(unknown))])


async def coverage(ports: Ports, node: NodeId, window: Segment) -> Coverage:
    """Coverage of `window` as the hot store, its ledger and the evicted releases know it."""
    opens = await ports.hot.load_opens(node, window)
    evicted = await ports.hot.load_evictions(node, window)
    if evicted:
        opens = np.union1d(opens, timestamps(await _released_bars(ports, node, evicted)))
    return coverage_of(node.timeframe, window, opens, await proven_gaps(ports, node, window))


async def ledger(ports: Ports, node: NodeId, window: Segment) -> list[Fact]:
    """The ledger's facts that touch `window`, oldest first."""
    return facts_of(await ports.hot.load_facts(node, window))


async def proven_gaps(ports: Ports, node: NodeId, window: Segment) -> list[Gap]:
    """The ledger's proofs that touch `window`, oldest first, but what turned out an outage before all."""
    facts = facts_of(await ports.hot.load_facts(node, window))
    proven = [Gap(fact.start, fact.end, fact.reason) for fact in facts if fact.is_proof]
    return sorted(proven, key=lambda gap: gap.reason != "outage")


async def evict(ports: Ports, nodes: Sequence[NodeId]) -> int:
    """Drop hot bars that released artifacts hold and that are past their time; the bars dropped.

    Raises `StoreError`.
    """
    aged: dict[NodeId, list[Evictable]] = {}
    for node in nodes:
        snapshot = await ports.artifacts.load_snapshot(node)
        for ref in snapshot.artifacts:
            if parts := await _held_elsewhere(ports, node, ref):
                aged.setdefault(node, []).extend(parts)
    return await ports.hot.evict(aged, ports.clock.now())


async def _held_elsewhere(ports: Ports, node: NodeId, ref: ArtifactRef) -> list[Evictable]:
    """The aged parts of the artifact's range whose hot bars are all in it; none if one is not.

    A bar that the exchange corrected since is not, until the correction is released.
    """
    keep = ports.policy.keep_days[ports.policy.partition_unit(node.timeframe)]
    parts: list[Evictable] = []
    released: pa.Table | None = None
    for part in aged_parts(node.timeframe, ref.segment, ports.clock.now(), keep):
        hot = await ports.hot.load_bars(node, part)
        if hot.num_rows:
            if released is None:
                released = await ports.artifacts.load_artifact(node, ref)
            fresh, revised = changes(released, hot, 0.0)
            if fresh.num_rows or revised.num_rows:
                return []
        parts.append(Evictable(part, digest_of(hot)))
    return parts


async def _released_bars(ports: Ports, node: NodeId, segments: Sequence[Segment]) -> pa.Table:
    snapshot = await ports.artifacts.load_snapshot(node)
    wanted = [
        (ref, part)
        for ref in snapshot.artifacts
        for part in (ref.segment.intersect(segment) for segment in segments)
        if not part.is_empty
    ]
    tables = await asyncio.gather(*(ports.artifacts.load_artifact(node, ref) for ref, _ in wanted))
    return join([between(table, *part) for table, (_, part) in zip(tables, wanted, strict=True)])
