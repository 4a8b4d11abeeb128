"""What a step tells Dagster of its nodes: materializations and check results."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from dagster import (
    AssetCheckResult,
    AssetExecutionContext,
    AssetKey,
    AssetMaterialization,
    DataVersion,
    MaterializeResult,
)
from dagster._core.definitions.data_version import (
    CODE_VERSION_TAG,
    DATA_VERSION_IS_USER_PROVIDED_TAG,
    DATA_VERSION_TAG,
)
from dagster._core.storage.tags import SENSOR_NAME_TAG

from seamless_assets.core.node import NodeId
from seamless_assets.defs.nodes.checks import (
    judge_fresh,
    judge_held,
    judge_just_asked,
    judge_publishable,
    judge_settled,
)
from seamless_assets.defs.nodes.metadata import corrections_of, partition_metadata
from seamless_assets.defs.nodes.step import NodeOutcome
from seamless_assets.flows.releasing.materialize import PartitionReport
from seamless_assets.flows.releasing.publish import total_coverage
from seamless_assets.pipeline.connect import Seamless

MAX_PICTURED = 60
"""Partitions that show pictures, in one step: drawing them takes a tenth of a second each, and 10 KB."""


def progress(node: NodeId, report: PartitionReport) -> str:
    """What became of a partition, in one line for the log."""
    state = "released" if report.released else "not released"
    problems = "".join(f"; {problem}" for problem in report.problems)
    return f"{node} {report.partition.key}: {state}, {report.coverage.counts}{problems}"


def _is_over(report: PartitionReport) -> bool:
    return report.sealed is not None and report.sealed.ref.end >= report.partition.window.end


class NodeEvents:
    """Tells of one node after the other, of those that a step runs, `nodes` in number."""

    def __init__(self, context: AssetExecutionContext, pipeline: Seamless, nodes: int) -> None:
        self._context, self._pipeline = context, pipeline
        self._pictured = max(1, MAX_PICTURED // max(1, nodes))
        # A sensor asks for the running partition all day long, and each event keeps its pictures for ever.
        self._is_watched = SENSOR_NAME_TAG not in context.run.tags

    def of_node(
        self, key: AssetKey, outcome: NodeOutcome
    ) -> Iterator[MaterializeResult[Any] | AssetCheckResult]:
        """The checks of a node, and its materialization where all partitions are released.

        Where some are not, those that are get events of their own, and nothing is yielded that assets made
        of it would wait for. Where the exchange gave no answer there is nothing to check.
        """
        if outcome.away is None:
            coverage = total_coverage([report.coverage for report in outcome.reports])
            yield judge_publishable(key, outcome.passed, coverage, outcome.problems)
            yield judge_held(self._pipeline, key, coverage)
            yield judge_settled(self._pipeline, key, outcome.node)
            yield judge_fresh(self._pipeline, key, outcome.node)
        if outcome.is_complete:
            if outcome.node not in self._pipeline.settings.recipes:
                yield judge_just_asked(key, outcome.reports)
            yield self._materialization(key, outcome)
            return
        for report, metadata in self._pages(outcome):
            self._context.log_event(self._event(key, report, metadata))
        left = [report.partition.key for report in outcome.reports if not report.released]
        is_told = outcome.reports and not left
        said = "not all was answered" if is_told else f"not materialized: {', '.join(left) or 'all'}"
        self._context.log.warning(f"{outcome.node}: {said}; {'; '.join(outcome.problems)}")

    def _materialization(self, key: AssetKey, outcome: NodeOutcome) -> MaterializeResult[Any]:
        pages = list(self._pages(outcome))
        version = DataVersion(str(outcome.released[-1].dataset_fingerprint))
        if len(pages) == 1:
            return MaterializeResult(asset_key=key, metadata=pages[0][1], data_version=version)
        for report, metadata in pages:
            self._context.add_asset_metadata(metadata, asset_key=key, partition_key=report.partition.key)
        # What stands here would stand on every page.
        return MaterializeResult(asset_key=key, data_version=version)

    def _pages(self, outcome: NodeOutcome) -> Iterator[tuple[PartitionReport, dict[str, Any]]]:
        released, corrections = outcome.released, corrections_of(self._pipeline, outcome.node)
        for left, report in zip(range(len(released), 0, -1), released, strict=True):
            is_pictured = left <= self._pictured and (self._is_watched or _is_over(report))
            yield (
                report,
                partition_metadata(
                    self._pipeline, outcome.node, report, corrections, is_pictured=is_pictured
                ),
            )

    def _event(
        self, key: AssetKey, report: PartitionReport, metadata: dict[str, Any]
    ) -> AssetMaterialization:
        versions = {
            CODE_VERSION_TAG: str(self._context.assets_def.code_versions_by_key[key]),
            DATA_VERSION_TAG: str(report.dataset_fingerprint),
            DATA_VERSION_IS_USER_PROVIDED_TAG: "true",
        }
        return AssetMaterialization(key, partition=report.partition.key, metadata=metadata, tags=versions)
