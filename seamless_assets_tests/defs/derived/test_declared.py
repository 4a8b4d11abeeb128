"""Derived nodes of the settings as assets: behind their sources, in one run, asked for by the sensor."""

from __future__ import annotations

from pathlib import Path

import yaml
from dagster import AssetCheckKey, AssetKey, DagsterInstance, Definitions, build_sensor_context
from support.dagster_project import QUIET

import seamless_assets as sa
from seamless_assets.config.load import load_settings
from seamless_assets.defs import build_definitions
from seamless_assets.sandbox.market import Market
from seamless_assets.sandbox.server import Sandbox
from seamless_assets.testing import DAY, START

HOURS, FOUR, MEAN = (
    "ohlcv:binance:BTC/USDT:1h",
    "ohlcv:derived:BTC/USDT:4h",
    "ohlcv:mean:BTC/USDT:1h",
)
KEYS = {node: AssetKey(list(sa.NodeId.parse(node).asset_key)) for node in (HOURS, FOUR, MEAN)}


def project(folder: Path, exchange: Sandbox) -> Path:
    """The file of a project of two derived nodes."""
    binance = {"base_url": exchange.url, "symbols": ["BTC/USDT"], "timeframes": ["1h"]}
    document = {
        "seamless": {
            "artifact": {"object_store_uri": "./artifacts"},
            "hot_store": {"dsn": "sqlite:///./hot.sqlite"},
            "state_dir": "./state",
            "rate_limit": {"tokens_per_interval": 1_000_000, "burst_tokens": 1_000_000},
            "partitions": {"1h": "day", "4h": "day"},
        },
        "exchanges": {"binance": binance},
        "derived": [
            {"node": FOUR, "resample": HOURS},
            {"node": MEAN, "synthetic": {"legs": {HOURS: 1.0}, "missing_leg": "missing"}},
        ],
    }
    path = folder / "seamless.yaml"
    path.write_text(yaml.safe_dump(document))
    return path


def asked_for(definitions: Definitions, instance: DagsterInstance) -> dict[AssetKey, str]:
    """What the sensor has derived now: each asset with the beginning of its request's key."""
    repository, resources = definitions.get_repository_def(), dict(definitions.resources or {})
    with build_sensor_context(instance, repository_def=repository, resources=resources) as context:
        tick = repository.get_sensor_def("derivation").evaluate_tick(context)
    return {
        key: str(request.run_key).rsplit("/", 2)[0]
        for request in tick.run_requests or []
        for key in request.asset_selection or []
    }


def test_declared_derived_nodes_are_assets_with_lineage(tmp_path: Path) -> None:
    with Sandbox(now=START + 5 * DAY, markets=[Market("BTC/USDT", 100.0)]).running() as exchange:
        settings = load_settings(project(tmp_path, exchange))
        definitions = build_definitions(settings)
        repository = definitions.get_repository_def()
        for node in (FOUR, MEAN):
            assert repository.asset_graph.get(KEYS[node]).parent_keys == {KEYS[HOURS]}
        assert {"derive_ohlcv_derived_BTC_USDT_4h", "derive_ohlcv_mean_BTC_USDT_1h"} <= set(
            repository.job_names
        )
        job = definitions.resolve_implicit_global_asset_job_def()
        with DagsterInstance.ephemeral() as instance:
            result = job.execute_in_process(instance=instance, partition_key="2025-01-02", run_config=QUIET)
            assert result.success
            for node, rows in ((HOURS, 24), (FOUR, 6), (MEAN, 24)):
                (event,) = instance.fetch_materializations(KEYS[node], limit=5).records
                shown = event.asset_materialization.metadata if event.asset_materialization else {}
                assert shown["dagster/partition_row_count"].value == rows
                check = AssetCheckKey(KEYS[node], "publishable")
                record = instance.event_log_storage.get_latest_asset_check_execution_by_key([check])[check]
                assert record.status.value == "SUCCEEDED"
            assert asked_for(definitions, instance) == {}
            with sa.connect(tmp_path / "seamless.yaml") as s:
                assert s.materialize(HOURS, START + 2 * DAY, START + 3 * DAY).released
            assert asked_for(definitions, instance) == {
                KEYS[node]: f"{KEYS[node].to_user_string()}" for node in (FOUR, MEAN)
            }
