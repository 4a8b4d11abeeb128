"""The job that judges all nodes as they are: how fresh they are, and whether a sample is sent so today."""

# Dagster reads the annotations of ops at run time, so they are not postponed here.

from collections.abc import Callable, Iterable, Iterator

from dagster import (
    AssetCheckEvaluation,
    AssetCheckResult,
    AssetKey,
    Failure,
    JobDefinition,
    OpExecutionContext,
    ScheduleDefinition,
    job,
    op,
)

from seamless_assets.config.automation import AutomationSettings
from seamless_assets.config.load import Settings
from seamless_assets.core.node import NodeId
from seamless_assets.defs.automation.requests import schedule_status
from seamless_assets.defs.governing.report import report_check
from seamless_assets.defs.names import ProjectNames
from seamless_assets.defs.nodes.checks import judge_fresh, judge_stable
from seamless_assets.defs.resources import SeamlessResource
from seamless_assets.errors import SeamlessError
from seamless_assets.pipeline.connect import Seamless

Judge = Callable[[Seamless, AssetKey, NodeId], AssetCheckResult]
JUDGES: tuple[Judge, ...] = (judge_fresh, judge_stable)


def build_inspection(
    automation: AutomationSettings, names: ProjectNames
) -> tuple[ScheduleDefinition, JobDefinition]:
    """The job `inspection` and its schedule."""

    @op(
        name=names.prefixed("inspect_nodes"),
        description="Judge how fresh every node is; ask for a sample of its released bars anew.",
        required_resource_keys={names.project},
    )
    def inspect_nodes(context: OpExecutionContext) -> None:
        resource: SeamlessResource = getattr(context.resources, names.project)
        pipeline, unanswered = resource.pipeline, []
        for node, judges in _judged(pipeline.settings):
            try:
                _report(context, (judge(pipeline, names.asset_key(node), node) for judge in judges))
            except SeamlessError as error:
                unanswered.append(f"{node}: {error}")
                context.log.error(unanswered[-1])
        if unanswered:
            raise Failure("; ".join(unanswered), allow_retries=False)

    @job(
        name=names.prefixed("inspection"),
        description="Judge of all nodes the checks `fresh` and `stable`; of derived ones `fresh` alone.",
    )
    def inspection() -> None:
        inspect_nodes()

    schedule = ScheduleDefinition(
        job=inspection,
        cron_schedule=automation.inspection.cron,
        execution_timezone=automation.timezone,
        default_status=schedule_status(automation, automation.inspection),
    )
    return schedule, inspection


def _judged(settings: Settings) -> Iterator[tuple[NodeId, tuple[Judge, ...]]]:
    """Every node with what is judged of it; no exchange could send a sample of a derived one."""
    yield from ((member.node, JUDGES) for member in settings.nodes)
    yield from ((node, (judge_fresh,)) for node in settings.recipes)


def _report(context: OpExecutionContext, results: Iterable[AssetCheckResult]) -> None:
    """Leave check results at the instance, each as soon as it is known."""
    for result in results:
        assert result.asset_key is not None
        assert result.check_name is not None
        report_check(
            context.instance,
            AssetCheckEvaluation(
                asset_key=result.asset_key,
                check_name=result.check_name,
                passed=result.passed,
                severity=result.severity,
                description=result.description,
                metadata=result.metadata,
            ),
        )
