"""Runs as Celery tasks in warm workers: a queue for each exchange, dead workers noticed, runs ended by hand.

In `dagster.yaml`:

    run_launcher:
      module: seamless_assets.defs.cluster.launcher
      class: ExchangeQueueLauncher
      config: {broker: "redis://...", backend: "redis://...", default_queue: dagster}
"""

from __future__ import annotations

from dagster import DagsterRun
from dagster._core.launcher import CheckRunHealthResult, LaunchRunContext, ResumeRunContext, WorkerStatus
from dagster_celery.launcher import CeleryRunLauncher
from dagster_celery.tags import DAGSTER_CELERY_QUEUE_TAG, DAGSTER_CELERY_TASK_ID_TAG

from seamless_assets.defs.names import POOL_PREFIX

PING_S = 5.0
"""How long a worker may take to say that it lives; its children work while it answers."""
PINGS = 3


class ExchangeQueueLauncher(CeleryRunLauncher):
    """A `CeleryRunLauncher` that queues a run by its exchange, unless its tags name a queue.

    A run of one exchange waits in the queue of that name, any other in the default queue.
    """

    def launch_run(self, context: LaunchRunContext) -> None:
        """Hand a run to the workers of its queue."""
        super().launch_run(context._replace(dagster_run=self._queued(context.dagster_run)))

    def resume_run(self, context: ResumeRunContext) -> None:
        """Hand a run whose worker is gone to another of its queue."""
        super().resume_run(context._replace(dagster_run=self._queued(context.dagster_run)))

    def terminate(self, run_id: str) -> bool:
        """Ask a run to end, in its worker or in its queue; whether anybody could be asked."""
        run = self._instance.get_run_by_id(run_id)
        if run is None or run.is_finished or DAGSTER_CELERY_TASK_ID_TAG not in run.tags:
            return False
        # Of one that no worker has taken yet nobody says that it is over: Dagster's monitoring does.
        self._instance.report_run_canceling(run)
        return super().terminate(run_id)

    def check_run_worker_health(self, run: DagsterRun) -> CheckRunHealthResult:
        """Whether the run's worker lives: what Celery knows of its task, and the worker's own word."""
        known = super().check_run_worker_health(run)
        if known.status != WorkerStatus.RUNNING:
            return known
        task = self.celery.AsyncResult(run.tags[DAGSTER_CELERY_TASK_ID_TAG])
        worker = task.info.get("hostname") if isinstance(task.info, dict) else None
        if worker is None or task.state != "STARTED" or self._is_alive(worker):
            return known
        return CheckRunHealthResult(WorkerStatus.FAILED, f"The Celery worker {worker} is gone.")

    def _queued(self, run: DagsterRun) -> DagsterRun:
        if DAGSTER_CELERY_QUEUE_TAG in run.tags:
            return run
        tags = {DAGSTER_CELERY_QUEUE_TAG: queue_of(run) or self.default_queue}
        self._instance.add_run_tags(run.run_id, tags)
        return run.with_tags({**run.tags, **tags})

    def _is_alive(self, worker: str) -> bool:
        """Whether a worker answers, in one of several tries: a run is given up where it does not."""
        return any(self.celery.control.ping(destination=[worker], timeout=PING_S) for _ in range(PINGS))


def queue_of(run: DagsterRun) -> str | None:
    """The exchange whose pool all steps of a run share; None where they have none, or several."""
    known = run.run_op_concurrency
    pools = known.all_pools if known is not None else None
    exchanges = {pool.removeprefix(POOL_PREFIX) for pool in pools or () if pool.startswith(POOL_PREFIX)}
    return next(iter(exchanges)) if len(exchanges) == 1 else None
