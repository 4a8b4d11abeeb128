"""The job that fills what readers wanted and left behind, and its schedule."""

# Dagster reads the annotations of ops at run time, so they are not postponed here.

from collections.abc import Iterator

from dagster import (
    JobDefinition,
    MetadataValue,
    OpExecutionContext,
    RunRequest,
    ScheduleDefinition,
    ScheduleEvaluationContext,
    SkipReason,
    TableRecord,
    job,
    op,
)
from dagster._core.storage.tags import SCHEDULE_NAME_TAG

from seamless_assets.config.automation import AutomationSettings
from seamless_assets.core.calendar.instant import seconds_text
from seamless_assets.defs.automation.requests import is_under_way, schedule_status
from seamless_assets.defs.names import ProjectNames
from seamless_assets.defs.resources import SeamlessResource
from seamless_assets.flows.reading.background import DrainedFill
from seamless_assets.pipeline.connect import Seamless


def build_fills(
    automation: AutomationSettings, names: ProjectNames
) -> tuple[ScheduleDefinition, JobDefinition]:
    """The job `fills`, and the schedule that runs it where something is left to fill or to deliver."""
    made = _job(names)

    def evaluate(context: ScheduleEvaluationContext) -> Iterator[RunRequest | SkipReason]:
        if is_under_way(context.instance, made.name, SCHEDULE_NAME_TAG, f"{made.name}_schedule"):
            yield SkipReason("the last run that this schedule asked for is not over")
        elif left := _left(_pipeline(context.resources, names)):
            context.log.info(left)
            yield RunRequest()
        else:
            yield SkipReason("nobody left a fill or a message of the webhook behind")

    schedule = ScheduleDefinition(
        name=f"{made.name}_schedule",
        job_name=made.name,
        cron_schedule=automation.fills.cron,
        execution_timezone=automation.timezone,
        execution_fn=evaluate,
        required_resource_keys={names.project},
        description="Fill what readers wanted and left behind, where there is such a thing.",
        default_status=schedule_status(automation, automation.fills),
    )
    return schedule, made


def _job(names: ProjectNames) -> JobDefinition:
    @op(
        name=names.prefixed("drain_fills"),
        description="Fill what readers wanted and nobody fills any more; send what waits for the webhook.",
        required_resource_keys={names.project},
    )
    def drain_fills(context: OpExecutionContext) -> None:
        pipeline = _pipeline(context.resources, names)
        drained = pipeline.drain_fills()
        for fill in drained:
            for problem in fill.problems:
                context.log.warning(f"{fill.node_id}: {problem}")
        shown: dict[str, MetadataValue] = {}
        if drained:
            shown["fills"] = MetadataValue.table([_row(fill) for fill in drained])
        if pipeline.settings.environment.world_webhook_url is not None:
            shown["messages_waiting"] = MetadataValue.int(pipeline.deliver_webhooks())
        context.add_output_metadata(shown)

    @job(
        name=names.prefixed("fills"),
        description="Fill what readers wanted and left behind; what comes to nothing is tried again later.",
    )
    def fills() -> None:
        drain_fills()

    return fills


def _left(pipeline: Seamless) -> str:
    """What there is to do, in words; empty where there is nothing."""
    ports, portal = pipeline.aio.ports, pipeline.aio.portal
    due_in = portal.run(ports.fill_queue.next_due_in(ports.reading.exchanges))
    if due_in is not None and due_in <= 0:
        return "a fill is held by nobody"
    waiting = portal.run(ports.webhooks.count_pending()) if ports.webhooks is not None else 0
    return f"{waiting} messages wait for the webhook" if waiting else ""


def _pipeline(resources: object, names: ProjectNames) -> Seamless:
    resource: SeamlessResource = getattr(resources, names.project)
    return resource.pipeline


def _row(fill: DrainedFill) -> TableRecord:
    return TableRecord(
        {
            "node": fill.node_id,
            "start": seconds_text(fill.start),
            "end": seconds_text(fill.end),
            "problems": "; ".join(fill.problems),
        }
    )
