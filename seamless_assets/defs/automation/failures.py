"""Why a run failed, from the events it left."""

from __future__ import annotations

from collections.abc import Iterator

from dagster import DagsterEventType, DagsterInstance
from dagster._core.execution.plan.objects import StepFailureData
from dagster_shared.error import SerializableErrorInfo

from seamless_assets.errors import ExchangeUnavailable, RateLimited

OUTAGES = frozenset({ExchangeUnavailable.__name__, RateLimited.__name__})


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
    """Whether a step of a run failed because an exchange gave no answer."""
    return any(error.cls_name in OUTAGES for error in step_errors(instance, run_id))
