"""What a Celery worker does: the tasks that launchers ask for, with an instance that a process keeps."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
import yaml
from celery.canvas import Signature
from dagster import AssetKey, DagsterInstance
from dagster._core.code_pointer import ModuleCodePointer
from dagster._core.launcher import LaunchRunContext, ResumeRunContext
from dagster._core.origin import JobPythonOrigin, RepositoryPythonOrigin
from dagster._core.test_utils import create_run_for_test
from dagster_celery.config import TASK_EXECUTE_JOB_NAME, TASK_RESUME_JOB_NAME
from dagster_celery.launcher import CeleryRunLauncher
from support.services import PostgresServer

from seamless_assets.defs.cluster import instance as module
from seamless_assets.defs.cluster import worker
from seamless_assets.defs.cluster.instance import kept_instance

LAUNCHER = {
    "module": "seamless_assets.defs.cluster.launcher",
    "class": "ExchangeQueueLauncher",
    "config": {"broker": "memory://", "backend": "cache+memory://"},
}
ORIGIN = JobPythonOrigin(
    "job", RepositoryPythonOrigin(sys.executable, ModuleCodePointer("seamless_assets.definitions", "defs"))
)


@pytest.fixture(scope="module")
def laptop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A `DAGSTER_HOME` whose launcher asks workers; its database is made once."""
    home = tmp_path_factory.mktemp("laptop")
    configure(home)
    return home


@pytest.fixture(autouse=True)
def home(laptop: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """That home, and no instance that a test before this one kept."""
    monkeypatch.setenv("DAGSTER_HOME", str(laptop))
    monkeypatch.setattr(module, "_held", None)
    yield
    if module._held is not None:
        module._held.instance.dispose()


def configure(home: Path, **config: Any) -> None:
    """Write the `dagster.yaml` of a home."""
    (home / "dagster.yaml").write_text(yaml.safe_dump({"run_launcher": LAUNCHER, **config}))


@pytest.mark.filterwarnings("ignore::celery.exceptions.DuplicateTaskNameWarning")
@pytest.mark.parametrize("kind", ["launch", "resume"])
def test_tasks_take_what_launchers_send_and_share_an_instance(
    monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    sent: list[Signature] = []
    done: list[dict[str, Any]] = []

    def run(**asked: Any) -> int:
        done.append(asked)
        return 1

    monkeypatch.setattr(worker, "_execute_run_command_body", run)
    monkeypatch.setattr(worker, "_resume_run_command_body", run)

    def send(_: object, task_signature: Signature, **__: object) -> None:
        sent.append(task_signature)

    monkeypatch.setattr(CeleryRunLauncher, "_launch_celery_task_run", send)
    with DagsterInstance.get() as instance:
        made = create_run_for_test(instance, "job", job_code_origin=ORIGIN)
        if kind == "launch":
            instance.run_launcher.launch_run(LaunchRunContext(made, workspace=None))
        else:
            instance.run_launcher.resume_run(ResumeRunContext(made, workspace=None, resume_attempt_number=1))
    (signature,) = sent
    app, name = worker.worker_app(), TASK_EXECUTE_JOB_NAME if kind == "launch" else TASK_RESUME_JOB_NAME
    assert signature.task == name
    for _ in range(2):
        assert app.tasks[name].apply(kwargs=signature.kwargs).get() == 1
    assert [one["run_id"] for one in done] == [made.run_id] * 2
    assert done[0]["instance"] is done[1]["instance"] is kept_instance()
    assert done[0]["set_exit_code_on_failure"] is True


def test_what_runs_import_late_is_there_before_the_first() -> None:
    imports = worker.worker_app().conf.imports
    assert set(worker.WARM) <= set(imports)


def test_an_instance_inherited_by_a_fork_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    inherited = kept_instance()
    monkeypatch.setattr(module.os, "getpid", lambda: -1)
    own = kept_instance()
    assert own is not inherited and own is kept_instance()
    inherited.dispose()


def test_connections_are_kept_and_those_that_the_server_ended_are_opened_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, postgres_server: PostgresServer
) -> None:
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    postgres_server.make_database("kept")
    url = postgres_server.url.replace("/postgres", "/kept").replace("postgresql:", "postgresql+psycopg2:")
    configure(tmp_path, storage={"postgres": {"postgres_url": url}})
    with psycopg.connect(postgres_server.url, autocommit=True) as watcher:

        def connections() -> set[int]:
            found = watcher.execute("SELECT pid FROM pg_stat_activity WHERE datname = 'kept'")
            return {row[0] for row in found}

        def use() -> set[int]:
            instance = kept_instance()
            assert instance.get_runs() == []
            assert instance.get_latest_materialization_event(AssetKey("any")) is None
            return connections()

        first = use()
        assert first and use() == first
        for pid in first:
            watcher.execute("SELECT pg_terminate_backend(%s, 5000)", (pid,))
        assert not connections()
        again = use()
        assert len(again) == len(first) and again.isdisjoint(first)
