"""A cluster as ops/cluster starts it: queues of exchanges, warm Celery workers, one of them killed."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import yaml
from conftest import ROOT
from dagster import DagsterInstance, DagsterRun, DagsterRunStatus
from dagster._core.instance.ref import InstanceRef
from dagster._core.launcher import WorkerStatus
from dagster._core.storage.dagster_run import RunOpConcurrency
from support.services import PostgresServer, RedisServer

import seamless_assets as sa
from seamless_assets.defs.cluster.launcher import ExchangeQueueLauncher, queue_of
from seamless_assets.sandbox.faults import Fault
from seamless_assets.sandbox.server import Sandbox
from seamless_assets.testing import DAY, START

FOLDER = ROOT / "ops" / "cluster"
MODULE = ("-m", "seamless_assets.definitions")
SETTINGS = """
seamless:
  artifact: {{object_store_uri: ./data/artifacts}}
  hot_store: {{dsn: "sqlite:///./data/hot.sqlite"}}
  backfill: {{distributed_lease_ttl_ms: 3000}}
exchanges:
  binance: {{base_url: "{url}", symbols: ["BTC/USDT"], timeframes: ["1m"], start: 2025-01-01}}
  kraken: {{base_url: "{url}", symbols: ["BTC/USD"], timeframes: ["1m"], start: 2025-01-01}}
"""


def run_of(*pools: str) -> DagsterRun:
    """A run whose steps are in these pools."""
    return DagsterRun(
        job_name="job",
        run_op_concurrency=RunOpConcurrency(
            root_key_counts={}, has_unconstrained_root_nodes=not pools, all_pools=set(pools)
        ),
    )


@pytest.mark.parametrize(
    ("pools", "queue"),
    [
        (("exchange_binance",), "binance"),
        (("exchange_binance", "of_my_own"), "binance"),
        (("exchange_binance", "exchange_kraken"), None),
        (("of_my_own",), None),
        ((), None),
    ],
)
def test_a_run_waits_in_the_queue_of_its_exchange(pools: tuple[str, ...], queue: str | None) -> None:
    assert queue_of(run_of(*pools)) == queue
    assert queue_of(DagsterRun(job_name="job")) is None


@pytest.mark.parametrize(
    ("state", "result", "answers", "status"),
    [
        ("STARTED", {"hostname": "w@h", "pid": 1}, [False, False, False], WorkerStatus.FAILED),
        ("STARTED", {"hostname": "w@h", "pid": 1}, [False, False, True], WorkerStatus.RUNNING),
        ("STARTED", {"hostname": "w@h", "pid": 1}, [True], WorkerStatus.RUNNING),
        ("STARTED", None, [], WorkerStatus.RUNNING),
        ("SUCCESS", 0, [], WorkerStatus.SUCCESS),
        ("FAILURE", RuntimeError("lost"), [], WorkerStatus.FAILED),
    ],
)
def test_a_run_is_given_up_once_its_worker_answers_none_of_three_pings(
    monkeypatch: pytest.MonkeyPatch, state: str, result: object, answers: list[bool], status: WorkerStatus
) -> None:
    launcher = ExchangeQueueLauncher("dagster", broker="memory://", backend="cache+memory://")
    task = uuid4().hex
    launcher.celery.backend.store_result(task, result, state)
    left = list(answers)

    def ping(destination: list[str], timeout: float) -> list[dict[str, object]]:
        assert destination == ["w@h"] and timeout > 0
        return [{"w@h": {"ok": "pong"}}] if left.pop(0) else []

    monkeypatch.setattr(launcher.celery.control, "ping", ping)
    found = launcher.check_run_worker_health(DagsterRun("job", tags={"dagster-celery/task_id": task}))
    assert found.status == status and left == []
    assert ("w@h is gone" in str(found.msg)) is (answers[:1] == [False] and not any(answers))


@dataclass
class Cluster:
    """Servers, workers and the daemon of a project folder."""

    home: Path
    exchange: Sandbox
    workers: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def start(self, name: str, *words: str) -> subprocess.Popen[bytes]:
        """A module of Python in a process group of its own."""
        with (self.home / f"{name}.log").open("wb") as log:
            return subprocess.Popen(
                [sys.executable, "-m", *words],
                cwd=self.home,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def start_worker(self, name: str, queues: str) -> None:
        """A worker by the command of the compose file, with queues of its own."""
        service = yaml.safe_load((FOLDER / "compose.yaml").read_text())["services"]["worker-binance"]
        words = list(service["command"])
        words[words.index("-Q") + 1], words[words.index("-n") + 1] = queues, f"{name}@%h"
        words[words.index("-c") + 1] = "1"
        self.workers[name] = self.start(name, *words)

    def launch(self, instance: DagsterInstance, job: str, day: str) -> str:
        """The id of a run that Dagster's own command hands to the queue."""
        before = {run.run_id for run in instance.get_runs()}
        tags = json.dumps({"dagster/partition": day})
        words = ("dagster", "job", "launch", *MODULE, "-j", job, "--tags", tags)
        subprocess.run([sys.executable, "-m", *words], cwd=self.home, check=True, capture_output=True)
        (launched,) = {run.run_id for run in instance.get_runs()} - before
        return launched


