"""Each `dagster.yaml` is loaded as it is: the laptop's in a folder, the cluster's on Postgres and S3."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
import yaml
from conftest import ROOT
from dagster import DagsterInstance, DagsterRunStatus, job, op
from dagster._core.definitions.run_request import InstigatorType
from dagster._core.instance.config import PoolGranularity
from dagster._core.instance.ref import InstanceRef
from dagster._core.scheduler.instigation import TickStatus
from dagster_aws.s3.compute_log_manager import S3ComputeLogManager
from support.object_stores import BUCKET, KEY, SECRET, S3Server, require_s3_server
from support.services import PostgresServer

from seamless_assets.cli.project.dagster_home import INSTANCE, PLACES
from seamless_assets.defs.cluster.launcher import ExchangeQueueLauncher

CLUSTER, LAPTOP = ROOT / "ops" / "cluster" / "dagster.yaml", ROOT / "dagster.yaml"
BROKER = "redis://127.0.0.1:1/1"
"""Nothing is sent there."""


@op
def say_hello() -> None:
    print("hello from the cluster")  # noqa: T201


@job
def greeting() -> None:
    say_hello()


@pytest.fixture
def cluster(
    postgres_server: PostgresServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[Path, S3Server]]:
    """The folder of the cluster's `dagster.yaml`, and the server that keeps its compute logs."""
    server = S3Server("versitygw", require_s3_server("versitygw"), tmp_path / "s3")
    environment = {
        "DAGSTER_POSTGRES_HOST": "127.0.0.1",
        "DAGSTER_POSTGRES_PORT": str(postgres_server.port),
        "DAGSTER_POSTGRES_PASSWORD": "not asked for here",
        "DAGSTER_CELERY_URL": BROKER,
        "DAGSTER_LOGS_BUCKET": BUCKET,
        "DAGSTER_LOGS_ENDPOINT": server.endpoint,
        "AWS_ACCESS_KEY_ID": KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET,
    }
    named = yaml.safe_load(CLUSTER.read_text())
    assert set(variables(named)) == set(environment) - {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"}
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    home = tmp_path / "home"
    home.mkdir()
    shutil.copy(CLUSTER, home / "dagster.yaml")
    postgres_server.make_database("dagster")
    yield home, server
    server.kill()


def variables(value: Any) -> Iterator[str]:
    """The environment variables that a `dagster.yaml` asks for."""
    if isinstance(value, dict):
        if set(value) == {"env"}:
            yield value["env"]
        for item in value.values():
            yield from variables(item)


def test_the_cluster_keeps_runs_in_postgres_and_what_they_print_in_a_bucket(
    cluster: tuple[Path, S3Server],
) -> None:
    home, server = cluster
    with DagsterInstance.from_ref(InstanceRef.from_dir(str(home))) as instance:
        run = greeting.execute_in_process(instance=instance)
        assert isinstance(instance.compute_log_manager, S3ComputeLogManager)
        launcher = instance.run_launcher
        assert isinstance(launcher, ExchangeQueueLauncher) and launcher.default_queue == "dagster"
        assert launcher.celery.conf.worker_prefetch_multiplier == 1
        assert launcher.celery.conf.result_expires == 7 * 86_400
    with DagsterInstance.from_ref(InstanceRef.from_dir(str(home))) as again:
        known = again.get_run_by_id(run.run_id)
        assert known is not None and known.status == DagsterRunStatus.SUCCESS
        assert any("STEP_SUCCESS" in str(entry.dagster_event_type) for entry in again.all_logs(run.run_id))
    with psycopg.connect(
        f"postgresql://dagster@127.0.0.1:{os.environ['DAGSTER_POSTGRES_PORT']}/dagster"
    ) as db:
        query = "SELECT count(*) FROM event_logs WHERE run_id = %s"
        assert db.execute(query, (run.run_id,)).fetchone() > (5,)
    listed = server.client().list_objects_v2(Bucket=BUCKET, Prefix="dagster-logs/").get("Contents", [])
    printed = [item["Key"] for item in listed if item["Key"].endswith(".out")]
    payload = server.client().get_object(Bucket=BUCKET, Key=printed[0])["Body"].read()
    assert len(printed) == 1 and b"hello from the cluster" in payload


def test_the_cluster_retries_dead_runs_and_forgets_idle_ticks(cluster: tuple[Path, S3Server]) -> None:
    with DagsterInstance.from_ref(InstanceRef.from_dir(str(cluster[0]))) as instance:
        assert_runs_are_bounded(instance)
        assert instance.run_monitoring_enabled and instance.run_monitoring_max_resume_run_attempts == 0
        kept = instance.get_tick_retention_settings(InstigatorType.SENSOR)
        assert kept[TickStatus.SKIPPED] == 2 and kept[TickStatus.FAILURE] == 90
        kept = instance.get_tick_retention_settings(InstigatorType.SCHEDULE)
        assert 0 < kept[TickStatus.SKIPPED] < kept[TickStatus.SUCCESS]


def test_the_laptop_needs_no_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copy(LAPTOP, tmp_path / "dagster.yaml")
    assert yaml.safe_load(PLACES + INSTANCE) == yaml.safe_load(LAPTOP.read_text())
    with DagsterInstance.from_ref(InstanceRef.from_dir(str(tmp_path))) as instance:
        assert greeting.execute_in_process(instance=instance).success
        assert_runs_are_bounded(instance)
        assert 0 < instance.run_monitoring_max_runtime_seconds <= 86_400
    assert list(tmp_path.rglob("*.db"))


def assert_runs_are_bounded(instance: DagsterInstance) -> None:
    """Pools count runs, dead runs alone are retried, and what the pipeline logs stands in runs."""
    pools = instance.get_concurrency_config().pool_config
    assert (pools.pool_granularity, pools.default_pool_limit) == (PoolGranularity.RUN, 4)
    assert instance.run_retries_enabled and instance.run_retries_max_retries == 2
    assert not instance.run_retries_retry_on_asset_or_op_failure
    assert instance.managed_python_loggers == ["seamless_assets"]
    assert not instance.telemetry_enabled
