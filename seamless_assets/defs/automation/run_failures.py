"""The sensor that says of each failed run over nodes why it failed, and what to do."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from dagster import (
    AssetKey,
    DagsterRun,
    RunFailureSensorContext,
    SensorDefinition,
    SkipReason,
    run_failure_sensor,
)

from seamless_assets.config.load import Settings
from seamless_assets.defs.automation.failures import OUTAGES, step_errors
from seamless_assets.defs.automation.requests import PARTITION_TAGS, sensor_status
from seamless_assets.defs.names import NodesByKey, ProjectNames

NEXT_STEPS = {
    **dict.fromkeys(
        OUTAGES, "what gave no answer may be back; `recovery` and `freshness` ask again where they are on"
    ),
    "DagsterAssetCheckFailedError": "read the check `publishable`; materialize again once the exchange mends "
    "it, or run the job release_by_hand",
    "StoreError": "run `seamless verify` and `seamless doctor`",
}
BY_HAND = "what gave no answer may be back; launch it by hand, `derivation` asks once its inputs change"
OTHERWISE = "read the run's log"


def build_run_failures(
    settings: Settings, names: ProjectNames, jobs: Iterable[str], derived: Mapping[AssetKey, str]
) -> SensorDefinition:
    """The sensor `run_failures`, of runs of the named jobs, and of those launched from pages of nodes.

    `derived` are the jobs of derived nodes, by the assets' keys.
    """
    switch, by_key = settings.automation.run_failures, NodesByKey(settings.nodes)
    derivations, others = frozenset(derived.values()), frozenset(derived)
    named = derivations.union(jobs)

    def is_over_nodes(run: DagsterRun) -> bool:
        if run.job_name in named:
            return True
        selected = run.asset_selection or frozenset()
        nodes = ((key, by_key.find(key)) for key in selected)
        return bool(selected & others) or any(node and names.asset_key(node) == key for key, node in nodes)

    def is_derivation(run: DagsterRun) -> bool:
        selected = run.asset_selection or frozenset()
        return run.job_name in derivations or bool(selected and selected <= others)

    # Without named jobs it hears of all runs of the code location, those of asset pages among them.
    @run_failure_sensor(
        name=names.prefixed("run_failures"),
        minimum_interval_seconds=switch.interval_s,
        default_status=sensor_status(settings.automation, switch),
        description="Log each failed run over nodes: why it failed, and what to do.",
    )
    def run_failures(context: RunFailureSensorContext) -> SkipReason | None:
        if not is_over_nodes(context.dagster_run):
            return SkipReason(f"{context.dagster_run.job_name} is not over nodes of this project")
        context.log.error(failure_report(context, is_derivation=is_derivation(context.dagster_run)))
        return None

    return run_failures


def failure_report(context: RunFailureSensorContext, *, is_derivation: bool = False) -> str:
    """One line on a failed run: its job and partitions, the reason, the next step."""
    by_hand = dict.fromkeys(OUTAGES, BY_HAND) if is_derivation else {}
    next_steps = {**NEXT_STEPS, **by_hand}
    run = context.dagster_run
    partitions = dict.fromkeys(run.tags[tag] for tag in PARTITION_TAGS if tag in run.tags)
    reasons, steps = [], []
    for error in step_errors(context.instance, run.run_id):
        reasons.append(error.message.strip())
        steps.append(next_steps.get(error.cls_name or "", OTHERWISE))
    reason = "; ".join(reasons) or (context.failure_event.message or "no step failed, its process ended")
    over = f" over {' to '.join(partitions)}" if partitions else ""
    next_step = "; ".join(dict.fromkeys(steps)) or OTHERWISE
    return f"{run.job_name}{over} failed ({run.run_id}): {reason}. Next: {next_step}"
