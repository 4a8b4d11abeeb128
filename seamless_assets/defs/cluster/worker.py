"""The Celery application of workers, as the `dagster.yaml` of `DAGSTER_HOME` names its broker:

    celery -A seamless_assets.defs.cluster.worker worker -Q binance,dagster -I seamless_assets.definitions

`-I` names the module of the definitions, and what else of yours takes long to import: each process of the
worker has them at hand for every run, beside what runs of ours import late.
"""

from __future__ import annotations

from collections.abc import Callable

from celery import Celery
from dagster import DagsterEvent, DagsterInstance
from dagster._cli.api import _execute_run_command_body, _resume_run_command_body
from dagster._grpc.types import ExecuteRunArgs, ResumeRunArgs
from dagster._serdes import unpack_value
from dagster_celery.config import TASK_EXECUTE_JOB_NAME, TASK_RESUME_JOB_NAME
from dagster_celery.launcher import CeleryRunLauncher
from dagster_shared.serdes.serdes import JsonSerializableValue

from seamless_assets.defs.cluster.instance import kept_instance
from seamless_assets.errors import ConfigError

WARM = ("ccxt.async_support", "seamless_assets.adapters.ccxt.source", "seamless_assets.defs.nodes.pictures")
"""What a run imports only when it comes to it; the processes of a worker have it from their parent."""


def worker_app() -> Celery:
    """The application that does what the instance's launcher asks for. Raises `ConfigError`."""
    with DagsterInstance.get() as instance:
        launcher = instance.run_launcher
    if not isinstance(launcher, CeleryRunLauncher):
        raise ConfigError(
            f"the run launcher in dagster.yaml is {type(launcher).__name__}, which asks no Celery worker; "
            "name ExchangeQueueLauncher of seamless_assets.defs.cluster.launcher there",
            problems=(),
        )
    app = launcher.celery
    app.conf.imports = (*app.conf.imports, *WARM)
    # At once, since of two tasks of one name Celery keeps the first; and for no other application.
    for name, run in ((TASK_EXECUTE_JOB_NAME, execute_run), (TASK_RESUME_JOB_NAME, resume_run)):
        app.task(name=name, track_started=True, lazy=False, shared=False)(run)
    return app


def execute_run(execute_job_args_packed: JsonSerializableValue) -> int:
    """The task that a launcher asks for, with an instance that the process keeps; 1 where the run fails."""
    return _done(_execute_run_command_body, unpack_value(execute_job_args_packed, as_type=ExecuteRunArgs))


def resume_run(execute_job_args_packed: JsonSerializableValue) -> int:
    """The same of a run whose worker is gone; launchers call its argument by this name, too."""
    return _done(_resume_run_command_body, unpack_value(execute_job_args_packed, as_type=ResumeRunArgs))


def _done(execute: Callable[..., int], asked: ExecuteRunArgs | ResumeRunArgs) -> int:
    return execute(
        instance=kept_instance(),
        run_id=asked.run_id,
        write_stream_fn=_drop,
        set_exit_code_on_failure=asked.set_exit_code_on_failure is not False,
    )


def _drop(_: DagsterEvent) -> None:
    """Nobody reads a run's events from its worker: the database has them."""


def __getattr__(name: str) -> Celery:
    # Celery asks for it; who only imports the module has no instance to make it of.
    if name != "app":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    made = globals()["app"] = worker_app()
    return made
