"""The schedules that materialize nodes: one of each kind for each job."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from dagster import (
    DefaultScheduleStatus,
    RunRequest,
    ScheduleDefinition,
    ScheduleEvaluationContext,
    SkipReason,
)
from dagster._core.storage.tags import SCHEDULE_NAME_TAG

from seamless_assets.config.automation import AutomationSettings
from seamless_assets.config.load import Settings
from seamless_assets.defs.automation.due import (
    Batch,
    NodeState,
    PartitionGrid,
    changeable,
    unfinished,
    unreleased,
)
from seamless_assets.defs.automation.requests import is_under_way, run_requests, schedule_status
from seamless_assets.defs.automation.states import load_states
from seamless_assets.defs.names import ProjectNames
from seamless_assets.defs.resources import SeamlessResource
from seamless_assets.defs.shards import Shard

Finder = Callable[[PartitionGrid, Iterable[NodeState], float], list[Batch]]


@dataclass(frozen=True)
class _Kind:
    """One kind of schedule: its word in names and settings, what it does, and how it finds what is due."""

    word: str
    cron: str
    status: DefaultScheduleStatus
    does: str
    find: Finder


def grid_of(settings: Settings, shard: Shard) -> PartitionGrid:
    """The partitions of a shard."""
    bars = settings.seamless.artifact.stabilization_bars
    return PartitionGrid(shard.timeframe, shard.unit, shard.start, bars)


def build_schedules(
    settings: Settings, names: ProjectNames, shards: Iterable[Shard]
) -> Iterator[ScheduleDefinition]:
    """`rolling_backfill_…`, `finishing_…` and `reverification_…` for the job of each shard."""
    kinds = list(_kinds(settings.automation))
    for shard in shards:
        for kind in kinds:
            yield _schedule(settings, names, shard, kind)


def _kinds(automation: AutomationSettings) -> Iterator[_Kind]:
    rolling, finishing = automation.rolling_backfill, automation.finishing
    anew = automation.reverification
    yield _Kind(
        "rolling_backfill",
        rolling.cron,
        schedule_status(automation, rolling),
        f"Materialize what is settled and not released of the last {rolling.partitions} partitions",
        lambda grid, states, now: unreleased(grid, states, rolling.partitions, now),
    )
    yield _Kind(
        "finishing",
        finishing.cron,
        schedule_status(automation, finishing),
        "Finish partitions that are over and released in part",
        lambda grid, states, now: unfinished(grid, states, now, finishing.give_up_s),
    )
    yield _Kind(
        "reverification",
        anew.cron,
        schedule_status(automation, anew),
        f"Ask anew for the last {anew.partitions} partitions that are over, whose bars may still change",
        lambda grid, states, now: changeable(grid, states, anew.partitions, now),
    )


def _schedule(settings: Settings, names: ProjectNames, shard: Shard, kind: _Kind) -> ScheduleDefinition:
    grid, name = grid_of(settings, shard), f"{kind.word}_{shard.name}"

    def evaluate(context: ScheduleEvaluationContext) -> Iterator[RunRequest | SkipReason]:
        if is_under_way(context.instance, shard.job_name, SCHEDULE_NAME_TAG, name):
            yield SkipReason("the last run that this schedule asked for is not over")
            return
        resource: SeamlessResource = getattr(context.resources, names.project)
        states = load_states(resource.pipeline, shard.nodes, context.log)
        found = kind.find(grid, states, resource.pipeline.aio.ports.clock.now())
        if not found:
            yield SkipReason(f"nothing is due of the {len(shard.members)} nodes of {shard.name}")
        yield from run_requests(shard, names, found, name)

    return ScheduleDefinition(
        name=name,
        job_name=shard.job_name,
        cron_schedule=kind.cron,
        execution_timezone=settings.automation.timezone,
        execution_fn=evaluate,
        required_resource_keys={names.project},
        description=f"{kind.does}, of the nodes of {shard.name}.",
        default_status=kind.status,
    )
