"""Runs that schedules and sensors wait for, and those that they give up."""

from __future__ import annotations

from datetime import timedelta

import pytest
from dagster import DagsterInstance, DagsterRun, DagsterRunStatus
from dagster._core.remote_origin import (
    RegisteredCodeLocationOrigin,
    RemoteJobOrigin,
    RemoteRepositoryOrigin,
)
from dagster._core.test_utils import freeze_time
from dagster._time import get_current_datetime

from seamless_assets.defs.automation.requests import UNDER_WAY, is_under_way, jobs_under_way

TAG, NAME = "dagster/sensor_name", "freshness_binance"
ORIGIN = RemoteRepositoryOrigin(RegisteredCodeLocationOrigin("candles"), "__repository__")
EVERY = {status.value for status in UNDER_WAY}
QUEUED = {DagsterRunStatus.QUEUED.value}


@pytest.mark.parametrize(("minutes", "awaited"), [(0, EVERY), (59, EVERY), (61, QUEUED), (100_000, QUEUED)])
def test_a_run_that_was_lost_with_its_machine_is_waited_for_an_hour(
    minutes: int, awaited: set[str], instance: DagsterInstance
) -> None:
    for status in DagsterRunStatus:
        job = status.value
        instance.add_run(
            DagsterRun(job, status=status, tags={TAG: NAME}, remote_job_origin=RemoteJobOrigin(ORIGIN, job))
        )
    instance.add_run(DagsterRun("of_a_person", status=DagsterRunStatus.STARTED))
    with freeze_time(get_current_datetime() + timedelta(minutes=minutes)):
        assert jobs_under_way(instance, TAG, NAME) == awaited
        jobs = [status.value for status in DagsterRunStatus]
        assert {job for job in jobs if is_under_way(instance, job, TAG, NAME)} == awaited
        assert not is_under_way(instance, "of_a_person", TAG, NAME)
