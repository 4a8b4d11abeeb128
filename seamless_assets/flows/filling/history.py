"""What is known of a node's past: the hot store's bars, and released ones that it does not hold."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from seamless_assets.aio.gather import gather
from seamless_assets.core.bars.sorted_sets import difference, is_in, union
from seamless_assets.core.bars.table import between, changes, empty_bars, join, timestamps
from seamless_assets.core.calendar.instant import epoch_micros
from seamless_assets.core.calendar.segment import Segment, outside
from seamless_assets.core.coverage.coverage import DECLARED, Coverage, Gap, coverage_of, holes
from seamless_assets.core.coverage.declaration import Declaration, declarations_of
from seamless_assets.core.coverage.ledger import (
    CLOCK_TOLERANCE_S,
    DENIED,
    REVOKED,
    Fact,
    ReleasedGap,
    facts_of,
    outweighed,
)
from seamless_assets.core.coverage.ledger import proven_gaps as gaps_of
from seamless_assets.core.coverage.proof import before_markets, common, subtract
from seamless_assets.core.node import NodeId
from seamless_assets.core.releases.artifact import ArtifactRef, Manifest, SealedRange
from seamless_assets.core.releases.snapshot import Snapshot
from seamless_assets.core.releases.supersession import COMPACTED
from seamless_assets.core.sharing.retention import Evictable, aged_parts, digest_of
from seamless_assets.errors import ExchangeError
from seamless_assets.flows.filling.clocks import known_now, settled_now
from seamless_assets.flows.ports import Ports

NO_OPENS = np.array([], dtype=np.int64)


@dataclass(frozen=True, slots=True)
class _Released:
    """Artifacts of a snapshot, or of before it, that tell of holes: each with its part, and its manifest."""

    snapshot: Snapshot
    parts: tuple[tuple[ArtifactRef, Segment], ...] = ()
    manifests: tuple[Manifest, ...] = ()


async def known_bars(ports: Ports, node: NodeId, window: Segment, seen: np.ndarray = NO_OPENS) -> pa.Table:
    """Bars that open in `window`, sorted, as they were released or are known by now.

    A hot bar that differs from the released one goes before it only where that is shown to be newer: among
    the opens `seen`, whose bars an exchange sent just now, or revised after the release that put the other in
    force. The hot store may be an older one, another machine's, or have lost what it knew.
    """
    hot = await ports.hot.load_bars(node, window)
    snapshot = await ports.artifacts.load_snapshot(node)
    holding = await _holding(ports, node, snapshot, window)
    tables = await gather(ports.artifacts.load_artifact(node, ref) for ref, _ in holding)
    parts = [between(table, *part) for table, (_, part) in zip(tables, holding, strict=True)]
    released = join(parts) if parts else empty_bars()
    _, differing = changes(released, hot, 0.0)
    doubtful = difference(timestamps(differing), seen)
    if len(doubtful):
        fresh = await _revised_since(ports, node, snapshot, [ref for ref, _ in holding], doubtful)
        hot = hot.filter(pa.array(~is_in(timestamps(hot), difference(doubtful, fresh))))
    unknown = ~is_in(timestamps(released), timestamps(hot))
    return join([hot, released.filter(pa.array(unknown))])


async def _revised_since(
    ports: Ports, node: NodeId, snapshot: Snapshot, refs: Sequence[ArtifactRef], opens: np.ndarray
) -> np.ndarray:
    """The opens among `opens`, sorted, that were revised after what is in force of them was released."""
    revised = await ports.hot.load_revisions(node, Segment(int(opens[0]), int(opens[-1]) + 1))
    at, since = timestamps(revised), np.full(revised.num_rows, np.inf)
    for segment, as_of in (dated for ref in refs for dated in snapshot.dated(ref)):
        since[(at >= segment.start) & (at < segment.end)] = epoch_micros(as_of, "as_of") / 1e6
    # What lies ahead of now was dated by a clock that was wrong.
    recorded = revised.column("recorded_at").to_numpy()
    is_possible = recorded <= known_now(ports, node) + CLOCK_TOLERANCE_S
    fresh: np.ndarray = at[(recorded > since) & is_possible]
    return fresh


async def coverage(ports: Ports, node: NodeId, window: Segment) -> Coverage:
    """Coverage of `window` as the hot store, its ledger and released artifacts know it.

    A bar that was released exists, whatever an exchange says that has dropped it since.
    """
    return (await coverage_and_facts(ports, node, window))[0]


async def coverage_and_facts(ports: Ports, node: NodeId, window: Segment) -> tuple[Coverage, list[Fact]]:
    """The same, and the ledger's facts as far as no release outweighs them, oldest first."""
    opens, released = await _known(ports, node, window)
    return await _explained(ports, node, window, opens, released)


