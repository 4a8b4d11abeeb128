"""Publish: seal what is settled as artifacts, and release them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from seamless_assets.core.artifact import ArtifactRef, Manifest, SealedArtifact
from seamless_assets.core.bars import COLUMNS, between, timestamps
from seamless_assets.core.canonical import sha256_text
from seamless_assets.core.conformance import conform
from seamless_assets.core.coverage import MISSING, Coverage, Gap, coverage_of
from seamless_assets.core.fingerprint import fingerprint
from seamless_assets.core.instant import instant_text
from seamless_assets.core.node import NodeId
from seamless_assets.core.parquet import encode_bars
from seamless_assets.core.partition import Partition
from seamless_assets.core.release import Release, Revision, Snapshot, next_release, snapshot_at
from seamless_assets.core.watermark import settled, watermark
from seamless_assets.errors import NothingReleased, ReleaseConflict
from seamless_assets.flows.history import known_bars, proven_gaps
from seamless_assets.flows.ports import Ports

REVISION_EXAMPLES = 10


@dataclass(frozen=True, slots=True)
class Sealed:
    """A stored artifact with what the checks need to know of it."""

    ref: ArtifactRef
    coverage: Coverage
    flags: Mapping[str, int]
    blocking: tuple[str, ...]
    manifest_uri: str
    artifact_uri: str


async def seal(
    ports: Ports, node: NodeId, partition: Partition, now: float, flags: Mapping[str, int] | None = None
) -> Sealed | None:
    """Seal the settled bars of a partition as they are known; None where nothing is settled yet.

    `flags` are conformance flags of the fetch that filled the hot store. The same content again finds
    the artifact that is there.
    """
    window = settled(partition.window, node.timeframe, now, ports.policy.stabilization_bars)
    if window.is_empty:
        return None
    stored = await known_bars(ports, node, window)
    bars, report = conform(stored, node.timeframe, severities=ports.policy.severities)
    known = coverage_of(node.timeframe, window, timestamps(bars), await proven_gaps(ports, node, window))
    all_flags = {**(flags or {}), **report.flags}
    payload = encode_bars(bars, ports.policy.compression)
    manifest = Manifest(
        node_id=str(node),
        interval=node.timeframe.seconds or str(node.timeframe),
        partition=partition.key,
        start=window.start,
        end=window.end,
        rows=bars.num_rows,
        dataset_fingerprint=fingerprint(
            bars, node_id=node, interval=node.timeframe, conformance_version=ports.policy.conformance_version
        ),
        file_sha256=sha256_text(payload),
        file_bytes=len(payload),
        conformance_version=ports.policy.conformance_version,
        conformance_flags=all_flags,
        absent=tuple(gap for gap in known.gaps if gap.reason != MISSING),
        missing=known.missing_gaps,
        producer=ports.policy.producer,
        exchange=node.exchange,
        policy=ports.policy.as_record(),
        publication_watermark=watermark(node.timeframe, now, ports.policy.stabilization_bars),
        as_of=instant_text(int(ports.clock.now() * 1_000_000)),
    )
    ref = await ports.artifacts.put_artifact(SealedArtifact(node, manifest, payload))
    return Sealed(
        ref=ref,
        coverage=known,
        flags=all_flags,
        blocking=report.blocking,
        manifest_uri=ports.artifacts.manifest_uri(node, ref),
        artifact_uri=ports.artifacts.artifact_uri(node, ref),
    )


async def release(
    ports: Ports, node: NodeId, refs: Sequence[ArtifactRef], checks: Mapping[str, bool], reason: str
) -> Release | None:
    """Put `refs` in force with one record of the log; what is in force already changes nothing.

    Returns the release that holds them (None where there is nothing to hold). Another process that
    writes the same place of the log first is waited out by reading the log again.
    """
    while True:
        before = snapshot_at(str(node), await ports.artifacts.list_releases(node))
        added = [ref for ref in refs if not _is_held(before, ref)]
        if not added:
            return before.release
        withdrawn = [old for ref in added for old in before.find(ref.partition)]
        entry = next_release(
            before,
            added=added,
            withdrawn=withdrawn,
            now_micros=int(ports.clock.now() * 1_000_000),
            checks=checks,
            reason=reason,
            revisions=await _revisions(ports, node, before, added),
        )
        try:
            await ports.artifacts.append_release(node, entry)
        except ReleaseConflict:
            continue
        return entry


async def release_by_hand(ports: Ports, node: NodeId, reason: str) -> Release:
    """Release the newest artifact of every partition, whatever its checks said.

    Raises `NothingReleased` where nothing was ever published.
    """
    stored = await ports.artifacts.list_artifacts(node)
    newest = {manifest.partition: ref for ref, manifest in sorted(stored, key=lambda item: item[1].as_of)}
    entry = await release(ports, node, list(newest.values()), {}, reason)
    if entry is None:
        raise NothingReleased(f"{node} has no artifact; publish or materialize it first", node_id=str(node))
    return entry


def _is_held(before: Snapshot, ref: ArtifactRef) -> bool:
    """Whether it is in force, or an artifact that reaches further is (ours is then out of date)."""
    return any(
        held.manifest_sha256 == ref.manifest_sha256 or (held.start <= ref.start and held.end > ref.end)
        for held in before.find(ref.partition)
    )


async def _revisions(
    ports: Ports, node: NodeId, before: Snapshot, added: Sequence[ArtifactRef]
) -> list[Revision]:
    revisions = []
    for ref in added:
        for old in before.find(ref.partition):
            if old.fingerprint == ref.fingerprint:
                continue
            revision = _revision(
                old,
                await ports.artifacts.load_artifact(node, old),
                await ports.artifacts.load_artifact(node, ref),
            )
            if revision.added or revision.removed or revision.changed:
                revisions.append(revision)
    return revisions


def _revision(old: ArtifactRef, before: pa.Table, after: pa.Table) -> Revision:
    """What changed of the range that both hold; growth at the end is no revision."""
    after = between(after, *old.segment)
    ts_before, ts_after = timestamps(before), timestamps(after)
    both, at_before, at_after = np.intersect1d(ts_before, ts_after, return_indices=True)
    differs = np.zeros(len(both), dtype=bool)
    for name in COLUMNS[1:]:
        differs |= before[name].to_numpy()[at_before] != after[name].to_numpy()[at_after]
    changed = both[differs]
    new, gone = np.setdiff1d(ts_after, ts_before), np.setdiff1d(ts_before, ts_after)
    examples = np.sort(np.concatenate((new, gone, changed)))[:REVISION_EXAMPLES]
    return Revision(old.partition, len(new), len(gone), len(changed), tuple(int(ts) for ts in examples))


def total_coverage(parts: Sequence[Coverage]) -> Coverage:
    """Coverage of adjoining windows as one, ascending."""
    gaps: list[Gap] = []
    for gap in (gap for part in parts for gap in part.gaps):
        if gaps and gaps[-1].end == gap.start and gaps[-1].reason == gap.reason:
            gaps[-1] = Gap(gaps[-1].start, gap.end, gap.reason)
        else:
            gaps.append(gap)
    return Coverage(
        expected=sum(part.expected for part in parts),
        present=sum(part.present for part in parts),
        absent=sum(part.absent for part in parts),
        missing=sum(part.missing for part in parts),
        gaps=tuple(gaps),
    )
