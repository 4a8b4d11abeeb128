"""What the page of a materialized partition shows: its manifest, counts, and pictures.

A name has one value on a page: `as_of` and `dataset_fingerprint` are those of the release, so the manifest's
own are shown as `first_published` and `artifact_fingerprint`.
"""

from __future__ import annotations

import json
from typing import Any

from dagster import MetadataValue

from seamless_assets.aio.late_imports import late_imports
from seamless_assets.core.calendar.instant import seconds_text
from seamless_assets.core.calendar.partition import Partition
from seamless_assets.core.coverage.coverage import Coverage
from seamless_assets.core.node import NodeId
from seamless_assets.core.reading.context import ComputeContext
from seamless_assets.core.releases.artifact import ArtifactRef
from seamless_assets.flows.releasing.materialize import PartitionReport
from seamless_assets.flows.releasing.publish import Sealed
from seamless_assets.pipeline.connect import Seamless

SHOWN_AS = {"dataset_fingerprint": "artifact_fingerprint", "as_of": "first_published"}


def partition_metadata(
    pipeline: Seamless, node: NodeId, report: PartitionReport, *, is_pictured: bool
) -> dict[str, Any]:
    """All that the page of a released partition shows; pictures first, where it has any."""
    sealed = report.sealed
    if sealed is None:
        raise ValueError(f"partition {report.partition.key} of {node} holds nothing settled")
    preview = sealed.preview_fingerprint
    dataset = (str(report.as_of), str(report.dataset_fingerprint))
    return {
        **(_pictures(pipeline, node, report, sealed) if is_pictured else {}),
        **artifact_metadata(pipeline, node, sealed.ref, report.partition, report.coverage, dataset),
        **({"preview_fingerprint": preview} if preview else {}),
    }


def artifact_metadata(
    pipeline: Seamless,
    node: NodeId,
    ref: ArtifactRef,
    partition: Partition,
    coverage: Coverage,
    dataset: tuple[str, str],
) -> dict[str, Any]:
    """What is known of the artifact of a partition; `dataset` is the release's `as_of` and fingerprint."""
    store = pipeline.aio.ports.artifacts
    return {
        "dagster/uri": store.file_uri(node, ref.file_path),
        "dagster/partition_row_count": coverage.present,
        **coverage_metadata(coverage),
        "node_id": str(node),
        "as_of": dataset[0],
        "dataset_fingerprint": dataset[1],
        "artifact_fingerprint": ref.fingerprint,
        "manifest_uri": store.file_uri(node, ref.manifest_path),
        "window": f"{seconds_text(ref.start)} to {seconds_text(ref.end)}",
        **_settled(pipeline, partition, ref),
        "manifest": MetadataValue.json(_manifest(pipeline, node, ref)),
    }


def coverage_metadata(coverage: Coverage) -> dict[str, Any]:
    """Counts of bars, which the UI plots over time."""
    return {
        "coverage": round(coverage.ratio, 6),
        "held": round(coverage.held_ratio, 6),
        "absent_bars": coverage.absent,
        "retention_bars": coverage.retention,
        "declared_bars": coverage.declared,
        "missing_bars": coverage.missing,
    }


def _settled(pipeline: Seamless, partition: Partition, ref: ArtifactRef) -> dict[str, Any]:
    """How far a partition is settled; of one that is not over yet, how long ago that was (seconds)."""
    end = ref.end
    if end >= partition.window.end:
        return {"is_over": True}
    lag = round(pipeline.aio.ports.clock.now() - end)
    return {"is_over": False, "settled_until": MetadataValue.timestamp(float(end)), "lag_seconds": lag}


def _pictures(pipeline: Seamless, node: NodeId, report: PartitionReport, sealed: Sealed) -> dict[str, Any]:
    # Matplotlib is for runs that draw, and not for each process that loads the definitions.
    with late_imports("matplotlib"):
        from seamless_assets.defs.nodes.pictures import candles_picture, coverage_picture

    start, end = sealed.ref.segment
    read = pipeline.read(node, start, end, context=ComputeContext(as_of=report.as_of))
    return {
        "candles": MetadataValue.md(candles_picture(read.to_arrow(), f"{node}, {report.partition.key}")),
        "coverage_strip": MetadataValue.md(coverage_picture(report.coverage, start, end)),
    }


def _manifest(pipeline: Seamless, node: NodeId, ref: ArtifactRef) -> dict[str, Any]:
    written: dict[str, Any] = json.loads(pipeline.manifest(node, ref).to_json())
    return {SHOWN_AS.get(name, name): value for name, value in written.items()}
