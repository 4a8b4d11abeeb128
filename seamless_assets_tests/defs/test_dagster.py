"""The Dagster shell run for real: assets, partitions, the blocking check, the IO manager."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from dagster import (
    AssetCheckKey,
    AssetKey,
    AssetSelection,
    DagsterInstance,
    Definitions,
    asset,
    materialize,
)

import seamless_assets as sa
from seamless_assets.adapters.ccxt.memory import ExchangeMemory
from seamless_assets.config.load import Settings, load_settings
from seamless_assets.core.bars.table import BARS_SCHEMA
from seamless_assets.core.reading.result import ReadResult
from seamless_assets.defs.build import build_definitions
from seamless_assets.defs.names import PUBLISHABLE
from seamless_assets.defs.nodes.assets import build_assets
from seamless_assets.defs.partitions import partitions_definition
from seamless_assets.errors import ConfigError
from seamless_assets.pipeline.wiring.exchanges import memory_file, memory_place
from seamless_assets.sandbox.faults import Fault
from seamless_assets.sandbox.replay import Replay
from seamless_assets.sandbox.server import Sandbox
from seamless_assets.testing import DAY, START

BTC, ETH = AssetKey(["ohlcv", "binance", "BTC_USDT_1m"]), AssetKey(["ohlcv", "binance", "ETH_USDT_1m"])


def run(
    path: Path, instance: DagsterInstance, name: str = "materialize_ohlcv_binance_1m", **tags: str
) -> Any:
    definitions = build_definitions(load_settings(path), config=str(path))
    return definitions.resolve_job_def(name).execute_in_process(
        instance=instance,
        raise_on_error=False,
        partition_key=tags.pop("partition", None),
        tags={
            name.replace("range_", "dagster/asset_partition_range_"): value for name, value in tags.items()
        },
    )


def test_definitions_load_without_asking_an_exchange(written: Callable[..., Path], exchange: Sandbox) -> None:
    path = written("BTC/USDT", "BTC/USDT:USDT", timeframes=("1m", "1h", "1d"))
    definitions = build_definitions(load_settings(path), config=str(path))
    Definitions.validate_loadable(definitions)
    keys = {key.to_user_string() for key in definitions.resolve_asset_graph().get_all_asset_keys()}
    assert keys == {
        f"ohlcv/binance/{s}_{t}" for s in ("BTC_USDT", "BTC_USDT__USDT") for t in ("1m", "1h", "1d")
    }
    assert not exchange.requests


@pytest.mark.parametrize(
    ("unit", "keys"),
    [("day", ["2025-01-01", "2025-01-02"]), ("month", ["2025-01", "2025-02"]), ("year", ["2025", "2026"])],
)
def test_partitions_are_the_projects_own(unit: Any, keys: list[str]) -> None:
    assert partitions_definition(unit, START + 5).get_partition_keys()[:2] == keys


def test_many_nodes_share_steps_of_a_hundred(settings_for: Callable[..., Settings]) -> None:
    symbols = [f"COIN{n}/USDT" for n in range(250)]
    assets = build_assets(settings_for({"binance": {"symbols": symbols}}))
    assert [len(list(made.keys)) for made in assets] == [100, 100, 50]
    assert len({made.op.name for made in assets}) == 3


def test_a_partition_is_fetched_checked_released_and_shown(
    written: Callable[..., Path], instance: DagsterInstance
) -> None:
    path = written("BTC/USDT")
    assert run(path, instance, partition="2025-01-02").success
    event = instance.get_latest_materialization_event(BTC)
    assert event is not None and event.asset_materialization is not None
    shown = event.asset_materialization.metadata
    assert event.asset_materialization.partition == "2025-01-02"
    manifest: Any = shown["manifest"].value
    assert manifest["node_id"] == "ohlcv:binance:BTC/USDT:1m" and manifest["range"] == [
        START + DAY,
        START + 2 * DAY,
    ]
    assert Path(str(shown["dagster/uri"].value)).is_file()
    assert str(shown["candles"].value).startswith("![candles](data:image/png;base64,")
    with sa.connect(path) as s:
        (release,) = s.releases("ohlcv:binance:BTC/USDT:1m")
    assert shown["as_of"].value == release.as_of
    tags = event.asset_materialization.tags or {}
    assert tags["dagster/data_version"] == release.dataset_fingerprint


def test_a_range_is_one_run_with_facts_for_each_partition(
    written: Callable[..., Path], instance: DagsterInstance
) -> None:
    path = written("BTC/USDT", "ETH/USDT")
    assert run(path, instance, range_start="2025-01-01", range_end="2025-01-03").success
    for key in (BTC, ETH):
        assert instance.get_materialized_partitions(key) == {"2025-01-01", "2025-01-02", "2025-01-03"}
    found = instance.fetch_materializations(BTC, limit=10).records
    rows = {
        r.partition_key: r.asset_materialization.metadata["artifact_fingerprint"].value
        for r in found
        if r.asset_materialization
    }
    assert len(rows) == 3 and len(set(rows.values())) == 3


def test_a_failed_check_stops_its_node_and_no_other(
    written: Callable[..., Path], instance: DagsterInstance, exchange: Sandbox
) -> None:
    exchange.faults.add(Fault("inverted", path="klines", symbol="BTCUSDT", times=None))
    path = written("BTC/USDT", "ETH/USDT", "NO/PE")
    result = run(path, instance, partition="2025-01-02")
    checks = {
        e.asset_key.path[2]: e for e in result.get_asset_check_evaluations() if e.check_name == PUBLISHABLE
    }
    assert {symbol: check.passed for symbol, check in checks.items()} == {
        "BTC_USDT_1m": False,
        "ETH_USDT_1m": True,
        "NO_PE_1m": False,
    }
    assert "ohlc_inconsistent" in str(checks["BTC_USDT_1m"].description)
    assert "lists no NO/PE" in str(checks["NO_PE_1m"].description)
    assert instance.get_materialized_partitions(ETH) == {"2025-01-02"}
    assert instance.get_materialized_partitions(BTC) == set()
    with sa.connect(path) as s:
        assert s.releases("ohlcv:binance:BTC/USDT:1m") == []


def test_the_io_manager_serves_released_bars_in_the_form_asked_for(
    written: Callable[..., Path], instance: DagsterInstance, exchange: Sandbox
) -> None:
    path = written("BTC/USDT")
    run(path, instance, partition="2025-01-01")
    with sa.connect(path) as s:
        first = s.releases("ohlcv:binance:BTC/USDT:1m")[0]
    as_of = first.as_of
    run(path, instance, partition="2025-01-02")
    seen: dict[str, Any] = {}
    days = partitions_definition("day", START)
    definitions = build_definitions(load_settings(path), config=str(path))

    from dagster import AssetIn

    @asset(partitions_def=days, ins={"bars": AssetIn(key=BTC)})
    def by_partition(bars: pd.DataFrame) -> None:
        seen["pandas"] = bars

    @asset(ins={"bars": AssetIn(key=BTC, metadata={"seamless/as_of": as_of})})
    def as_known_then(bars: pa.Table) -> None:
        seen["arrow"] = bars

    metadata = {"seamless/dataset_fingerprint": first.dataset_fingerprint}

    @asset(ins={"bars": AssetIn(key=BTC, metadata=metadata)})
    def by_fingerprint(bars: ReadResult) -> None:
        seen["by fingerprint"] = bars

    @asset(
        ins={
            "bars": AssetIn(
                key=BTC, metadata={"seamless/start": str(START), "seamless/end": "2025-01-01T01:00Z"}
            )
        }
    )
    def an_hour(bars: ReadResult) -> None:
        seen["result"] = bars

    resources: Any = definitions.resources
    upstream = build_assets(load_settings(path))
    every = (as_known_then, by_fingerprint, an_hour)
    for made, partition in ((by_partition, "2025-01-02"), *((made, None) for made in every)):
        outcome = materialize(
            [*upstream, made],
            selection=[made],
            resources=resources,
            instance=instance,
            partition_key=partition,
        )
        assert outcome.success
    assert (
        seen["pandas"]["ts"].between(START + DAY, START + 2 * DAY - 60).all() and len(seen["pandas"]) > 1400
    )
    assert seen["arrow"]["ts"].to_pylist()[-1] < START + DAY
    assert seen["by fingerprint"].metadata.as_of == as_of
    assert seen["by fingerprint"].to_arrow() == seen["arrow"]
    assert seen["result"].metadata.end == START + 3600 and seen["result"].metadata.as_of != as_of


def test_the_check_alone_proves_what_is_released(
    written: Callable[..., Path], instance: DagsterInstance
) -> None:
    path = written("BTC/USDT")
    definitions = build_definitions(load_settings(path), config=str(path))
    resources: Any = definitions.resources

    def check() -> Any:
        outcome = materialize(
            build_assets(load_settings(path)),
            selection=AssetSelection.checks(AssetCheckKey(BTC, PUBLISHABLE)),
            resources=resources,
            instance=instance,
            raise_on_error=False,
        )
        (evaluation,) = outcome.get_asset_check_evaluations()
        return evaluation

    assert not check().passed and "has no release" in check().description
    run(path, instance, partition="2025-01-02")
    assert check().passed
    (artifact,) = (path.parent / "artifacts").rglob("*.parquet")
    artifact.write_bytes(artifact.read_bytes()[:-1])
    assert not check().passed and "its release promises" in check().description


def test_a_month_of_a_real_market_in_one_backfill(
    tmp_path: Path, market_data: Path, instance: DagsterInstance
) -> None:
    recorded = market_data / "perp_BTC-USD_1m.parquet"
    replay = Replay()
    replay.add_file(f"BTC/USD:1m={recorded}")
    with Sandbox(replay=replay).running() as exchange:
        path = tmp_path / "seamless.yaml"
        path.write_text(
            "seamless:\n  artifact: {object_store_uri: ./artifacts}\n"
            "  hot_store: {dsn: sqlite:///./hot.sqlite}\n  state_dir: ./state\n"
            f"exchanges:\n  coinbase:\n    base_url: {exchange.url}\n"
            "    symbols: [BTC/USD]\n    start: 2022-01-01\n"
        )
        name, bounds = "materialize_ohlcv_coinbase_1m", ("2022-01-01", "2022-01-31")
        assert run(path, instance, name, range_start=bounds[0], range_end=bounds[1]).success
    key = AssetKey(["ohlcv", "coinbase", "BTC_USD_1m"])
    assert len(instance.get_materialized_partitions(key)) == 31
    with sa.connect(path) as s:
        read = s.read("ohlcv:coinbase:BTC/USD:1m", "2022-01-01", "2022-02-01").to_arrow()
    start, end = sa.Segment(1_640_995_200, 1_643_673_600)
    table = pq.read_table(recorded, filters=[("ts", ">=", start), ("ts", "<", end)])
    assert read.num_rows == 44_640
    assert all(read[column].to_pylist() == table[column].to_pylist() for column in read.column_names)


def test_two_nodes_with_one_key_are_refused(settings_for: Callable[..., Settings]) -> None:
    declared = settings_for({"binance": {"symbols": ["BTC/USDT"]}})
    twice = declared.exchanges["binance"].model_copy(update={"symbols": ("BTC/USDT", "BTC/USDT")})
    with pytest.raises(ConfigError, match="have one asset key, ohlcv/binance/BTC_USDT_1m"):
        build_assets(declared.model_copy(update={"exchanges": {"binance": twice}}))


def test_assets_show_what_the_settings_say_of_them(settings_for: Callable[..., Settings]) -> None:
    labels = {"group": "market", "owners": ["team:research"], "tags": {"tier": "gold"}}
    plain, shown = (
        build_assets(settings_for({"kraken": {"symbols": ["BTC/USD:BTC-251226"], **more}}))[0]
        for more in ({}, labels)
    )
    (spec,), (other,) = shown.specs, plain.specs
    assert (spec.group_name, list(spec.owners), spec.tags["tier"]) == ("market", ["team:research"], "gold")
    assert (other.group_name, list(other.owners)) == ("kraken", [])
    assert spec.metadata["seamless/node_id"] == "ohlcv:kraken:BTC/USD:BTC-251226:1m"
    assert spec.code_version == "v2" and spec.tags["seamless/exchange"] == "kraken"
    columns = spec.metadata["dagster/column_schema"].columns
    assert [(column.name, column.type) for column in columns] == [
        (field.name, str(field.type).replace("double", "float64")) for field in BARS_SCHEMA
    ]


def test_a_description_tells_what_was_learned_of_a_market_and_asks_nobody(
    written: Callable[..., Path], exchange: Sandbox
) -> None:
    path, node = written("BTC/USDT", "ETH/USDT"), "ohlcv:binance:BTC/USDT:1m"

    def descriptions() -> list[str | None]:
        keys = [AssetKey(["ohlcv", "binance", f"{coin}_USDT_1m"]) for coin in ("BTC", "ETH")]
        specs = {spec.key: spec for spec in build_definitions(load_settings(path)).resolve_all_asset_specs()}
        return [specs[key].description for key in keys]

    plain = [f"Candles of {coin}/USDT on binance, 1m each." for coin in ("BTC", "ETH")]
    assert descriptions() == plain
    assert not (path.parent / "state").exists()
    with sa.connect(path) as s:
        assert s.materialize(node, "2025-01-02", "2025-01-03").released
        place = memory_place(s.settings, "binance")
        memory = ExchangeMemory(memory_file(s.settings))
    asyncio.run(memory.remember(place, node, "listed", 1_502_942_400))
    asyncio.run(memory.remember(place, node.replace("BTC", "ETH"), "listed", 10**15))
    asyncio.run(memory.close())
    asked = len(exchange.requests)
    assert descriptions() == [
        f"{plain[0]} Volume counts BTC. Its first bar ever opens 2017-08-17T04:00:00Z.",
        f"{plain[1]} Volume counts ETH.",
    ]
    memory_file(load_settings(path)).write_bytes(b"not a database at all" * 99)
    assert descriptions() == plain
    assert len(exchange.requests) == asked
