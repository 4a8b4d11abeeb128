"""What a step tells Dagster of its nodes: materializations and check results."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from dagster import (
    AssetCheckResult,
    AssetCheckSeverity,
    AssetExecutionContext,
    AssetKey,
    DataVersion,
    MaterializeResult,
)

from seamless_assets.core.bars.table import timestamps
from seamless_assets.core.coverage.coverage import Coverage, coverage_of
from seamless_assets.core.node import NodeId
from seamless_assets.defs.metadata import coverage_metadata, node_metadata, partition_metadata
from seamless_assets.defs.names import CHECK
from seamless_assets.defs.step import NodeOutcome
from seamless_assets.errors import ReadRefused, StoreError
from seamless_assets.flows.releasing.materialize import PartitionReport
from seamless_assets.flows.releasing.publish import total_coverage
from seamless_assets.pipeline.connect import Seamless


def progress(node: NodeId, report: PartitionReport) -> str:
    """What became of a partition, in one line for the log."""
    state = "released" if report.released else "not released"
    counts = report.coverage
    return (
        f"{node} {report.partition.key}: {state}, {counts.present} bars, {counts.absent} absent, "
        f"{counts.missing} missing{''.join(f'; {problem}' for problem in report.problems)}"
    )


def node_results(
    context: AssetExecutionContext, pipeline: Seamless, key: AssetKey, outcome: NodeOutcome
) -> Iterator[MaterializeResult[Any] | AssetCheckResult]:
    """The check of a node, and its materialization where it passed."""
    coverage = total_coverage([report.coverage for report in outcome.reports])
    yield _check_result(key, outcome.passed, coverage, outcome.problems)
    if not outcome.passed or not outcome.released:
        context.log.warning(f"{outcome.node}: nothing is materialized: {'; '.join(outcome.problems)}")
        return
    if len(outcome.reports) > 1:
        for report in outcome.released:
            context.add_asset_metadata(
                partition_metadata(report), asset_key=key, partition_key=report.partition.key
            )
    yield MaterializeResult(
        asset_key=key,
        metadata=node_metadata(pipeline, outcome.node, outcome.released),
        data_version=DataVersion(str(outcome.released[-1].dataset_fingerprint)),
    )


def check_released(pipeline: Seamless, key: AssetKey, node: NodeId) -> AssetCheckResult:
    """The check asked for alone: it judges what is released, every byte of it verified on the way."""
    try:
        window = pipeline.released_window(node)
        read = pipeline.read(node, *window)
    except (ReadRefused, StoreError) as error:
        return _check_result(key, False, total_coverage([]), [str(error)])
    coverage = coverage_of(node.timeframe, window, timestamps(read.to_arrow()), read.metadata.gaps)
    threshold = pipeline.settings.seamless.observability.coverage_ratio_threshold
    problems = [] if coverage.ratio >= threshold else [f"coverage {coverage.ratio:.4f} is below {threshold}"]
    return _check_result(key, not problems, coverage, problems)


def _check_result(
    key: AssetKey, passed: bool, coverage: Coverage, problems: Sequence[str]
) -> AssetCheckResult:
    return AssetCheckResult(
        asset_key=key,
        check_name=CHECK,
        passed=passed,
        severity=AssetCheckSeverity.ERROR,
        description="; ".join(problems) or "all bars conform and are accounted for",
        metadata=coverage_metadata(coverage),
    )
