"""What is known of a node's past: the hot store's bars, and released ones where those were evicted."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from seamless_assets.core.artifact import ArtifactRef
from seamless_assets.core.bars import between, changes, empty_bars, join, timestamps
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
        if parts := await _evictable(ports, node):
            aged[node] = parts
    return await ports.hot.evict(aged, ports.clock.now())


async def _evictable(ports: Ports, node: NodeId) -> list[Evictable]:
    """The aged parts of released artifacts whose hot bars are all in them; none where no bar is held."""
    keep = ports.policy.keep_days[ports.policy.partition_unit(node.timeframe)]
    snapshot, now = await ports.artifacts.load_snapshot(node), ports.clock.now()
    aged = {ref: aged_parts(node.timeframe, ref.segment, now, keep) for ref in snapshot.artifacts}
    bounds = [at for parts in aged.values() for part in parts for at in part]
    if not bounds:
        return []
    opens = await ports.hot.load_opens(node, Segment(min(bounds), max(bounds)))
    if not len(opens):
        return []
    told = [await _held_elsewhere(ports, node, ref, parts, opens) for ref, parts in aged.items()]
    return [part for parts in told for part in parts]


async def _held_elsewhere(
    ports: Ports, node: NodeId, ref: ArtifactRef, parts: Sequence[Segment], opens: np.ndarray
) -> list[Evictable]:
    """`parts` of the artifact's range as they are held, `opens` among them; none if a bar is not in it.

    A bar that the exchange corrected since is not, until the correction is released.
    """
    evictable: list[Evictable] = []
    released: pa.Table | None = None
    for part in parts:
        hot = empty_bars()
        if np.diff(np.searchsorted(opens, part)).any():
            hot = await ports.hot.load_bars(node, part)
            if released is None:
                released = await ports.artifacts.load_artifact(node, ref)
            fresh, revised = changes(released, hot, 0.0)
            if fresh.num_rows or revised.num_rows:
                return []
        evictable.append(Evictable(part, digest_of(hot)))
    return evictable


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
