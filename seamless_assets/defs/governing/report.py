"""Telling a Dagster instance what was done to releases, inside a run and outside."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from dagster import AssetCheckEvaluation, AssetMaterialization, DagsterError, DagsterInstance
from dagster._core.definitions.asset_checks.asset_check_evaluation import (
    AssetCheckEvaluationTargetMaterializationData,
)
from dagster_shared.record import copy

from seamless_assets.aio.late_imports import late_imports
from seamless_assets.core.node import NodeId
from seamless_assets.core.releases.release import Release
from seamless_assets.defs.governing.events import events_of
from seamless_assets.defs.names import ProjectNames
from seamless_assets.errors import DagsterReportFailed, InvalidInput, SeamlessError
from seamless_assets.pipeline.connect import Seamless


def report(
    instance: DagsterInstance,
    events: Iterable[AssetMaterialization | AssetCheckEvaluation],
    log_event: Callable[[AssetMaterialization], None] | None = None,
) -> None:
    """Leave events in an instance; `log_event` makes the materializations those of a run."""
    for event in events:
        if isinstance(event, AssetCheckEvaluation):
            report_check(instance, event)
        elif log_event is not None:
            log_event(event)
        else:
            instance.report_runless_asset_event(event)


def report_check(instance: DagsterInstance, evaluation: AssetCheckEvaluation) -> None:
    """Leave a check's result in an instance, as one of the asset's newest materialization.

    Without being told of which, the UI goes by times, and those of one second count as not evaluated.
    """
    newest = instance.fetch_materializations(evaluation.asset_key, limit=1).records
    target = (
        AssetCheckEvaluationTargetMaterializationData(
            storage_id=newest[0].storage_id, run_id=newest[0].run_id, timestamp=newest[0].timestamp
        )
        if newest
        else None
    )
    instance.report_runless_asset_event(copy(evaluation, target_materialization_data=target))


def _refuse_elsewhere(home: Path, base: Path) -> None:
    """A project's own dagster.yaml may name folders below it, which are others from elsewhere."""
    if home == base and Path.cwd() != base:
        raise InvalidInput(f"its dagster.yaml is for commands that start in {base}; start there", value=home)


def report_release(pipeline: Seamless, home: Path, node: str, entry: Release) -> int:
    """Tell the instance of a `DAGSTER_HOME` of a release made outside of it; the number of events left there.

    The asset is the one of the project of the default name. Raises `DagsterReportFailed`.
    """
    # It sets the level of a logger as it is imported; an instance needs it in any case.
    with late_imports("sqlalchemy"):
        from sqlalchemy.exc import SQLAlchemyError

    known = NodeId.parse(node)
    try:
        _refuse_elsewhere(home, pipeline.settings.base)
        with DagsterInstance.from_config(str(home)) as instance:
            events = list(events_of(pipeline, ProjectNames().asset_key(known), known, entry))
            report(instance, events)
    except (DagsterError, SQLAlchemyError, OSError, SeamlessError) as error:
        raise DagsterReportFailed(
            f"release {entry.seq} of {known} is made and readers find it, but the Dagster instance of {home} "
            f"was not told: {error}; materialize what it changed there to see it",
            node_id=str(known),
        ) from error
    return len(events)
