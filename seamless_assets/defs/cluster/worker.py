"""The Celery application of workers, as the `dagster.yaml` of `DAGSTER_HOME` names its broker:

    celery -A seamless_assets.defs.cluster.worker worker -Q binance,dagster \\
        -I seamless_assets.definitions,ccxt.async_support

`-I` names the module of the definitions, and what else takes long to import: each child of the worker has
them at hand for every run.
"""

from __future__ import annotations

from celery import Celery
from dagster import DagsterInstance
from dagster_celery.launcher import CeleryRunLauncher
from dagster_celery.tasks import create_execute_job_task, create_resume_job_task

from seamless_assets.errors import ConfigError


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
    create_execute_job_task(launcher.celery)
    create_resume_job_task(launcher.celery)
    return launcher.celery


def __getattr__(name: str) -> Celery:
    # Celery asks for it; who only imports the module has no instance to make it of.
    if name != "app":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    made = globals()["app"] = worker_app()
    return made
