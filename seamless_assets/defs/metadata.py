"""What a materialization shows in the UI: the manifest, counts, and pictures."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from dagster import MetadataValue

from seamless_assets.core.calendar.instant import seconds_text
from seamless_assets.core.coverage.coverage import Coverage
from seamless_assets.core.node import NodeId
from seamless_assets.defs.pictures import candles_picture, coverage_picture
from seamless_assets.flows.releasing.materialize import PartitionReport
from seamless_assets.flows.releasing.publish import total_coverage
from seamless_assets.pipeline.connect import Seamless


def partition_metadata(report: PartitionReport) -> dict[str, Any]:
    """Facts of one released partition: fingerprint, counts, uri."""
    if report.sealed is None:
        raise ValueError(f"partition {report.partition.key} holds nothing settled")
    preview = report.sealed.preview_fingerprint
    return {
        "dagster/uri": report.sealed.artifact_uri,
        "dagster/partition_row_count": report.sealed.ref.rows,
        "fingerprint": report.sealed.ref.fingerprint,
        **coverage_metadata(report.coverage),
        "manifest_uri": report.sealed.manifest_uri,
        **({"preview_fingerprint": preview} if preview else {}),
    }


def coverage_metadata(coverage: Coverage) -> dict[str, Any]:
    """Counts of bars, which the UI plots over time."""
    return {
        "coverage": round(coverage.ratio, 6),
        "absent_bars": coverage.absent,
        "missing_bars": coverage.missing,
    }


def node_metadata(pipeline: Seamless, node: NodeId, released: Sequence[PartitionReport]) -> dict[str, Any]:
    """All that a node's materialization shows, over the partitions it released; pictures first."""
    coverage = total_coverage([report.coverage for report in released])
    last = released[-1]
    if last.sealed is None:
        raise ValueError(f"partition {last.partition.key} of {node} holds nothing settled")
    start, end = released[0].partition.window.start, last.sealed.ref.end
    bars = pipeline.read(node, start, end).to_arrow()
    manifest = json.loads(pipeline.manifest(node, last.sealed.ref).to_json())
    return {
        "candles": MetadataValue.md(candles_picture(bars, str(node))),
        "coverage_strip": MetadataValue.md(coverage_picture(coverage, start, end)),
        **partition_metadata(last),
        **coverage_metadata(coverage),
        "dagster/partition_row_count": coverage.present,
        "node_id": str(node),
        "partitions": len(released),
        "range": f"{seconds_text(start)} to {seconds_text(end)}",
        "as_of": last.as_of,
        "dataset_fingerprint": last.dataset_fingerprint,
        "manifest": MetadataValue.json(manifest),
    }
