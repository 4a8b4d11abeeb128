"""What a materialization shows in the UI: the manifest, counts, and pictures."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from dagster import MetadataValue

from seamless_assets.core.instant import seconds_text
from seamless_assets.core.node import NodeId
from seamless_assets.defs.pictures import candles_picture, coverage_picture
from seamless_assets.flows.materialize import PartitionReport
from seamless_assets.flows.publish import total_coverage
from seamless_assets.seamless import Seamless


def partition_metadata(report: PartitionReport) -> dict[str, Any]:
    """Facts of one released partition: fingerprint, counts, uri."""
    if report.sealed is None:
        raise ValueError(f"partition {report.partition.key} holds nothing settled")
    coverage = report.coverage
    return {
        "dagster/uri": report.sealed.artifact_uri,
        "dagster/partition_row_count": report.sealed.ref.rows,
        "fingerprint": report.sealed.ref.fingerprint,
        "coverage": round(coverage.ratio, 6),
        "absent_bars": coverage.absent,
        "missing_bars": coverage.missing,
        "manifest_uri": report.sealed.manifest_uri,
    }


def node_metadata(pipeline: Seamless, node: NodeId, released: Sequence[PartitionReport]) -> dict[str, Any]:
    """All that a node's materialization shows, over the partitions it released."""
    coverage = total_coverage([report.coverage for report in released])
    last = released[-1]
    bars = pipeline.read(node, released[0].partition.window.start, _sealed_end(last)).to_arrow()
    facts = {
        **partition_metadata(last),
        "dagster/partition_row_count": coverage.present,
        "coverage": round(coverage.ratio, 6),
        "absent_bars": coverage.absent,
        "missing_bars": coverage.missing,
        "node_id": str(node),
        "partitions": len(released),
        "range": f"{seconds_text(released[0].partition.window.start)} to {seconds_text(_sealed_end(last))}",
        "as_of": last.as_of,
        "dataset_fingerprint": last.dataset_fingerprint,
        "manifest": MetadataValue.json(json.loads(pipeline.manifest(node, last.sealed.ref).to_json()))
        if last.sealed
        else None,
    }
    title = f"{node}"
    pictures = {
        "candles": MetadataValue.md(candles_picture(bars, title)),
        "coverage_strip": MetadataValue.md(
            coverage_picture(coverage, released[0].partition.window.start, _sealed_end(last))
        ),
    }
    return {**facts, **pictures}


def _sealed_end(report: PartitionReport) -> int:
    return report.sealed.ref.end if report.sealed else report.partition.window.start