def end(program: subprocess.Popen[bytes], number: signal.Signals) -> None:
    """End a program and all of its group."""
    os.killpg(program.pid, number)
    program.wait()


def wait(condition: Callable[[], Any], cluster: Cluster) -> Any:
    """What a condition gives once it gives something; the logs where it never does."""
    deadline = time.monotonic() + 240
    while not (found := condition()):
        logs = "".join(path.read_text()[-2_000:] for path in sorted(cluster.home.glob("*.log")))
        assert time.monotonic() < deadline, logs
        time.sleep(0.2)
    return found


@pytest.fixture
def cluster(
    postgres_server: PostgresServer,
    own_redis: RedisServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Cluster]:
    """The cluster's Dagster on real servers, without a worker yet."""
    home = tmp_path / "home"
    home.mkdir()
    config = yaml.safe_load((FOLDER / "dagster.yaml").read_text())
    # Where logs go is another test's; a worker that is gone is looked for each second.
    del config["compute_logs"]
    config["run_monitoring"].update(poll_interval_seconds=1, cancel_timeout_seconds=5)
    (home / "dagster.yaml").write_text(yaml.safe_dump(config))
    postgres_server.make_database("dagster")
    with Sandbox(now=START + 5 * DAY).running() as exchange, ExitStack() as stack:
        (home / "seamless.yaml").write_text(SETTINGS.format(url=exchange.url))
        for name, value in {
            "DAGSTER_HOME": str(home),
            "SEAMLESS_CONFIG": str(home / "seamless.yaml"),
            "DAGSTER_POSTGRES_HOST": "127.0.0.1",
            "DAGSTER_POSTGRES_PORT": str(postgres_server.port),
            "DAGSTER_POSTGRES_PASSWORD": "not asked for here",
            "DAGSTER_CELERY_URL": own_redis.url.removesuffix("/0") + "/1",
        }.items():
            monkeypatch.setenv(name, value)
        cluster = Cluster(home, exchange)
        with DagsterInstance.from_ref(InstanceRef.from_dir(str(home))):
            pass
        daemon = cluster.start("daemon", "dagster._daemon", "run", *MODULE)
        stack.callback(end, daemon, signal.SIGKILL)
        yield cluster
        for worker in cluster.workers.values():
            if worker.poll() is None:
                end(worker, signal.SIGKILL)
    shutil.rmtree(home)


