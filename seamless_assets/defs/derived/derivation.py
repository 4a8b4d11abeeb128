"""The sensor that has nodes derived anew where their inputs changed, and only there."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from logging import Logger

from dagster import (
    AssetKey,
    AssetSelection,
    RunRequest,
    SensorDefinition,
    SensorEvaluationContext,
    SensorResult,
    SkipReason,
    define_asset_job,
    in_process_executor,
)
from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition
from dagster._core.storage.tags import SENSOR_NAME_TAG

from seamless_assets.config.load import Settings
from seamless_assets.core.calendar.partition import Partition
from seamless_assets.defs.automation.due import Batch, batches
from seamless_assets.defs.automation.requests import jobs_under_way, partition_tags, sensor_status
from seamless_assets.defs.derived.due import due_partitions, load_lineage
from seamless_assets.defs.derived.nodes import DerivedNode
from seamless_assets.defs.names import ProjectNames
from seamless_assets.defs.resources import SeamlessResource
from seamless_assets.errors import ReadRefused, StoreError
from seamless_assets.pipeline.connect import Seamless

NODES_A_TICK = 20
"""So many nodes are looked at in one tick, those that wait longest; Dagster ends a tick after a minute."""
LOOKING_S = 20.0
"""So long a tick looks at one node after another; what it found by then is kept."""
Looked = tuple[str, float]
"""The state of the release logs at a node's last look, and when (epoch seconds) that was."""
NEVER: Looked = ("", 0.0)


def build_derivation_jobs(
    names: ProjectNames, derived: Sequence[DerivedNode]
) -> dict[AssetKey, UnresolvedAssetJobDefinition]:
    """A job for each derived node, by its key: `derive_ohlcv_research_BTC_USDT_4h`."""
    return {
        one.key: define_asset_job(
            names.prefixed(f"derive_{re.sub(r'[^A-Za-z0-9]', '_', '_'.join(one.key.path))}"),
            executor_def=in_process_executor,
            selection=AssetSelection.assets(one.key),
            description=f"Derive partitions of {one.node}.",
        )
        for one in derived
    }


def build_derivation(
    settings: Settings,
    names: ProjectNames,
    derived: Sequence[DerivedNode],
    jobs: Mapping[AssetKey, UnresolvedAssetJobDefinition],
) -> SensorDefinition:
    """The sensor `derivation`."""
    switch, name = settings.automation.derivation, names.prefixed("derivation")

    def evaluate(context: SensorEvaluationContext) -> SensorResult:
        resource: SeamlessResource = getattr(context.resources, names.project)
        pipeline = resource.pipeline
        clock = pipeline.aio.ports.clock
        now = clock.now()
        looked = read_cursor(context.cursor)
        busy = jobs_under_way(context.instance, SENSOR_NAME_TAG, name)
        idle = [one for one in derived if jobs[one.key].name not in busy]
        idle.sort(key=lambda one: looked.get(_shown(one), NEVER)[1])
        requests: list[RunRequest] = []
        for one in idle[:NODES_A_TICK]:
            if clock.now() - now > LOOKING_S:
                break
            before = looked.get(_shown(one), NEVER)[0]
            state, found = _look(pipeline, one, before, switch.partitions, context.log)
            requests += [_request(one, jobs[one.key].name, batch, state) for batch in found]
            looked[_shown(one)] = (state, now)
        known = {_shown(one): looked[_shown(one)] for one in derived if _shown(one) in looked}
        reason = None if requests else SkipReason(f"nothing is due of {len(derived)} derived nodes")
        return SensorResult(run_requests=requests, skip_reason=reason, cursor=json.dumps(known))

    return SensorDefinition(
        name=name,
        evaluation_fn=evaluate,
        jobs=list(jobs.values()),
        minimum_interval_seconds=switch.interval_s,
        default_status=sensor_status(settings.automation, switch),
        required_resource_keys={names.project},
        description="Derive nodes anew whose inputs changed, and what their inputs hold by now.",
    )


def read_cursor(cursor: str | None) -> dict[str, Looked]:
    """What was looked at before; nothing where the cursor is none of ours."""
    try:
        known = json.loads(cursor or "{}")
        return {str(name): (str(state), float(at)) for name, (state, at) in known.items()}
    except (ValueError, TypeError, AttributeError):
        return {}


def _look(
    pipeline: Seamless, one: DerivedNode, before: str, count: int, log: Logger
) -> tuple[str, list[Batch]]:
    """The state of the release logs, and what is due where it is not the one before."""

    async def look() -> tuple[str, list[Partition]]:
        ports = pipeline.aio.ports
        lineage = await load_lineage(ports, one)
        if lineage.state == before:
            return before, []
        return lineage.state, await due_partitions(ports, one, lineage, count)

    try:
        state, due = pipeline.aio.portal.run(look())
    except (StoreError, ReadRefused) as error:
        # The next tick looks again; those of other nodes can be read.
        log.error(f"{one.node}: left out, its lineage cannot be read: {error}")
        return before, []
    if not one.takes_ranges:
        return state, [Batch(part.key, part.key, (one.node,)) for part in due]
    return state, batches(due, {one.node: [part.key for part in due]})


def _request(one: DerivedNode, job_name: str, batch: Batch, state: str) -> RunRequest:
    return RunRequest(
        # The same releases give the same key, so that a tick that comes twice asks once.
        run_key=f"{_shown(one)}/{state}/{batch.first}..{batch.last}",
        job_name=job_name,
        asset_selection=[one.key],
        tags=partition_tags(batch.first, batch.last),
    )


def _shown(one: DerivedNode) -> str:
    return one.key.to_user_string()
