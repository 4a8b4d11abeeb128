"""Why a run failed, from the events it left."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from dagster import DagsterEventType, DagsterInstance, DagsterRun, DagsterRunStatus, RunsFilter
from dagster._core.execution.plan.objects import StepFailureData
from dagster_shared.error import SerializableErrorInfo

from seamless_assets.defs.automation.requests import UNDER_WAY
from seamless_assets.errors import ArtifactStoreError, ExchangeUnavailable, HotStoreError, RateLimited

OUTAGES = frozenset(
    error.__name__ for error in (ExchangeUnavailable, RateLimited, HotStoreError, ArtifactStoreError)
)
OVER = [DagsterRunStatus.SUCCESS, DagsterRunStatus.FAILURE, DagsterRunStatus.CANCELED]


def step_errors(instance: DagsterInstance, run_id: str) -> Iterator[SerializableErrorInfo]:
    """The errors that ended steps of a run, each the one that a step raised."""
    records = instance.get_records_for_run(run_id, of_type=DagsterEventType.STEP_FAILURE).records
    for record in records:
        event = record.event_log_entry.dagster_event
        data = event.event_specific_data if event else None
        if isinstance(data, StepFailureData) and data.error:
            # Dagster's own error stands before what a step raised.
            yield data.error.cause or data.error


def is_outage(instance: DagsterInstance, run_id: str) -> bool:
    """Whether a step of a run failed because an exchange or a store gave no answer."""
    return any(error.cls_name in OUTAGES for error in step_errors(instance, run_id))


def last_failed(instance: DagsterInstance, job_name: str, tag: str, name: str) -> bool:
    """Whether the newest run of a job failed, or was lost, of those that a schedule or sensor asked for.

    For a job of which none is waited for any more.
    """
    wanted = RunsFilter(job_name=job_name, statuses=[*OVER, *UNDER_WAY], tags={tag: name})
    ended_well = (DagsterRunStatus.SUCCESS, DagsterRunStatus.CANCELED)
    return any(run.status not in ended_well for run in instance.get_runs(wanted, limit=1))


def last_was_outage(instance: DagsterInstance, job_name: str, tag: str, name: str) -> bool:
    """Whether that one failed because an exchange or a store gave no answer."""
    return any(is_outage(instance, run.run_id) for run in _last_over(instance, job_name, tag, name))


def _last_over(instance: DagsterInstance, job_name: str, tag: str, name: str) -> Sequence[DagsterRun]:
    wanted = RunsFilter(job_name=job_name, statuses=OVER, tags={tag: name})
    return instance.get_runs(wanted, limit=1)
