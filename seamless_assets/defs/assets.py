"""Nodes as partitioned assets: one step per exchange, timeframe and shard, one result per node.

Inside a step the nodes run side by side and fail on their own: a bad symbol never stops the others.
The blocking check belongs to the same step (write, audit, publish); a node that fails it gets the failed
check and no materialization.
"""

# Dagster reads the annotations of assets at run time, so they are not postponed here.

import asyncio
import queue
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

from dagster import (
    AssetCheckResult,
    AssetCheckSeverity,
    AssetCheckSpec,
    AssetExecutionContext,
    AssetKey,
    AssetsDefinition,
    AssetSpec,
    BackfillPolicy,
    Backoff,
    DataVersion,
    Jitter,
    MaterializeResult,
    RetryPolicy,
    multi_asset,
)

from seamless_assets.config.load import NodeSettings, Settings
from seamless_assets.core.bars.table import timestamps
from seamless_assets.core.calendar.segment import Segment
from seamless_assets.core.coverage.coverage import Coverage, coverage_of
from seamless_assets.core.node import NodeId
from seamless_assets.defs.metadata import coverage_metadata, node_metadata, partition_metadata
from seamless_assets.defs.partitions import partitions_definition, window_of_partitions
from seamless_assets.defs.resources import SeamlessResource
from seamless_assets.errors import ConfigError, ExchangeError, ReadRefused, SeamlessError, StoreError
from seamless_assets.flows.releasing.materialize import PartitionReport
from seamless_assets.flows.releasing.publish import total_coverage
from seamless_assets.pipeline.connect import Seamless

SHARD_SIZE = 100
CHECK = "publishable"
IO_MANAGER = "seamless_io_manager"
NODE_ID_METADATA = "seamless/node_id"
_DONE = object()


@dataclass
class _Outcome:
    """What became of one node in a step."""

    node: NodeId
    reports: list[PartitionReport] = field(default_factory=list)
    error: SeamlessError | None = None

    @property
    def problems(self) -> list[str]:
        told = [problem for report in self.reports for problem in report.problems]
        return [*told, str(self.error)] if self.error else told

    @property
    def released(self) -> list[PartitionReport]:
        return [report for report in self.reports if report.released]

    @property
    def passed(self) -> bool:
        return self.error is None and all(report.released for report in self.reports if report.sealed)