async def known_opens(ports: Ports, node: NodeId, window: Segment) -> np.ndarray:
    """Sorted opens of the bars of `window` that are hot or released, int64 epoch seconds."""
    opens, _ = await _known(ports, node, window)
    return opens


async def coverage_of_known(ports: Ports, node: NodeId, window: Segment, opens: np.ndarray) -> Coverage:
    """Coverage of `window` where the bars that are known of it (`known_bars`) have these sorted `opens`."""
    released = await _released_over_holes(ports, node, window, opens)
    return (await _explained(ports, node, window, opens, released))[0]


async def declared_of(ports: Ports, node: NodeId, window: Segment, gaps: Sequence[Gap]) -> list[Declaration]:
    """Who declared those of the `gaps` of `window` that count as declared.

    By the ledger, and by what was released where the ledger was lost.
    """
    declared = [gap.segment for gap in gaps if gap.reason == DECLARED]
    if not declared:
        return []
    facts = facts_of(await ports.hot.load_facts(node, window))
    every = declarations_of(facts, node.timeframe, NO_OPENS)
    said = [one for one in every if common(declared, one.in_force)]
    left = subtract(declared, [part for one in said for part in one.in_force], node.timeframe)
    released = await _released_over_holes(ports, node, window, NO_OPENS) if left else None
    manifests = released.manifests if released else ()
    return said + [one for manifest in manifests for one in manifest.declared if common(left, [one.segment])]


async def _known(ports: Ports, node: NodeId, window: Segment) -> tuple[np.ndarray, _Released | None]:
    """Opens that are hot or released, and what is released over holes of the hot ones."""
    opens = await ports.hot.load_opens(node, window)
    released = await _released_over_holes(ports, node, window, opens)
    if released is not None:
        for (_, part), manifest in zip(released.parts, released.manifests, strict=True):
            opens = union(opens, manifest.opens(node.timeframe, part))
    return opens, released


async def _explained(
    ports: Ports, node: NodeId, window: Segment, opens: np.ndarray, released: _Released | None
) -> tuple[Coverage, list[Fact]]:
    """Coverage of the bars with these `opens`, its holes explained by what was released and by the ledger.

    What was released as absent stays so, whatever became of the ledger, until a witness or an operator says
    the contrary after that; what turned out an outage since then is called so. What was released as missing
    is proven anew. The facts stand beside it as far as they count.
    """
    facts = facts_of(await ports.hot.load_facts(node, window))
    is_denied = any(fact.reason in (DENIED, REVOKED) for fact in facts)
    is_proven = any(fact.is_proof for fact in facts)
    absent, missing = list[ReleasedGap](), list[ReleasedGap]()
    if released is not None:
        for (ref, _), manifest in zip(released.parts, released.manifests, strict=True):
            is_disputed = is_denied or (is_proven and bool(manifest.missing))
            dated = await _dated(ports, node, released.snapshot, ref, manifest) if is_disputed else []
            absent += _since(manifest.absent, dated)
            missing += _since(manifest.missing, dated)
    absent += map(ReleasedGap, before_markets(node.timeframe, window.whole_bars(node.timeframe.grid)))
    facts = outweighed(facts, missing)
    return coverage_of(node.timeframe, window, opens, gaps_of(facts, absent)), facts


async def sealed_ranges(
    ports: Ports, node: NodeId, snapshot: Snapshot, ref: ArtifactRef, manifest: Manifest
) -> tuple[SealedRange, ...]:
    """When what each range of an artifact says was sealed, ascending: of a merged one as its parts were."""
    if COMPACTED not in manifest.policy:
        return (SealedRange(*manifest.range, manifest.as_of),)
    if manifest.sealed:
        return manifest.sealed
    # Earlier versions did not record it, but its parts are never removed.
    parts = await gather(ports.artifacts.load_manifest(node, leaf) for leaf in snapshot.leaves_of(ref))
    return tuple(SealedRange(*part.range, part.as_of) for part in parts)


async def _dated(
    ports: Ports, node: NodeId, snapshot: Snapshot, ref: ArtifactRef, manifest: Manifest
) -> list[tuple[Segment, float]]:
    """When what each range of an artifact says was known, as far as that was not dated by a clock ahead.

    It was sealed before it was put in force, by hand or by a rollback long before.
    """
    latest = known_now(ports, node) + CLOCK_TOLERANCE_S
    since = [(segment, epoch_micros(as_of, "as_of") / 1e6) for segment, as_of in snapshot.dated(ref)]
    sealed = await sealed_ranges(ports, node, snapshot, ref, manifest)
    found: list[tuple[Segment, float]] = []
    for segment, at in since:
        first = bisect_right(sealed, segment.start, key=lambda one: one.end)
        for one in sealed[first : bisect_left(sealed, segment.end, key=lambda one: one.start)]:
            known = min(at, epoch_micros(one.as_of, "as_of") / 1e6)
            if at <= latest:
                found.append((one.segment.intersect(segment), known))
    return found


