"""Jobs over all nodes: one keeps the stores small, one proves what is in them."""

# Dagster reads the annotations of ops at run time, so they are not postponed here.

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from dagster import (
    AssetCheckEvaluation,
    AssetCheckKey,
    AssetCheckSeverity,
    AssetKey,
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
from seamless_assets.defs.derived.nodes import DerivedNode
from seamless_assets.defs.governing.report import report_check
from seamless_assets.defs.names import PUBLISHABLE, ProjectNames
from seamless_assets.defs.resources import SeamlessResource
from seamless_assets.errors import SeamlessError, StoreError
from seamless_assets.pipeline.connect import Seamless

Row = Mapping[str, str | int]
FAULTS = "faults"
"""The entry of a check's metadata in which verification tells what it found."""


def build_upkeep(
    automation: AutomationSettings, names: ProjectNames, derived: Sequence[DerivedNode] = ()
) -> dict[ScheduleDefinition, JobDefinition]:
    """The jobs `housekeeping` and `verification` over the nodes of the settings and `derived` ones.

    They are keyed by their schedules.
    """
    keys = {one.node: one.key for one in derived}
    housekeeping, verification = _housekeeping_job(names, keys), _verification_job(names, keys)

    def schedule(made: JobDefinition, switch: Any) -> ScheduleDefinition:
        return ScheduleDefinition(
            job=made,
            cron_schedule=switch.cron,
            execution_timezone=automation.timezone,
            default_status=schedule_status(automation, switch),
        )

    return {
        schedule(housekeeping, automation.housekeeping): housekeeping,
        schedule(verification, automation.verification): verification,
    }


def _housekeeping_job(names: ProjectNames, derived: Mapping[NodeId, AssetKey]) -> JobDefinition:
    @op(
        name=names.prefixed("compact_and_clean_up"),
        description="Compact the closed months or years of every node, then remove its files that nothing "
        "needs; drop hot bars past hot_store.keep_days.",
        required_resource_keys={names.project},
    )
    def compact_and_clean_up(context: OpExecutionContext) -> None:
        pipeline = _pipeline(context, names)
        keys = _keys(names, pipeline, derived)
        shown = _each_node(context, keys, lambda node, key: _keep_house(context, key, pipeline, node))
        context.add_output_metadata({**shown, "hot_bars_dropped": pipeline.evict()})

    @job(
        name=names.prefixed("housekeeping"),
        description="Compact all nodes, remove what nothing needs and drop old hot bars; every as_of reads "
        "as before.",
    )
    def housekeeping() -> None:
        compact_and_clean_up()

    return housekeeping


def _verification_job(names: ProjectNames, derived: Mapping[NodeId, AssetKey]) -> JobDefinition:
    @op(
        name=names.prefixed("verify_artifacts"),
        description="Prove every hash of every node, from its release log down to its bars.",
        required_resource_keys={names.project},
    )
    def verify_artifacts(context: OpExecutionContext) -> None:
        pipeline = _pipeline(context, names)
        keys = _keys(names, pipeline, derived)
        shown = _each_node(context, keys, lambda node, key: _verify(context, key, pipeline, node))
        context.add_output_metadata(shown)

    @job(
        name=names.prefixed("verification"),
        description="Prove every hash of all nodes; of one with a fault the check `publishable` fails, until "
        "it is proven sound.",
    )
    def verification() -> None:
        verify_artifacts()

    return verification


def _pipeline(context: OpExecutionContext, names: ProjectNames) -> Seamless:
    resource: SeamlessResource = getattr(context.resources, names.project)
    return resource.pipeline


def _keys(
    names: ProjectNames, pipeline: Seamless, derived: Mapping[NodeId, AssetKey]
) -> dict[NodeId, AssetKey]:
    """All nodes with their keys."""
    declared = {member.node: names.asset_key(member.node) for member in pipeline.settings.nodes}
    return {**declared, **derived}


def _each_node(
    context: OpExecutionContext, keys: Mapping[NodeId, AssetKey], work: Callable[[NodeId, AssetKey], Row]
) -> dict[str, Any]:
    """What `work` says of each node, as a table; one that fails stops no other, and the step in the end."""
    rows, failed = [], []
    for node, key in keys.items():
        try:
            row = work(node, key)
        except SeamlessError as error:
            failed.append(f"{node}: {error}")
            context.log.error(failed[-1])
        else:
            rows.append(TableRecord(row))
            context.log.info(", ".join(f"{name} {value}" for name, value in row.items()))
    shown = {"nodes": MetadataValue.table(rows)} if rows else {}
    if failed:
        raise Failure("; ".join(failed), metadata=shown, allow_retries=False)
    return shown


def _keep_house(context: OpExecutionContext, key: AssetKey, pipeline: Seamless, node: NodeId) -> Row:
    merged = pipeline.compact(node)
    if merged.release is not None and merged.after < merged.before:
        shown = {"compacted": f"{merged.before} artifacts to {merged.after}", "as_of": merged.release.as_of}
        context.log_event(AssetObservation(key, metadata=shown))
    (cleaned,) = pipeline.gc(node)
    return {
        "node": str(node),
        "artifacts before": merged.before,
        "artifacts after": merged.after,
        "files removed": len(cleaned.removed),
        "bytes freed": cleaned.freed,
    }


def _verify(context: OpExecutionContext, key: AssetKey, pipeline: Seamless, node: NodeId) -> Row:
    """What was proven of a node. Raises `StoreError` where something is not as it was written."""
    report, check = pipeline.verify(node), AssetCheckKey(key, PUBLISHABLE)
    if not report.is_sound:
        first = report.faults[0]
        said = (
            f"{len(report.faults)} of its files are not what was released, the first is {first.uri}: "
            f"{first.problem}; restore it from a copy, or withdraw its partition and materialize it again"
        )
        faults = {FAULTS: MetadataValue.table([_fault_row(fault) for fault in report.faults[:100]])}
        _tell(context, check, False, said, faults)
        raise StoreError(said, node_id=str(node))
    if _was_found_faulty(context, check):
        _tell(context, check, True, f"all of its {report.artifacts} artifacts are what was released", {})
    for warning in report.warnings:
        context.log.warning(f"{node}: {warning}")
    return {
        "node": str(node),
        "releases": report.releases,
        "artifacts": report.artifacts,
        "bytes": report.file_bytes,
        "orphans": len(report.orphans),
    }


def _was_found_faulty(context: OpExecutionContext, key: AssetCheckKey) -> bool:
    """Whether the last verdict of a check is one of verification, that something is not as it was written."""
    record = context.instance.get_latest_asset_check_evaluation_record(key)
    last = record.evaluation if record else None
    return isinstance(last, AssetCheckEvaluation) and not last.passed and FAULTS in last.metadata


def _tell(
    context: OpExecutionContext, key: AssetCheckKey, passed: bool, said: str, shown: Mapping[str, Any]
) -> None:
    report_check(
        context.instance,
        AssetCheckEvaluation(
            check_name=key.name,
            passed=passed,
            asset_key=key.asset_key,
            severity=AssetCheckSeverity.ERROR,
            description=said,
            blocking=True,
            metadata=shown,
        ),
    )


def _fault_row(fault: Any) -> TableRecord:
    return TableRecord({"file": fault.uri, "problem": fault.problem})