def build_assets(settings: Settings) -> list[AssetsDefinition]:
    """All declared nodes as assets; asks no exchange. Raises `ConfigError` where two have one key."""
    _refuse_twins(settings.nodes)
    ordered = sorted(settings.nodes, key=lambda item: (item.node.exchange, str(item.node.timeframe)))
    groups = groupby(ordered, key=lambda item: (item.node.exchange, str(item.node.timeframe)))
    return [
        _shard_asset(settings, members[at : at + SHARD_SIZE], at // SHARD_SIZE)
        for _, group in groups
        for members in [list(group)]
        for at in range(0, len(members), SHARD_SIZE)
    ]


def asset_key(node: NodeId) -> AssetKey:
    """Dagster's key of a node: `ohlcv/binance/BTC_USDT_1m`."""
    return AssetKey(list(node.asset_key))


def _refuse_twins(members: Sequence[NodeSettings]) -> None:
    first: dict[AssetKey, NodeId] = {}
    for member in members:
        other = first.setdefault(key := asset_key(member.node), member.node)
        if other is not member.node:
            raise ConfigError(
                f"{member.node} and {other} have one asset key, {key.to_user_string()}; remove one of them",
                problems=(),
            )


def _shard_asset(settings: Settings, members: Sequence[NodeSettings], shard: int) -> AssetsDefinition:
    first = members[0].node
    unit = settings.partition_unit(first.timeframe)
    nodes = {asset_key(member.node): member.node for member in members}
    suffix = f"_{shard}" if shard else ""

    @multi_asset(
        name=f"ohlcv_{first.exchange}_{first.timeframe}{suffix}",
        specs=[_spec(member.node) for member in members],
        check_specs=[
            AssetCheckSpec(
                CHECK,
                asset=key,
                blocking=True,
                description="Bars conform, and what is missing without proof stays below the threshold.",
            )
            for key in nodes
        ],
        partitions_def=partitions_definition(unit, members[0].start),
        can_subset=True,
        backfill_policy=BackfillPolicy.single_run(),
        retry_policy=RetryPolicy(max_retries=2, delay=5, backoff=Backoff.EXPONENTIAL, jitter=Jitter.FULL),
        pool=f"exchange_{first.exchange}",
    )
    def materialize_nodes(
        context: AssetExecutionContext, seamless: SeamlessResource
    ) -> Iterator[MaterializeResult[Any] | AssetCheckResult]:
        pipeline = seamless.pipeline
        for key in (check.asset_key for check in context.selected_asset_check_keys):
            if key not in context.selected_asset_keys:
                yield _check_released(pipeline, nodes[key])
        selected = [nodes[key] for key in context.selected_asset_keys]
        if selected:
            window = window_of_partitions(context.partition_time_window)
            for outcome in _run_nodes(context, pipeline, selected, window):
                yield from _results(context, pipeline, outcome)

    return materialize_nodes


def _spec(node: NodeId) -> AssetSpec:
    return AssetSpec(
        asset_key(node),
        group_name=node.exchange,
        kinds={"ccxt", "parquet"},
        skippable=True,
        description=f"Candles of {node.symbol} on {node.exchange}, {node.timeframe} each.",
        metadata={NODE_ID_METADATA: str(node)},
        tags={"seamless/exchange": node.exchange, "seamless/timeframe": str(node.timeframe)},
    ).with_io_manager_key(IO_MANAGER)


def _run_nodes(
    context: AssetExecutionContext, pipeline: Seamless, nodes: Sequence[NodeId], window: Segment
) -> Iterator[_Outcome]:
    """Run all nodes at once; yield each when it is done, and log its partitions as they come."""
    outcomes = {node: _Outcome(node) for node in nodes}
    news: queue.SimpleQueue[tuple[NodeId, Any]] = queue.SimpleQueue()

    async def run(node: NodeId) -> None:
        try:
            async for report in pipeline.aio.materialize_each(node, *window):
                news.put((node, report))
        except BaseException as error:
            news.put((node, error))
            raise
        news.put((node, _DONE))

    async def run_all() -> None:
        await asyncio.gather(*(run(node) for node in nodes), return_exceptions=True)

    running = pipeline.aio.worker.start(run_all())
    try:
        for _ in nodes:
            yield _collect(context, outcomes, news)
    finally:
        running.cancel()


def _collect(
    context: AssetExecutionContext,
    outcomes: Mapping[NodeId, _Outcome],
    news: queue.SimpleQueue[tuple[NodeId, Any]],
) -> _Outcome:
    while True:
        node, told = news.get()
        outcome = outcomes[node]
        if told is _DONE:
            return outcome
        if isinstance(told, ExchangeError):
            outcome.error = told
            return outcome
        if isinstance(told, BaseException):
            raise told
        outcome.reports.append(told)
        context.log.info(_progress(node, told))


def _progress(node: NodeId, report: PartitionReport) -> str:
    state = "released" if report.released else "not released"
    counts = report.coverage
    return (
        f"{node} {report.partition.key}: {state}, {counts.present} bars, {counts.absent} absent, "
        f"{counts.missing} missing{''.join(f'; {problem}' for problem in report.problems)}"
    )


def _results(
    context: AssetExecutionContext, pipeline: Seamless, outcome: _Outcome
) -> Iterator[MaterializeResult[Any] | AssetCheckResult]:
    key = asset_key(outcome.node)
    coverage = total_coverage([report.coverage for report in outcome.reports])
    yield _check_result(outcome.node, outcome.passed, coverage, outcome.problems)
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


def _check_released(pipeline: Seamless, node: NodeId) -> AssetCheckResult:
    """The check asked for alone: it judges what is released, every byte of it verified on the way."""
    try:
        window = pipeline.released_window(node)
        read = pipeline.read(node, *window)
    except (ReadRefused, StoreError) as error:
        return _check_result(node, False, total_coverage([]), [str(error)])
    coverage = coverage_of(node.timeframe, window, timestamps(read.to_arrow()), read.metadata.gaps)
    threshold = pipeline.settings.seamless.observability.coverage_ratio_threshold
    problems = [] if coverage.ratio >= threshold else [f"coverage {coverage.ratio:.4f} is below {threshold}"]
    return _check_result(node, not problems, coverage, problems)


def _check_result(
    node: NodeId, passed: bool, coverage: Coverage, problems: Sequence[str]
) -> AssetCheckResult:
    return AssetCheckResult(
        asset_key=asset_key(node),
        check_name=CHECK,
        passed=passed,
        severity=AssetCheckSeverity.ERROR,
        description="; ".join(problems) or "all bars conform and are accounted for",
        metadata=coverage_metadata(coverage),
    )
