"""The checks of a node: whether its bars may be released, and whether its newest partition is over."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from dagster import (
    AssetCheckKey,
    AssetCheckResult,
    AssetCheckSeverity,
    AssetCheckSpec,
    AssetKey,
    MetadataValue,
)

from seamless_assets.core.bars.table import timestamps
from seamless_assets.core.calendar.instant import seconds_text
from seamless_assets.core.calendar.partition import partitions
from seamless_assets.core.calendar.segment import Segment
from seamless_assets.core.coverage.coverage import Coverage, coverage_of
from seamless_assets.core.node import NodeId
from seamless_assets.defs.names import HELD, PUBLISHABLE, SETTLED, NodesByKey
from seamless_assets.defs.nodes.metadata import coverage_metadata
from seamless_assets.errors import NothingReleased, ReadRefused, StoreError
from seamless_assets.flows.releasing.publish import total_coverage
from seamless_assets.pipeline.connect import Seamless


def check_specs(key: AssetKey) -> list[AssetCheckSpec]:
    """The checks of a node's asset."""
    return [
        AssetCheckSpec(
            PUBLISHABLE,
            asset=key,
            blocking=True,
            description="Bars conform, and what is missing without proof stays below the threshold.",
        ),
        AssetCheckSpec(
            HELD,
            asset=key,
            description="What may have existed is there: neither out of retention nor declared absent.",
        ),
        AssetCheckSpec(
            SETTLED,
            asset=key,
            description="The newest released partition is over, and settled to its end.",
        ),
    ]


def run_checks(
    pipeline: Seamless, by_key: NodesByKey, checks: Iterable[AssetCheckKey]
) -> Iterator[AssetCheckResult]:
    """Checks that are asked for without their assets: they judge what is released."""
    judges = {PUBLISHABLE: judge_released, HELD: judge_held_of_released, SETTLED: judge_settled}
    for check in sorted(checks, key=lambda check: (check.asset_key.path, check.name)):
        yield judges[check.name](pipeline, check.asset_key, by_key.node(check.asset_key))


def judge_publishable(
    key: AssetKey, passed: bool, coverage: Coverage, problems: Sequence[str]
) -> AssetCheckResult:
    """The verdict of the gate on what was just materialized."""
    return AssetCheckResult(
        asset_key=key,
        check_name=PUBLISHABLE,
        passed=passed,
        severity=AssetCheckSeverity.ERROR,
        description="; ".join(problems) or f"all bars conform and are accounted for: {coverage.counts}",
        metadata=coverage_metadata(coverage),
    )


def judge_held(pipeline: Seamless, key: AssetKey, coverage: Coverage) -> AssetCheckResult:
    """Whether enough is held of what may have existed, by the threshold of coverage.

    A warning: what an exchange no longer serves is no fault, but it is not there either.
    """
    description = f"{coverage.held_ratio:.4f} of the bars that may have existed: {coverage.counts}"
    shown = coverage_metadata(coverage)
    return _warning(key, HELD, coverage.held_ratio >= _threshold(pipeline), description, shown)


def judge_released(pipeline: Seamless, key: AssetKey, node: NodeId) -> AssetCheckResult:
    """The verdict of the gate on all that is released, every byte of it verified on the way."""
    try:
        coverage = _released_coverage(pipeline, node)
    except (ReadRefused, StoreError) as error:
        return judge_publishable(key, False, total_coverage([]), [str(error)])
    threshold = _threshold(pipeline)
    problems = [] if coverage.ratio >= threshold else [f"coverage {coverage.ratio:.4f} is below {threshold}"]
    return judge_publishable(key, not problems, coverage, problems)


def judge_held_of_released(pipeline: Seamless, key: AssetKey, node: NodeId) -> AssetCheckResult:
    """The same of all that is released."""
    try:
        coverage = _released_coverage(pipeline, node)
    except (ReadRefused, StoreError) as error:
        return _warning(key, HELD, False, str(error), coverage_metadata(total_coverage([])))
    return judge_held(pipeline, key, coverage)


def judge_settled(pipeline: Seamless, key: AssetKey, node: NodeId) -> AssetCheckResult:
    """Whether the newest partition that is released is over.

    An older partition that is materialized later changes nothing about that. A warning: a running partition
    is no fault, but it is not whole either.
    """
    try:
        end = max(ref.end for ref in pipeline.snapshot(node).artifacts)
    except NothingReleased as error:
        return _warning(key, SETTLED, False, str(error), {})
    unit = pipeline.settings.partition_unit(node.timeframe)
    newest = partitions(node.timeframe, unit, Segment(node.timeframe.shift(end, -1), end))[-1]
    is_over = end >= newest.window.end
    description = f"{newest.key} is over and settled to its end"
    if not is_over:
        description = (
            f"{newest.key} is settled until {seconds_text(end)} and goes on to "
            f"{seconds_text(newest.window.end)}; materialize it again after that"
        )
    shown: dict[str, Any] = {
        "partition": newest.key,
        "settled_until": MetadataValue.timestamp(float(end)),
        "lag_seconds": round(pipeline.aio.ports.clock.now() - end),
    }
    return _warning(key, SETTLED, is_over, description, shown)


def _released_coverage(pipeline: Seamless, node: NodeId) -> Coverage:
    window = pipeline.released_window(node)
    read = pipeline.read(node, *window)
    return coverage_of(node.timeframe, window, timestamps(read.to_arrow()), read.metadata.gaps)


def _threshold(pipeline: Seamless) -> float:
    return pipeline.settings.seamless.observability.coverage_ratio_threshold


def _warning(
    key: AssetKey, name: str, passed: bool, description: str, shown: dict[str, Any]
) -> AssetCheckResult:
    return AssetCheckResult(
        asset_key=key,
        check_name=name,
        passed=passed,
        severity=AssetCheckSeverity.WARN,
        description=description,
        metadata=shown,
    )
