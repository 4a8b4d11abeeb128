"""The sensor that asks again for what people asked for in vain while an exchange or a store was away."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from itertools import islice

from dagster import (
    DagsterInstance,
    DagsterRun,
    DagsterRunStatus,
    RunRequest,
    RunsFilter,
    SensorDefinition,
    SensorEvaluationContext,
    SensorResult,
    SkipReason,
)
from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition
from dagster._core.storage.tags import (
    ASSET_PARTITION_RANGE_END_TAG,
    ASSET_PARTITION_RANGE_START_TAG,
    PARTITION_NAME_TAG,
    SCHEDULE_NAME_TAG,
    SENSOR_NAME_TAG,
)

from seamless_assets.config.load import Settings
from seamless_assets.core.calendar.partition import Partition, partitions, window_of_key
from seamless_assets.core.calendar.segment import Segment
from seamless_assets.core.node import NodeId
from seamless_assets.defs.automation.due import batches
from seamless_assets.defs.automation.failures import is_outage
from seamless_assets.defs.automation.requests import is_under_way, run_requests, sensor_status
from seamless_assets.defs.automation.schedules import grid_of
from seamless_assets.defs.automation.states import load_states
from seamless_assets.defs.names import NodesByKey, ProjectNames
from seamless_assets.defs.resources import SeamlessResource
from seamless_assets.defs.shards import Shard
from seamless_assets.errors import InvalidInput, StoreError

MAX_RUNS = 200
"""So many failed runs that people launched are looked at in one tick, the newest."""


def build_recovery(
    settings: Settings,
    names: ProjectNames,
    shards: Iterable[Shard],
    jobs: Mapping[str, UnresolvedAssetJobDefinition],
) -> SensorDefinition:
    """The sensor `recovery`."""
    recovery, name = settings.automation.recovery, names.prefixed("recovery")
    by_key, by_step = NodesByKey(settings.nodes), {shard.name: shard for shard in shards}

    def evaluate(context: SensorEvaluationContext) -> SensorResult:
        resource: SeamlessResource = getattr(context.resources, names.project)
        pipeline = resource.pipeline
        now = pipeline.aio.ports.clock.now()
        bucket = f"{now // recovery.retry_s:.0f}"
        if bucket == context.cursor:
            return SensorResult(skip_reason=SkipReason("looked at already; later again"), cursor=bucket)
        asked = _asked_in_vain(context.instance, now - recovery.give_up_s, by_key, names, by_step.values())
        requests: list[RunRequest] = []
        for step, wanted in asked.items():
            shard = by_step[step]
            if is_under_way(context.instance, shard.job_name, SENSOR_NAME_TAG, name):
                continue
            grid = grid_of(settings, shard)
            try:
                states = load_states(pipeline, list(wanted), context.log)
            except StoreError:
                continue  # each of its nodes is logged; those of other jobs can be read
            due = {
                state.node: [
                    part.key
                    for part in wanted[state.node].values()
                    if state.lacks(grid.settled_part(part, now))
                ]
                for state in states
            }
            every = {part.key: part for found in wanted.values() for part in found.values()}
            ordered = sorted(every.values(), key=lambda part: part.window)
            requests += run_requests(shard, names, batches(ordered, due), f"{step}/{bucket}")
        reason = None if requests else SkipReason("nothing was asked for in vain that is not released by now")
        return SensorResult(run_requests=requests, skip_reason=reason, cursor=bucket)

    return SensorDefinition(
        name=name,
        evaluation_fn=evaluate,
        jobs=list(jobs.values()),
        minimum_interval_seconds=recovery.interval_s,
        required_resource_keys={names.project},
        description="Ask again for what runs that people launched asked for in vain while an exchange or a "
        "store was away, until it is released.",
        default_status=sensor_status(settings.automation, recovery),
    )


def _asked_in_vain(
    instance: DagsterInstance,
    since: float,
    by_key: NodesByKey,
    names: ProjectNames,
    shards: Iterable[Shard],
) -> dict[str, dict[NodeId, dict[str, Partition]]]:
    """The partitions of each node, by step, that runs failed to get for want of an answer."""
    known = {node: shard for shard in shards for node in shard.nodes}
    found: dict[str, dict[NodeId, dict[str, Partition]]] = defaultdict(lambda: defaultdict(dict))
    failed = RunsFilter(statuses=[DagsterRunStatus.FAILURE], updated_after=datetime.fromtimestamp(since, UTC))
    for run in islice(_launched_by_people(instance, failed), MAX_RUNS):
        nodes = _nodes_of(run, by_key, names, known)
        if not nodes or not is_outage(instance, run.run_id):
            continue
        for node in nodes:
            shard = known[node]
            for part in _partitions_of(run, shard):
                found[shard.name][node][part.key] = part
    return found


def _launched_by_people(instance: DagsterInstance, failed: RunsFilter) -> Iterator[DagsterRun]:
    """The runs that no schedule or sensor asked for, newest first: those ask again by themselves."""
    after: str | None = None
    while page := instance.get_runs(failed, cursor=after, limit=MAX_RUNS):
        yield from (run for run in page if not {SCHEDULE_NAME_TAG, SENSOR_NAME_TAG} & run.tags.keys())
        after = page[-1].run_id


def _nodes_of(
    run: DagsterRun, by_key: NodesByKey, names: ProjectNames, known: Mapping[NodeId, Shard]
) -> list[NodeId]:
    """The nodes of ours that a run was over."""
    if run.asset_selection is None:
        return [node for node, shard in known.items() if shard.job_name == run.job_name]
    nodes = []
    for key in run.asset_selection:
        try:
            node = by_key.node(key)
        except InvalidInput:
            continue  # somebody else's asset
        if names.asset_key(node) == key:
            nodes.append(node)
    return nodes


def _partitions_of(run: DagsterRun, shard: Shard) -> list[Partition]:
    """The partitions that a run was over."""
    one = run.tags.get(PARTITION_NAME_TAG)
    first = run.tags.get(ASSET_PARTITION_RANGE_START_TAG, one)
    last = run.tags.get(ASSET_PARTITION_RANGE_END_TAG, one)
    if first is None or last is None:
        return []
    try:
        # Their unit may be another than the settings name by now.
        low, high = (window_of_key(shard.timeframe, key) for key in (first, last))
    except InvalidInput:
        return []  # of no partition of ours
    start = max(low.start, shard.start)
    return partitions(shard.timeframe, shard.unit, Segment(start, max(start, low.end, high.end)))
