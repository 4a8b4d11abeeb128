"""What a release of a person is to Dagster: a materialization of each partition it changed, and a check."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from dagster import AssetCheckEvaluation, AssetCheckSeverity, AssetKey, AssetMaterialization
from dagster._core.definitions.data_version import DATA_VERSION_IS_USER_PROVIDED_TAG, DATA_VERSION_TAG

from seamless_assets.core.calendar.partition import Partition, PartitionUnit, partitions
from seamless_assets.core.node import NodeId
from seamless_assets.core.releases.artifact import ArtifactRef
from seamless_assets.core.releases.gate import manifest_coverage, overridden_checks
from seamless_assets.core.releases.release import Release
from seamless_assets.defs.names import PUBLISHABLE
from seamless_assets.defs.nodes.metadata import artifact_metadata, corrections_of
from seamless_assets.pipeline.connect import Seamless

WORDS = {
    "by_hand": "released by hand",
    "rollback": "rolled back",
    "withdrawal": "withdrawn",
    "import": "imported",
}


def events_of(
    pipeline: Seamless, key: AssetKey, node: NodeId, entry: Release, unit: PartitionUnit | None = None
) -> Iterator[AssetMaterialization | AssetCheckEvaluation]:
    """The events of a release by hand or an import: a page for each partition it changed, then the check.

    `unit` is that of the asset's partitions, where it is not the one of the settings.
    None where nothing was to be done: the newest record is then one that nobody made by hand.
    """
    if entry.kind not in WORDS:
        return
    changed = _changed(node, entry, unit or pipeline.settings.partition_unit(node.timeframe))
    in_force = pipeline.aio.portal.run(_in_force(pipeline, node, entry))
    gone, corrections = [], corrections_of(pipeline, node)
    for partition in changed:
        held = [ref for ref in in_force if not partition.window.intersect(ref.segment).is_empty]
        if not held:
            gone.append(partition.key)
        yield _materialization(pipeline, key, node, entry, partition, held, corrections)
    if changed:
        yield _check(key, entry, changed, gone)


async def _in_force(pipeline: Seamless, node: NodeId, entry: Release) -> Sequence[ArtifactRef]:
    return (await pipeline.aio.ports.artifacts.load_snapshot(node, entry.as_of)).artifacts


def _changed(node: NodeId, entry: Release, unit: PartitionUnit) -> list[Partition]:
    """The partitions whose artifacts a release put in force or took out, ascending."""
    found = {
        partition.key: partition
        for ref in (*entry.added, *entry.withdrawn)
        for partition in partitions(node.timeframe, unit, ref.segment)
    }
    return [found[partition] for partition in sorted(found)]


def _materialization(
    pipeline: Seamless,
    key: AssetKey,
    node: NodeId,
    entry: Release,
    partition: Partition,
    held: list[ArtifactRef],
    corrections: list[Release],
) -> AssetMaterialization:
    overridden = overridden_checks(entry.checks, partition.key) if entry.kind == "by_hand" else []
    shown: dict[str, Any] = {
        "release": entry.seq,
        "released": bool(held),
        "kind": WORDS[entry.kind],
        "reason": entry.reason,
        **({"overridden_checks": ", ".join(overridden)} if overridden else {}),
    }
    if held:
        ref = held[-1]
        # A compacted artifact holds more than its partition.
        coverage = manifest_coverage(pipeline.manifest(node, ref), partition.window)
        dataset = (entry.as_of, entry.dataset_fingerprint)
        shown.update(artifact_metadata(pipeline, node, ref, partition, coverage, dataset, corrections))
    else:
        shown.update(
            {"node_id": str(node), "as_of": entry.as_of, "dataset_fingerprint": entry.dataset_fingerprint}
        )
    return AssetMaterialization(
        key,
        partition=partition.key,
        description=f"{WORDS[entry.kind]}: {entry.reason}",
        metadata=shown,
        tags={DATA_VERSION_TAG: entry.dataset_fingerprint, DATA_VERSION_IS_USER_PROVIDED_TAG: "true"},
    )


def _check(key: AssetKey, entry: Release, changed: list[Partition], gone: list[str]) -> AssetCheckEvaluation:
    """Whether the changed partitions may be read; what a person overrode is told."""
    names = ", ".join(partition.key for partition in changed[:5])
    more = f" and {len(changed) - 5} more" if len(changed) > 5 else ""
    overridden = sorted(name for name, passed in entry.checks.items() if not passed)
    said = f"{names}{more} {WORDS[entry.kind]}: {entry.reason}"
    if overridden:
        said += f"; overrides {', '.join(overridden)}"
    if gone:
        said += "; readers find nothing of it: release it by hand to take that back"
    return AssetCheckEvaluation(
        check_name=PUBLISHABLE,
        passed=not gone,
        asset_key=key,
        severity=AssetCheckSeverity.WARN,
        description=said,
        blocking=True,
        metadata={
            "release": entry.seq,
            "as_of": entry.as_of,
            "dataset_fingerprint": entry.dataset_fingerprint,
            "reason": entry.reason,
        },
    )