@pytest.mark.deep
def test_a_killed_workers_run_is_done_by_another_of_its_queue(cluster: Cluster) -> None:
    cluster.start_worker("first", "binance")
    cluster.start_worker("second", "kraken")
    cluster.exchange.faults.add(Fault("hang", path="klines", times=None))
    with DagsterInstance.from_ref(InstanceRef.from_dir(str(cluster.home))) as instance:
        launcher = instance.run_launcher
        assert isinstance(launcher, ExchangeQueueLauncher)
        held = cluster.launch(instance, "materialize_ohlcv_binance_1m", "2025-01-01")
        other = cluster.launch(instance, "materialize_ohlcv_kraken_1m", "2025-01-01")
        wait(lambda: "STEP_START" in events(instance, held), cluster)
        wait(lambda: run(instance, other).status == DagsterRunStatus.SUCCESS, cluster)
        assert run(instance, held).status == DagsterRunStatus.STARTED
        assert launcher.check_run_worker_health(run(instance, held)).status == WorkerStatus.RUNNING
        assert worker_of(launcher, run(instance, held)).startswith("first@")
        assert worker_of(launcher, run(instance, other)).startswith("second@")

        end(cluster.workers["first"], signal.SIGKILL)
        cluster.exchange.faults.clear()
        wait(lambda: run(instance, held).status == DagsterRunStatus.FAILURE, cluster)
        told = [f"{entry.user_message} {entry.dagster_event}" for entry in instance.all_logs(held)]
        assert any("is gone" in line for line in told), told
        cluster.start_worker("third", "binance,dagster")
        retries = wait(lambda: retries_of(instance, held), cluster)
        wait(lambda: run(instance, retries[0]).status == DagsterRunStatus.SUCCESS, cluster)
        assert worker_of(launcher, run(instance, retries[0])).startswith("third@")
    with sa.connect(cluster.home / "seamless.yaml") as pipeline:
        for node in pipeline.settings.nodes:
            assert len(pipeline.releases(node.node)) == 1
            assert pipeline.coverage(node.node, "2025-01-01", "2025-01-02").missing == 0


@pytest.mark.deep
def test_runs_end_by_hand_in_their_worker_and_in_their_queue(cluster: Cluster) -> None:
    cluster.start_worker("only", "binance")
    cluster.exchange.faults.add(Fault("hang", path="klines", times=None))
    with DagsterInstance.from_ref(InstanceRef.from_dir(str(cluster.home))) as instance:
        under_way = cluster.launch(instance, "materialize_ohlcv_binance_1m", "2025-01-01")
        wait(lambda: "STEP_START" in events(instance, under_way), cluster)
        waiting = cluster.launch(instance, "materialize_ohlcv_binance_1m", "2025-01-02")
        wait(lambda: "dagster-celery/task_id" in run(instance, waiting).tags, cluster)
        for run_id in (waiting, under_way):
            assert instance.run_launcher.terminate(run_id)
            wait(lambda run_id=run_id: run(instance, run_id).status == DagsterRunStatus.CANCELED, cluster)  # type: ignore[misc]
            assert not instance.run_launcher.terminate(run_id)
        assert not instance.run_launcher.terminate("no such run")
        cluster.exchange.faults.clear()
        again = cluster.launch(instance, "materialize_ohlcv_binance_1m", "2025-01-03")
        wait(lambda: run(instance, again).status == DagsterRunStatus.SUCCESS, cluster)


def run(instance: DagsterInstance, run_id: str) -> DagsterRun:
    """A run as it is now."""
    found = instance.get_run_by_id(run_id)
    assert found is not None
    return found


def events(instance: DagsterInstance, run_id: str) -> set[str]:
    """The kinds of events of a run so far."""
    return {entry.dagster_event_type.value for entry in instance.all_logs(run_id) if entry.dagster_event_type}


def worker_of(launcher: ExchangeQueueLauncher, launched: DagsterRun) -> str:
    """The worker that a run was done by, or is, as its result says."""
    return str(launcher.celery.AsyncResult(launched.tags["dagster-celery/task_id"]).worker)


def retries_of(instance: DagsterInstance, run_id: str) -> list[str]:
    """Runs that were launched in the place of another."""
    return [one.run_id for one in instance.get_runs() if one.parent_run_id == run_id]
