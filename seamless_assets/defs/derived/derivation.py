"""The sensor that has nodes derived anew where their inputs changed, and only there."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from logging import Logger
from typing import NamedTuple

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
from seamless_assets.defs.automation.failures import last_failed
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
LONGEST_WAIT_S = 21_600


class Looked(NamedTuple):
    """The last look at a node: the state of its release logs, and when (epoch seconds) that was.

    `asked_at` is when runs were asked for last, 0 where none were; `retries` is how often for the same state.
    """

    state: str
    at: float
    asked_at: float = 0.0
    retries: int = 0

    def is_retry_due(self, now: float, retry_s: float) -> bool:
        """Whether what failed since it was asked for may be asked for again."""
        wait = min(retry_s * 2.0 ** min(self.retries, 20), max(retry_s, LONGEST_WAIT_S))
        return self.asked_at > 0 and now - self.asked_at >= wait


NEVER = Looked("", 0.0)


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
        idle.sort(key=lambda one: looked.get(_shown(one), NEVER).at)
        requests: list[RunRequest] = []
        for one in idle[:NODES_A_TICK]:
            if clock.now() - now > LOOKING_S:
                break
            before, job_name = looked.get(_shown(one), NEVER), jobs[one.key].name
            is_retry = before.is_retry_due(now, switch.retry_s) and last_failed(
                context.instance, job_name, SENSOR_NAME_TAG, name
            )
            after, found = _look(pipeline, one, before, is_retry, switch.partitions, context.log)
            requests += [_request(one, job_name, batch, after) for batch in found]
            looked[_shown(one)] = after
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
        stored = json.loads(cursor or "{}")
        known = {str(name): Looked(*look) for name, look in stored.items()}
        return {name: look for name, look in known.items() if look.at + look.asked_at + look.retries >= 0}
    except (ValueError, TypeError, AttributeError):
        return {}


def _look(
    pipeline: Seamless, one: DerivedNode, before: Looked, is_retry: bool, count: int, log: Logger
) -> tuple[Looked, list[Batch]]:
    """This look, and what is due where the release logs changed since the one before, or it is a retry."""
    now = pipeline.aio.ports.clock.now()

    async def look() -> tuple[str, list[Partition]]:
        ports = pipeline.aio.ports
        lineage = await load_lineage(ports, one)
        if lineage.state == before.state and not is_retry:
            return before.state, []
        return lineage.state, await due_partitions(ports, one, lineage, count)

    try:
        state, due = pipeline.aio.portal.run(look())
    except (StoreError, ReadRefused) as error:
        # The next tick looks again; those of other nodes can be read.
        log.error(f"{one.node}: left out, its lineage cannot be read: {error}")
        return before._replace(at=now), []
    if state == before.state and not is_retry:
        return before._replace(at=now), []
    retries = before.retries + 1 if state == before.state else 0
    after = Looked(state, now, now if due else 0.0, retries)
    if not one.takes_ranges:
        return after, [Batch(part.key, part.key, (one.node,)) for part in due]
    return after, batches(due, {one.node: [part.key for part in due]})


def _request(one: DerivedNode, job_name: str, batch: Batch, look: Looked) -> RunRequest:
    retry = f"/retry-{look.retries}" if look.retries else ""
    return RunRequest(
        # The same releases give the same key, so that a tick that comes twice asks once.
        run_key=f"{_shown(one)}/{look.state}{retry}/{batch.first}..{batch.last}",
        job_name=job_name,
        asset_selection=[one.key],
        tags=partition_tags(batch.first, batch.last),
    )


def _shown(one: DerivedNode) -> str:
    return one.key.to_user_string()
