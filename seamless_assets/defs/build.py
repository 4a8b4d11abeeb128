"""Everything that settings declare, as Dagster's definitions."""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

from dagster import AssetKey, AssetsDefinition, Definitions

from seamless_assets.aio.collector import collector_paused
from seamless_assets.config.load import Settings
from seamless_assets.defs.automation.fills import build_fills
from seamless_assets.defs.automation.freshness import build_freshness
from seamless_assets.defs.automation.recovery import build_recovery
from seamless_assets.defs.automation.run_failures import build_run_failures
from seamless_assets.defs.automation.schedules import build_schedules
from seamless_assets.defs.derived.declared import build_declared, declared_derived
from seamless_assets.defs.derived.derivation import build_derivation, build_derivation_jobs
from seamless_assets.defs.derived.nodes import derived_nodes
from seamless_assets.defs.governing.jobs import build_governing
from seamless_assets.defs.inspection import build_inspection
from seamless_assets.defs.io_manager import seamless_io_manager
from seamless_assets.defs.jobs import build_jobs
from seamless_assets.defs.names import DEFAULT_NAME, NodesByKey, ProjectNames, prefix_of
from seamless_assets.defs.nodes.assets import build_assets
from seamless_assets.defs.resources import SeamlessResource, s3_access
from seamless_assets.defs.shards import Shard, shards_of
from seamless_assets.defs.upkeep import build_upkeep
from seamless_assets.errors import InvalidInput

if TYPE_CHECKING:
    from dagster_aws.s3 import S3Resource


def build_definitions(
    settings: Settings,
    config: str = "",
    s3: S3Resource | None = None,
    *,
    name: str = DEFAULT_NAME,
    key_prefix: str | Sequence[str] = (),
    derived: Sequence[AssetsDefinition] = (),
) -> Definitions:
    """The assets, checks, jobs, schedules and resources of settings, to be merged with others.

    Runs work with just these settings, wherever they happen: those of a file are named in the resource's
    config by its absolute path, those of a mapping are kept out of it. `config`, the path of a file, is
    for settings without one: runs read that file.

    `s3` is how a Dagster project reaches its buckets already, if it does. `name` and `key_prefix` are for a
    project that stands beside another: resources, jobs and steps are named by the one, asset keys begin with
    the other. `derived` are assets of yours that are nodes, made of others: each gets a job, and the sensor
    `derivation` has them derived anew where their inputs changed.

    Raises `ConfigError` where two nodes have one asset key, `InvalidInput` for bad arguments.
    """
    names = ProjectNames(name, prefix_of(key_prefix))
    resource = _resource(settings, config, s3)
    # The definitions of thousands of nodes stay, and would be looked through again and again while they grow.
    with collector_paused():
        return _build(settings, names, list(shards_of(settings, names)), resource, derived)


def build_selected(settings: Settings, keys: Collection[AssetKey] | None) -> Definitions:
    """The definitions of settings, for a process that materializes `keys`: of no other shard than theirs.

    All of them without keys, and where one is no exchange's node. Raises `ConfigError`.
    """
    names, by_key = ProjectNames(), NodesByKey(settings.nodes)
    nodes = {by_key.find(key) for key in keys} if keys else {None}
    shards = list(shards_of(settings, names))
    if None not in nodes:
        shards = [shard for shard in shards if not nodes.isdisjoint(shard.nodes)]
    return _build(settings, names, shards, _resource(settings), ())


def _build(
    settings: Settings,
    names: ProjectNames,
    shards: Sequence[Shard],
    resource: SeamlessResource,
    derived: Sequence[AssetsDefinition],
) -> Definitions:
    by_key = NodesByKey(settings.nodes)
    jobs = build_jobs(names, shards)
    declared = declared_derived(settings, names)
    made = [*declared, *derived_nodes(derived, by_key, declared)]
    derivations = build_derivation_jobs(names, made)
    upkeep = build_upkeep(settings.automation, names, made)
    fills_schedule, fills = build_fills(settings.automation, names)
    inspection_schedule, inspection = build_inspection(settings.automation, names)
    return Definitions(
        assets=[*build_assets(settings, names, shards), *build_declared(settings, names), *derived],
        jobs=[
            *jobs.values(),
            *derivations.values(),
            *upkeep.values(),
            fills,
            inspection,
            *build_governing(names, by_key, made),
        ],
        schedules=[*build_schedules(settings, names, shards), *upkeep, fills_schedule, inspection_schedule],
        sensors=[
            *build_freshness(settings, names, shards, jobs),
            *([build_derivation(settings, names, made, derivations)] if made else []),
            build_recovery(settings, names, shards, jobs),
            build_run_failures(settings, names, jobs, {key: job.name for key, job in derivations.items()}),
        ],
        resources={
            names.project: resource,
            names.io_manager: seamless_io_manager(names.project),
        },
    )


def _resource(settings: Settings, config: str = "", s3: S3Resource | None = None) -> SeamlessResource:
    s3_access(s3)  # what is no such resource is refused here, not in each run
    own = str(settings.file) if settings.file else ""
    asked = os.path.abspath(config) if config else ""
    if own and asked and asked != own:
        raise InvalidInput(
            f"config is {config}, but the settings are those of {own}; leave one of the two out",
            value=config,
        )
    if asked and not own:
        return SeamlessResource(config=asked, s3=s3)
    return SeamlessResource(config=own, given=settings, s3=s3)
