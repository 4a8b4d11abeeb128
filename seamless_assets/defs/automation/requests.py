"""What schedules and sensors have in common: the runs they ask for, and whether they are switched on."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta

from dagster import (
    DagsterInstance,
    DagsterRunStatus,
    DefaultScheduleStatus,
    DefaultSensorStatus,
    RunRecord,
    RunRequest,
    RunsFilter,
)
from dagster._core.storage.tags import (
    ASSET_PARTITION_RANGE_END_TAG,
    ASSET_PARTITION_RANGE_START_TAG,
    PARTITION_NAME_TAG,
)
from dagster._time import get_current_datetime

from seamless_assets.config.automation import AutomationSettings, SwitchSettings
from seamless_assets.defs.automation.due import Batch
from seamless_assets.defs.names import ProjectNames
from seamless_assets.defs.shards import Shard

PARTITION_TAGS = (PARTITION_NAME_TAG, ASSET_PARTITION_RANGE_START_TAG, ASSET_PARTITION_RANGE_END_TAG)
UNDER_WAY = [
    DagsterRunStatus.QUEUED,
    DagsterRunStatus.NOT_STARTED,
    DagsterRunStatus.STARTING,
    DagsterRunStatus.STARTED,
    DagsterRunStatus.CANCELING,
]
LOST_AFTER = timedelta(hours=1)
"""A run is waited for no longer than this, but in the queue.

Where its process ended with its machine nobody tells Dagster, and it counts as started for ever. To ask again
while it lives costs little, as both share leases.
"""


def run_requests(shard: Shard, names: ProjectNames, found: Iterable[Batch], key: str) -> list[RunRequest]:
    """One request for each batch; its run key is `key` and the partitions."""
    return [
        RunRequest(
            run_key=f"{key}/{batch.first}..{batch.last}",
            job_name=shard.job_name,
            asset_selection=[names.asset_key(node) for node in batch.nodes],
            tags=partition_tags(batch.first, batch.last),
        )
        for batch in found
    ]


def partition_tags(first: str, last: str) -> dict[str, str]:
    """How a run is told its partitions."""
    if first == last:
        return {PARTITION_NAME_TAG: first}
    return {ASSET_PARTITION_RANGE_START_TAG: first, ASSET_PARTITION_RANGE_END_TAG: last}


def is_under_way(instance: DagsterInstance, job_name: str, tag: str, name: str) -> bool:
    """Whether a run of a job that the schedule or sensor of that name asked for is not over."""
    wanted = RunsFilter(job_name=job_name, statuses=UNDER_WAY, tags={tag: name})
    return any(map(_is_awaited, instance.get_run_records(wanted)))


def jobs_under_way(instance: DagsterInstance, tag: str, name: str) -> set[str]:
    """The jobs of which a run that the schedule or sensor of that name asked for is not over."""
    wanted = RunsFilter(statuses=UNDER_WAY, tags={tag: name})
    records = instance.get_run_records(wanted)
    return {record.dagster_run.job_name for record in records if _is_awaited(record)}


def _is_awaited(record: RunRecord) -> bool:
    is_queued = record.dagster_run.status == DagsterRunStatus.QUEUED
    return is_queued or get_current_datetime() - record.update_timestamp < LOST_AFTER


def schedule_status(automation: AutomationSettings, switch: SwitchSettings) -> DefaultScheduleStatus:
    """What a schedule is until somebody switches it in the UI."""
    return DefaultScheduleStatus.RUNNING if automation.is_on(switch) else DefaultScheduleStatus.STOPPED


def sensor_status(automation: AutomationSettings, switch: SwitchSettings) -> DefaultSensorStatus:
    """What a sensor is until somebody switches it in the UI."""
    return DefaultSensorStatus.RUNNING if automation.is_on(switch) else DefaultSensorStatus.STOPPED
