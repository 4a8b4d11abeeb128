"""What keeps the stores small: a job that compacts, removes what nothing needs and drops old hot bars."""

# Dagster reads the annotations of ops at run time, so they are not postponed here.

from dagster import (
    AssetObservation,
    Failure,
    JobDefinition,
    MetadataValue,
    OpExecutionContext,
    ScheduleDefinition,
    TableRecord,
    job,
    op,
)

from seamless_assets.config.automation import AutomationSettings
from seamless_assets.core.node import NodeId
from seamless_assets.defs.automation.requests import schedule_status
from seamless_assets.defs.names import ProjectNames
from seamless_assets.defs.resources import SeamlessResource
from seamless_assets.errors import SeamlessError
from seamless_assets.pipeline.connect import Seamless


def build_housekeeping(
    told: AutomationSettings, names: ProjectNames
) -> tuple[JobDefinition, ScheduleDefinition]:
    """The job `housekeeping`, and its schedule."""

    @op(
        name=names.prefixed("compact_and_clean_up"),
        description="Compact the closed months or years of every node, then remove its files that nothing "
        "needs; drop hot bars past hot_store.keep_days.",
        required_resource_keys={names.project},
    )
    def compact_and_clean_up(context: OpExecutionContext) -> None:
        _keep_all(context, names)

    @job(
        name=names.prefixed("housekeeping"),
        description="Compact all nodes, remove what nothing needs and drop old hot bars; every as_of reads "
        "as before.",
    )
    def housekeeping() -> None:
        compact_and_clean_up()

    return housekeeping, ScheduleDefinition(
        name=names.prefixed("housekeeping_schedule"),
        job=housekeeping,
        cron_schedule=told.housekeeping.cron,
        execution_timezone=told.timezone,
        default_status=schedule_status(told, told.housekeeping),
    )


def _keep_all(context: OpExecutionContext, names: ProjectNames) -> None:
    """Node by node; one that fails stops no other, and fails the step at its end."""
    resource: SeamlessResource = getattr(context.resources, names.project)
    rows, failed = [], []
    for member in resource.settings.nodes:
        try:
            row = _keep_house(context, names, resource.pipeline, member.node)
        except SeamlessError as error:
            failed.append(f"{member.node}: {error}")
            context.log.error(failed[-1])
        else:
            rows.append(TableRecord(row))
            context.log.info(", ".join(f"{name} {value}" for name, value in row.items()))
    shown = {"nodes": MetadataValue.table(rows)} if rows else {}
    if failed:
        raise Failure("; ".join(failed), metadata=shown, allow_retries=False)
    context.add_output_metadata({**shown, "hot_bars_dropped": resource.pipeline.evict()})


def _keep_house(
    context: OpExecutionContext, names: ProjectNames, pipeline: Seamless, node: NodeId
) -> dict[str, str | int]:
    merged = pipeline.compact(node)
    if merged.release is not None and merged.after < merged.before:
        shown = {"compacted": f"{merged.before} artifacts to {merged.after}", "as_of": merged.release.as_of}
        context.log_event(AssetObservation(names.asset_key(node), metadata=shown))
    (cleaned,) = pipeline.gc(node)
    return {
        "node": str(node),
        "artifacts before": merged.before,
        "artifacts after": merged.after,
        "files removed": len(cleaned.removed),
        "bytes freed": cleaned.freed,
    }
