"""What users of Dagster see of the definitions, as a page that a diff shows changes of.

Written anew by `.venv/bin/python -m seamless_assets_tests.defs.snapshot`.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from dagster import (
    AssetKey,
    AssetsDefinition,
    DagsterInstance,
    Definitions,
    ScheduleDefinition,
    SensorDefinition,
)

from seamless_assets.config.load import settings_from_mapping
from seamless_assets.defs.build import build_definitions
from seamless_assets.defs.inputs import instructions
from seamless_assets.sandbox.server import Sandbox
from seamless_assets.testing import DAY, START

PAGE = Path(__file__).with_name("definitions.yaml")
HEAD = "# What Dagster shows, written by `python -m seamless_assets_tests.defs.snapshot`.\n"
NODE = AssetKey(["ohlcv", "binance", "BTC_USDT_1m"])
EXCHANGES: dict[str, dict[str, Any]] = {
    "binance": {"symbols": ["BTC/USDT", "BTC/USDT:USDT"], "timeframes": ["1m"], "start": "2025-01-01"},
    "kraken": {"symbols": ["ETH/USD"], "timeframes": ["1h", "1M"], "start": "2020-01-01"},
}


def current(folder: Path) -> str:
    """The page as the code is now; a partition is materialized in `folder` for it."""
    with Sandbox(now=START + 10 * DAY).running() as exchange:
        exchanges = {name: {**declared, "base_url": exchange.url} for name, declared in EXCHANGES.items()}
        settings = settings_from_mapping(
            {"seamless": {"artifact": {"object_store_uri": "./artifacts"}}, "exchanges": exchanges},
            base=folder,
            environ={},
        )
        definitions = build_definitions(settings)
        shown = {**described(definitions), "events": events(definitions)}
    return HEAD + yaml.safe_dump(shown, sort_keys=False, width=110)


def described(definitions: Definitions) -> dict[str, Any]:
    """Assets with their checks, steps, jobs, schedules, sensors and resources."""
    repository = definitions.get_repository_def()
    resources = definitions.resources or {}
    made = {one.op.name: one for one in repository.assets_defs_by_key.values()}
    return {
        "assets": {
            "/".join(key.path): _asset(repository.assets_defs_by_key[key], key)
            for key in sorted(repository.assets_defs_by_key, key=str)
        },
        "steps": {name: _step(made[name]) for name in sorted(made)},
        "jobs": {
            job.name: {"tags": dict(job.tags), "ops": sorted(node.name for node in job.graph.nodes)}
            for job in sorted(repository.get_all_jobs(), key=lambda job: job.name)
            if not job.name.startswith("__")
        },
        "schedules": {one.name: _schedule(one) for one in repository.schedule_defs},
        "sensors": {one.name: _sensor(one) for one in repository.sensor_defs},
        "resources": {name: type(one).__name__ for name, one in sorted(resources.items())},
        "instructions": [f"{instructions.PREFIX}{name}" for name in sorted(instructions._READERS)],
    }


def events(definitions: Definitions) -> dict[str, Any]:
    """The names and types of what a materialization and its check show."""
    with DagsterInstance.ephemeral() as instance:
        job = definitions.resolve_job_def("materialize_ohlcv_binance_1m")
        done = job.execute_in_process(instance=instance, partition_key="2025-01-01", asset_selection=[NODE])
        (materialized,) = done.asset_materializations_for_node("ohlcv_binance_1m")
        checks = done.get_asset_check_evaluations()
    return {
        "materialization": _types(materialized.metadata),
        "tags": sorted(name for name in materialized.tags or {} if "input" not in name),
        "checks": {check.check_name: _types(check.metadata) for check in checks},
    }


def _asset(made: AssetsDefinition, key: AssetKey) -> dict[str, Any]:
    spec = made.get_asset_spec(key)
    partitions: Any = spec.partitions_def
    return {
        "description": spec.description,
        "group": spec.group_name,
        "kinds": sorted(spec.kinds),
        "tags": {name: value for name, value in sorted(spec.tags.items()) if "/kind/" not in name},
        "metadata": sorted(spec.metadata),
        "skippable": spec.skippable,
        "partitions": {
            "first": partitions.get_first_partition_key(),
            "cron": partitions.cron_schedule,
            "end_offset": partitions.end_offset,
        },
        "checks": {
            check.name: {"blocking": check.blocking, "description": check.description}
            for check in made.check_specs
            if check.asset_key == key
        },
    }


def _step(made: AssetsDefinition) -> dict[str, Any]:
    retry: Any = made.op.retry_policy
    return {
        "pool": made.op.pool,
        "can_subset": made.can_subset,
        "resources": sorted(made.required_resource_keys),
        "retries": {"max": retry.max_retries, "delay_s": retry.delay, "backoff": retry.backoff.value},
    }


def _schedule(one: ScheduleDefinition) -> dict[str, Any]:
    return {"job": one.job_name, "cron": one.cron_schedule, "status": one.default_status.value}


def _sensor(one: SensorDefinition) -> dict[str, Any]:
    return {"every_s": one.minimum_interval_seconds, "status": one.default_status.value}


def _types(metadata: Mapping[str, Any]) -> dict[str, str]:
    return {name: type(metadata[name]).__name__ for name in sorted(metadata)}


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as place:
        PAGE.write_text(current(Path(place)))
