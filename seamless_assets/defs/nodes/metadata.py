"""What the page of a materialized partition shows: its manifest, counts, and pictures.

A name has one value on a page: `as_of` and `dataset_fingerprint` are those of the release, so the manifest's
own are shown as `first_published` and `artifact_fingerprint`.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlencode

from dagster import MetadataValue

from seamless_assets.aio.late_imports import late_imports
from seamless_assets.core.calendar.instant import seconds_text
from seamless_assets.core.calendar.partition import Partition
from seamless_assets.core.coverage.coverage import Coverage
from seamless_assets.core.node import NodeId
from seamless_assets.core.reading.context import ComputeContext
from seamless_assets.core.releases.artifact import ArtifactRef, Manifest
from seamless_assets.core.releases.release import Release
from seamless_assets.flows.releasing.materialize import PartitionReport
from seamless_assets.flows.releasing.publish import Sealed
from seamless_assets.pipeline.connect import Seamless

SHOWN_AS = {"dataset_fingerprint": "artifact_fingerprint", "as_of": "first_published"}


def corrections_of(pipeline: Seamless, node: NodeId) -> list[Release]:
    """The releases of a node that changed released bars, in their order; the pages of a run share them."""
    return [entry for entry in pipeline.releases(node) if entry.revisions]


def partition_metadata(
    pipeline: Seamless,
    node: NodeId,
    report: PartitionReport,
    corrections: Sequence[Release],
    *,
    is_pictured: bool,
) -> dict[str, Any]:
    """All that the page of a released partition shows; pictures first, where it has any."""
    sealed = report.sealed
    if sealed is None:
        raise ValueError(f"partition {report.partition.key} of {node} holds nothing settled")
    preview = sealed.preview_fingerprint
    dataset = (str(report.as_of), str(report.dataset_fingerprint))
    return {
        **(_pictures(pipeline, node, report, sealed) if is_pictured else {}),
        **artifact_metadata(
            pipeline, node, sealed.ref, report.partition, report.coverage, dataset, corrections
        ),
        **({"preview_fingerprint": preview} if preview else {}),
    }


def artifact_metadata(
    pipeline: Seamless,
    node: NodeId,
    ref: ArtifactRef,
    partition: Partition,
    coverage: Coverage,
    dataset: tuple[str, str],
    corrections: Sequence[Release],
) -> dict[str, Any]:
    """What is known of the artifact of a partition; `dataset` is the release's `as_of` and fingerprint.

    `corrections` are those of the node, in their order; later ones than the release are none of its page.
    """
    store, manifest = pipeline.aio.ports.artifacts, pipeline.manifest(node, ref)
    return {
        "dagster/uri": store.file_uri(node, ref.file_path),
        "dagster/partition_row_count": coverage.present,
        **coverage_metadata(coverage),
        **_absences(node, coverage),
        **_last_revision(corrections, partition, dataset[0]),
        **({"volume_counts": str(manifest.volume)} if manifest.volume else {}),
        "node_id": str(node),
        "as_of": dataset[0],
        "dataset_fingerprint": dataset[1],
        "artifact_fingerprint": ref.fingerprint,
        "manifest_uri": store.file_uri(node, ref.manifest_path),
        "window": f"{seconds_text(ref.start)} to {seconds_text(ref.end)}",
        **_settled(pipeline, partition, ref),
        **_manifest_link(pipeline, node, ref, dataset[0]),
        "manifest": MetadataValue.json(_renamed(manifest)),
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


def _absences(node: NodeId, coverage: Coverage) -> dict[str, Any]:
    """Bars that are not there, by reason; nothing where all are."""
    counts = Counter[str]()
    for gap in coverage.gaps:
        counts[gap.reason] += node.timeframe.count(gap.start, gap.end)
    told = ", ".join(f"{count} {reason}" for reason, count in counts.most_common())
    return {"not_there": told} if told else {}


def _last_revision(corrections: Sequence[Release], partition: Partition, as_of: str) -> dict[str, Any]:
    """What the last correction of a partition by `as_of` changed in it; nothing where none did."""
    found = (
        (entry.as_of, change)
        for entry in reversed(corrections)
        if entry.as_of <= as_of
        for change in entry.revisions
        if change.partition == partition.key
    )
    corrected_at, change = next(found, (None, None))
    if change is None:
        return {}
    first = f", the first at {seconds_text(change.examples[0])}" if change.examples else ""
    counts = f"{change.changed} bars changed, {change.added} added, {change.removed} removed"
    return {"last_revision": f"{corrected_at}: {counts}{first}"}


def _manifest_link(pipeline: Seamless, node: NodeId, ref: ArtifactRef, as_of: str) -> dict[str, Any]:
    """The manifest at the service, where browsers reach one."""
    service = pipeline.settings.service.public_url
    if service is None:
        return {}
    asked = {"node": str(node), "partition": ref.partition, "fingerprint": ref.fingerprint, "as_of": as_of}
    url = f"{str(service).rstrip('/')}/v1/manifests?{urlencode(asked)}"
    return {"manifest_at_service": MetadataValue.url(url)}


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


def _renamed(manifest: Manifest) -> dict[str, Any]:
    written: dict[str, Any] = json.loads(manifest.to_json())
    return {SHOWN_AS.get(name, name): value for name, value in written.items()}
