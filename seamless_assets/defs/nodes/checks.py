"""The checks of a node: whether its bars may be released, are all there, recent, and what is sent today."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
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
from seamless_assets.defs.automation.due import PartitionGrid, lag_of
from seamless_assets.defs.automation.states import load_states
from seamless_assets.defs.names import FRESH, HELD, PUBLISHABLE, SETTLED, STABLE
from seamless_assets.defs.nodes.metadata import coverage_metadata
from seamless_assets.errors import ExchangeError, NothingReleased, ReadRefused, StoreError
from seamless_assets.flows.releasing.drift import sample_drift
from seamless_assets.flows.releasing.materialize import PartitionReport
from seamless_assets.flows.releasing.publish import total_coverage
from seamless_assets.pipeline.connect import Seamless


def check_specs(key: AssetKey, *, is_derived: bool = False) -> list[AssetCheckSpec]:
    """The checks of a node's asset; of a derived one there is nothing that an exchange could send anew."""
    specs = [
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
        AssetCheckSpec(
            FRESH,
            asset=key,
            description="What is settled of the last partitions is released, but for automation.freshness."
            "max_lag_s.",
        ),
        AssetCheckSpec(
            STABLE,
            asset=key,
            description="What is released is what the exchange sends: as it was just materialized, or as a "
            "sample asked anew shows.",
        ),
    ]
    return specs[:-1] if is_derived else specs


def run_checks(
    pipeline: Seamless, node_of: Callable[[AssetKey], NodeId], checks: Iterable[AssetCheckKey]
) -> Iterator[AssetCheckResult]:
    """Checks that are asked for without their assets: they judge what is released.

    Raises `ExchangeError` in the end where an exchange sent no sample.
    """
    judges = {
        PUBLISHABLE: judge_released,
        HELD: judge_held_of_released,
        SETTLED: judge_settled,
        FRESH: judge_fresh,
        STABLE: judge_stable,
    }
    unanswered: list[ExchangeError] = []
    for check in sorted(checks, key=lambda check: (check.asset_key.path, check.name)):
        try:
            yield judges[check.name](pipeline, check.asset_key, node_of(check.asset_key))
        except ExchangeError as error:
            unanswered.append(error)
    if unanswered:
        raise unanswered[0]


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
        end = pipeline.released_window(node).end
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


def judge_fresh(pipeline: Seamless, key: AssetKey, node: NodeId) -> AssetCheckResult:
    """Whether what is settled of the last partitions is released, as the sensor of freshness judges it.

    A backfill of old partitions makes nothing fresh.
    """
    settings, now = pipeline.settings.automation.freshness, pipeline.aio.ports.clock.now()
    (state,) = load_states(pipeline, [node], logging.getLogger(__name__))
    start = pipeline.settings.starts[node]
    bars = pipeline.settings.seamless.artifact.stabilization_bars
    grid = PartitionGrid(node.timeframe, pipeline.settings.partition_unit(node.timeframe), start, bars)
    recent = grid.last(settings.partitions, now)
    lag = round(lag_of(grid, state, recent, now))
    passed = lag <= settings.max_lag_s
    description = f"{lag} s of what is settled are not released, of {settings.max_lag_s} s that may be"
    if not passed:
        until = "nothing is released" if state.end is None else f"released until {seconds_text(state.end)}"
        last = f"materialize {recent[0].key} to {recent[-1].key}" if recent else "materialize it"
        is_derived = node in pipeline.settings.recipes
        sensor = "derivation" if is_derived else f"freshness_{node.exchange}"
        description += f"; {until}: {last}, or switch {sensor} on"
    shown: dict[str, Any] = {"lag_seconds": lag, "max_lag_seconds": settings.max_lag_s}
    if state.end is not None:
        shown["released_until"] = MetadataValue.timestamp(float(state.end))
    return _warning(key, FRESH, passed, description, shown)


def judge_stable(pipeline: Seamless, key: AssetKey, node: NodeId) -> AssetCheckResult:
    """Whether a sample of released bars is what the exchange sends today; one request.

    Raises `ExchangeError` where it sends none, which is no verdict.
    """
    try:
        sample = pipeline.aio.portal.run(sample_drift(pipeline.aio.ports, node))
    except (ReadRefused, StoreError) as error:
        return _warning(key, STABLE, False, str(error), {})
    revision, window = sample.revision, sample.compared
    span = f"{seconds_text(window.start)} to {seconds_text(window.end)}"
    if window.is_empty:
        description = f"the exchange serves none of {sample.partition} any more, so nothing can be compared"
    elif sample.is_stable:
        description = f"{sample.bars} bars of {span} are what the exchange sends"
    else:
        description = (
            f"of {sample.bars} bars of {span} the exchange sends {revision.changed} otherwise, "
            f"{revision.added} that are not released and {revision.removed} no more; materialize "
            f"{sample.partition} anew, so that it is a revision, or switch reverification on"
        )
    shown: dict[str, Any] = {
        "compared_bars": sample.bars,
        "changed_bars": revision.changed,
        "added_bars": revision.added,
        "removed_bars": revision.removed,
        "examples": ", ".join(seconds_text(ts) for ts in revision.examples),
    }
    return _warning(key, STABLE, sample.is_stable, description, shown)


def judge_just_asked(key: AssetKey, reports: Sequence[PartitionReport]) -> AssetCheckResult:
    """The verdict on what was just asked for anew and released: what changed is a revision by now."""
    first, last = reports[0].partition.key, reports[-1].partition.key
    span = first if first == last else f"{first} to {last}"
    description = f"{span} was asked for anew just now; what changed is a revision of the release"
    compared = sum(report.coverage.present for report in reports)
    return _warning(key, STABLE, True, description, {"compared_bars": compared})


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
