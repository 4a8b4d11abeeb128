"""The sensors that keep nodes fresh: one for each exchange, one run for each shard with stale nodes."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from itertools import groupby
from logging import Logger
from typing import Any, NamedTuple

from dagster import (
    RunRequest,
    SensorDefinition,
    SensorEvaluationContext,
    SensorResult,
    SkipReason,
)
from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition
from dagster._core.storage.tags import SENSOR_NAME_TAG

from seamless_assets.config.load import Settings
from seamless_assets.defs.automation.due import Freshness, look_at
from seamless_assets.defs.automation.failures import last_was_outage
from seamless_assets.defs.automation.requests import jobs_under_way, run_requests, sensor_status
from seamless_assets.defs.automation.schedules import grid_of
from seamless_assets.defs.automation.states import load_states
from seamless_assets.defs.names import ProjectNames
from seamless_assets.defs.resources import SeamlessResource
from seamless_assets.defs.shards import Shard
from seamless_assets.errors import StoreError

SHARDS_A_TICK = 20
"""So many shards are looked at in one tick, those that wait longest; Dagster ends a tick after a minute."""


class Looked(NamedTuple):
    """When a shard was looked at last (0: never), and when it is to be looked at again (epoch seconds)."""

    at: float
    next_at: float


NEVER = Looked(0.0, 0.0)


def build_freshness(
    settings: Settings,
    names: ProjectNames,
    shards: Iterable[Shard],
    jobs: Mapping[str, UnresolvedAssetJobDefinition],
) -> Iterator[SensorDefinition]:
    """`freshness_<exchange>` for each exchange."""
    for exchange, group in groupby(shards, lambda shard: shard.exchange):
        yield _sensor(settings, names, exchange, list(group), jobs)


def _sensor(
    settings: Settings,
    names: ProjectNames,
    exchange: str,
    shards: list[Shard],
    jobs: Mapping[str, UnresolvedAssetJobDefinition],
) -> SensorDefinition:
    freshness, name = settings.automation.freshness, names.prefixed(f"freshness_{exchange}")
    how = Freshness(freshness.max_lag_s, freshness.retry_s, freshness.partitions)

    def evaluate(context: SensorEvaluationContext) -> SensorResult:
        resource: SeamlessResource = getattr(context.resources, names.project)
        pipeline = resource.pipeline
        now = pipeline.aio.ports.clock.now()
        looked = read_cursor(context.cursor, context.log)
        # A look in the future is that of a clock that was set back since.
        looked = {name: look for name, look in looked.items() if look.at <= now}
        busy = jobs_under_way(context.instance, SENSOR_NAME_TAG, name)
        idle = [shard for shard in shards if shard.job_name not in busy]
        waiting = [shard for shard in idle if looked.get(shard.name, NEVER).next_at <= now]
        due = sorted(waiting, key=lambda shard: looked.get(shard.name, NEVER).next_at)
        requests: list[RunRequest] = []
        for shard in due[:SHARDS_A_TICK]:
            before = looked.get(shard.name)
            try:
                states = load_states(pipeline, shard.nodes, context.log)
            except StoreError:
                # Each of its nodes is logged; those of other jobs can be read. This was no look.
                looked[shard.name] = Looked(before.at if before else 0.0, now + freshness.retry_s)
                continue
            was_outage = last_was_outage(context.instance, shard.job_name, SENSOR_NAME_TAG, name)
            looked_at = (before.at or None) if before else None
            look = look_at(grid_of(settings, shard), states, now, looked_at, how, was_outage)
            # The same cursor gives the same key, so that a tick that comes twice asks once.
            since = f"{looked_at:.0f}" if looked_at else f"first-{now // freshness.retry_s:.0f}"
            requests += run_requests(shard, names, look.batches, f"{shard.name}/{since}")
            looked[shard.name] = Looked(now, look.next_at)
        known = {shard.name: looked[shard.name] for shard in shards if shard.name in looked}
        reason = None if requests else SkipReason(_at_rest(len(due), known, now))
        return SensorResult(run_requests=requests, skip_reason=reason, cursor=json.dumps(known))

    return SensorDefinition(
        name=name,
        evaluation_fn=evaluate,
        jobs=[jobs[shard.job_name] for shard in shards],
        minimum_interval_seconds=freshness.interval_s,
        required_resource_keys={names.project},
        description=f"Materialize nodes of {exchange} of which more than {freshness.max_lag_s} seconds are "
        "settled and not released, one run for each of its jobs.",
        default_status=sensor_status(settings.automation, freshness),
    )


def read_cursor(cursor: str | None, log: Logger) -> dict[str, Looked]:
    """When each shard was looked at; nothing where a cursor says nothing that can be used."""
    if not cursor:
        return {}
    try:
        stored: Any = json.loads(cursor)
        looked = {str(name): Looked(float(at), float(next_at)) for name, (at, next_at) in stored.items()}
        return {name: look for name, look in looked.items() if math.isfinite(look.at + look.next_at)}
    except (ValueError, TypeError, AttributeError) as error:
        log.warning(f"the cursor cannot be read ({error}); every node is looked at anew")
        return {}


def _at_rest(due: int, looked: Mapping[str, Looked], now: float) -> str:
    if due:
        return f"{due} jobs were looked at; nothing is to be asked for now"
    wait = max(0.0, min((look.next_at for look in looked.values()), default=now) - now)
    return f"no job is due for a look; the next one is in {wait:.0f} seconds"