def _since(gaps: Sequence[Gap], dated: Sequence[tuple[Segment, float]]) -> list[ReleasedGap]:
    """Gaps of an artifact, with when each part was put in force as far as that is known."""
    found = [
        ReleasedGap(Gap(*part, gap.reason), since)
        for gap in gaps
        for segment, since in dated
        if not (part := gap.segment.intersect(segment)).is_empty
    ]
    held = [segment for segment, _ in dated]
    return found + [
        ReleasedGap(Gap(*part, gap.reason)) for gap in gaps for part in outside(gap.segment, held)
    ]


async def ledger(ports: Ports, node: NodeId, window: Segment) -> list[Fact]:
    """The ledger's facts that touch `window`, oldest first."""
    return facts_of(await ports.hot.load_facts(node, window))


async def evict(ports: Ports, nodes: Sequence[NodeId]) -> int:
    """Drop hot bars that released artifacts hold and that are past their time; the bars dropped.

    How old bars are is judged by the earlier of our clock and the exchange's. Raises `StoreError`, and
    `ExchangeError` after all others where an exchange cannot be asked; its bars stay.
    """
    aged: dict[NodeId, list[Evictable]] = {}
    unasked: ExchangeError | None = None
    for node in nodes:
        try:
            if parts := await _evictable(ports, node):
                aged[node] = parts
        except ExchangeError as error:
            unasked = unasked or error
    dropped = await ports.hot.evict(aged, ports.clock.now())
    if unasked is not None:
        raise unasked
    return dropped


async def _evictable(ports: Ports, node: NodeId) -> list[Evictable]:
    """The aged parts of released artifacts whose hot bars are all in them; none where no bar is held."""
    snapshot = await ports.artifacts.load_snapshot(node)
    aged = _aged(ports, node, snapshot, ports.clock.now())
    if not aged:
        return []
    aged = _aged(ports, node, snapshot, await settled_now(ports, node))
    bounds = [at for parts in aged.values() for part in parts for at in part]
    if not bounds:
        return []
    opens = await ports.hot.load_opens(node, Segment(min(bounds), max(bounds)))
    if not len(opens):
        return []
    evictable = [await _held_elsewhere(ports, node, ref, parts, opens) for ref, parts in aged.items()]
    return [part for parts in evictable for part in parts]


def _aged(ports: Ports, node: NodeId, snapshot: Snapshot, now: float) -> dict[ArtifactRef, list[Segment]]:
    """What of each artifact in force is past its time in the hot store at `now`."""
    keep = ports.policy.keep_days[ports.policy.partition_unit(node.timeframe)]
    aged = {ref: aged_parts(node.timeframe, ref.segment, now, keep) for ref in snapshot.artifacts}
    return {ref: parts for ref, parts in aged.items() if parts}


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


async def _released_over_holes(
    ports: Ports, node: NodeId, window: Segment, opens: np.ndarray
) -> _Released | None:
    """What is released over holes of the sorted `opens` of a window; None where there is no hole."""
    bounds = window.whole_bars(node.timeframe.grid)
    low, high = np.searchsorted(opens, bounds)
    empty = holes(node.timeframe, bounds, opens[low:high])
    if not empty:
        return None
    snapshot = await ports.artifacts.load_snapshot(node)
    found = [
        (ref, part)
        for ref, part in await _holding(ports, node, snapshot, window)
        if any(not hole.intersect(part).is_empty for hole in empty)
    ]
    manifests = await gather(ports.artifacts.load_manifest(node, ref) for ref, _ in found)
    return _Released(snapshot, tuple(found), tuple(manifests))


async def _holding(
    ports: Ports, node: NodeId, snapshot: Snapshot, window: Segment
) -> list[tuple[ArtifactRef, Segment]]:
    """Artifacts that answer for `window`: those in force, each with its part.

    Where bars were evicted that none in force holds any more, it is the newest in the log that did: what
    was withdrawn is not in force, but it is not forgotten either.
    """
    in_force = snapshot.overlapping(window)
    found = [(ref, ref.segment.intersect(window)) for ref in in_force]
    held = [ref.segment for ref in in_force]
    evicted = await ports.hot.load_evictions(node, window)
    left = [part for segment in evicted for part in outside(segment.intersect(window), held)]
    log = await ports.artifacts.list_releases(node) if left else []
    for ref in (ref for entry in reversed(log) for ref in entry.added):
        parts = [ref.segment.intersect(part) for part in left]
        found += [(ref, part) for part in parts if not part.is_empty]
        left = [rest for part in left for rest in outside(part, [ref.segment])]
    return found
