"""Compact: many small artifacts become few large ones that hold the same bars, as an ordinary release."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from seamless_assets.core.bars.volume import VolumeUnit
from seamless_assets.core.calendar.partition import UNITS, PartitionUnit
from seamless_assets.core.calendar.segment import Segment
from seamless_assets.core.node import NodeId
from seamless_assets.core.releases.artifact import (
    ArtifactRef,
    aliases_record,
    archives_record,
    declared_record,
    imports_record,
    sealed_record,
    trades_record,
)
from seamless_assets.core.releases.release import Release
from seamless_assets.core.releases.snapshot import Snapshot, next_release
from seamless_assets.core.releases.supersession import COMPACTED, compactable
from seamless_assets.errors import ArtifactDiscarded
from seamless_assets.flows.filling.history import sealed_ranges
from seamless_assets.flows.ports import Ports
from seamless_assets.flows.releasing.commit import commit, instant_micros, refuse_discarded
from seamless_assets.flows.releasing.sealing import sealed_artifact


@dataclass(frozen=True, slots=True)
class CompactReport:
    """What a compaction did: artifacts in force before and after, and the newest release."""

    node_id: str
    before: int
    after: int
    release: Release | None


@dataclass(frozen=True, slots=True)
class _Merged:
    ref: ArtifactRef
    parts: tuple[ArtifactRef, ...]


async def compact(ports: Ports, node: NodeId, unit: PartitionUnit | None = None) -> CompactReport:
    """Merge the artifacts of each closed `unit` (by default the next above the node's partitions) into one.

    Every earlier `as_of` reads as before, and the merged artifact's fingerprint is that of its parts' bars
    together, which `verify` proves anew. Nothing to merge changes nothing.
    """
    chosen = unit or _above(ports.policy.partition_unit(node.timeframe))
    before = await ports.artifacts.load_snapshot(node)
    while True:
        try:
            release = await _compact(ports, node, chosen)
        except ArtifactDiscarded:
            continue
        break
    after = await ports.artifacts.load_snapshot(node)
    return CompactReport(str(node), len(before.artifacts), len(after.artifacts), release)


async def _compact(ports: Ports, node: NodeId, unit: PartitionUnit) -> Release | None:
    snapshot = await ports.artifacts.load_snapshot(node)
    runs = compactable(snapshot, node.timeframe, unit)
    merged = [await _merge(ports, node, key, parts, snapshot) for key, parts in runs]

    async def plan(before: Snapshot) -> Release | None:
        in_force = set(before.artifacts)
        whole = [item for item in merged if item is not None and in_force.issuperset(item.parts)]
        if not whole:
            return None
        refuse_discarded(node, before, [item.ref for item in whole])
        parts = [part for item in whole for part in item.parts]
        return next_release(
            before,
            added=[item.ref for item in whole],
            withdrawn=parts,
            now_micros=await instant_micros(ports, node),
            checks={},
            reason=f"{len(parts)} artifacts merged into {len(whole)}",
            kind="compaction",
        )

    return await commit(ports, node, plan)


async def _merge(
    ports: Ports, node: NodeId, partition: str, parts: Sequence[ArtifactRef], snapshot: Snapshot
) -> _Merged | None:
    """Seal the bars of adjoining artifacts as one; None where they were conformed by different versions."""
    manifests = [await ports.artifacts.load_manifest(node, part) for part in parts]
    version = manifests[0].conformance_version
    if any(manifest.conformance_version != version for manifest in manifests):
        return None
    scan = await ports.artifacts.load_scan(node, parts)
    sealed = [
        await sealed_ranges(ports, node, snapshot, part, manifest)
        for part, manifest in zip(parts, manifests, strict=True)
    ]
    artifact = await sealed_artifact(
        ports,
        node,
        scan.bars,
        partition=partition,
        window=Segment(parts[0].start, parts[-1].end),
        gaps=scan.gaps,
        flags=scan.flags,
        watermark=max(manifest.publication_watermark for manifest in manifests),
        after=snapshot.release,
        conformance_version=version,
        volume=_common([manifest.volume for manifest in manifests]),
        decisions={
            COMPACTED: [part.fingerprint for part in parts],
            **declared_record(one for manifest in manifests for one in manifest.declared),
            **imports_record(one for manifest in manifests for one in manifest.imports),
            **trades_record(one for manifest in manifests for one in manifest.from_trades),
            **archives_record(
                [one for manifest in manifests for one in manifest.from_archives],
                [one for manifest in manifests for one in manifest.archive_differences],
            ),
            **sealed_record(one for ranges in sealed for one in ranges),
            **aliases_record(one for manifest in manifests for one in manifest.aliases),
        },
    )
    return _Merged(await ports.artifacts.put_artifact(artifact, snapshot.discarded), tuple(parts))


def _common(units: Sequence[VolumeUnit | None]) -> VolumeUnit | None:
    return units[0] if all(unit == units[0] for unit in units) else None


def _above(unit: PartitionUnit) -> PartitionUnit:
    return UNITS[min(UNITS.index(unit) + 1, len(UNITS) - 1)]
