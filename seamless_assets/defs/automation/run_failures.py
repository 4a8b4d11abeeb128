"""The sensor that says of each failed run over nodes why it failed, and what to do."""

from __future__ import annotations

from collections.abc import Mapping

from dagster import RunFailureSensorContext, SensorDefinition, run_failure_sensor
from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition

from seamless_assets.config.load import Settings
from seamless_assets.defs.automation.failures import OUTAGES, step_errors
from seamless_assets.defs.automation.requests import PARTITION_TAGS, sensor_status
from seamless_assets.defs.names import ProjectNames

NEXT_STEPS = {
    **dict.fromkeys(
        OUTAGES, "what gave no answer may be back; `recovery` and `freshness` ask again where they are on"
    ),
    "DagsterAssetCheckFailedError": "read the check `publishable`; materialize again once the exchange mends "
    "it, or run the job release_by_hand",
    "StoreError": "run `seamless verify` and `seamless doctor`",
}
OTHERWISE = "read the run's log"


def build_run_failures(
    settings: Settings, names: ProjectNames, jobs: Mapping[str, UnresolvedAssetJobDefinition]
) -> SensorDefinition:
    """The sensor `run_failures`."""
    switch = settings.automation.run_failures

    @run_failure_sensor(
        name=names.prefixed("run_failures"),
        monitored_jobs=list(jobs.values()),
        minimum_interval_seconds=switch.interval_s,
        default_status=sensor_status(settings.automation, switch),
        description="Log each failed run over nodes: why it failed, and what to do.",
    )
    def run_failures(context: RunFailureSensorContext) -> None:
        context.log.error(failure_report(context))

    return run_failures


def failure_report(context: RunFailureSensorContext) -> str:
    """One line on a failed run: its job and partitions, the reason, the next step."""
    run = context.dagster_run
    partitions = dict.fromkeys(run.tags[tag] for tag in PARTITION_TAGS if tag in run.tags)
    reasons, steps = [], []
    for error in step_errors(context.instance, run.run_id):
        reasons.append(error.message.strip())
        steps.append(NEXT_STEPS.get(error.cls_name or "", OTHERWISE))
    reason = "; ".join(reasons) or (context.failure_event.message or "no step failed, its process ended")
    over = f" over {' to '.join(partitions)}" if partitions else ""
    next_step = "; ".join(dict.fromkeys(steps)) or OTHERWISE
    return f"{run.job_name}{over} failed ({run.run_id}): {reason}. Next: {next_step}"
