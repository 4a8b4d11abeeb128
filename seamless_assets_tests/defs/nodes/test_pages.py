"""What the page of each partition shows, of runs over one and over many, whole and in part."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from dagster import (
    AssetCheckKey,
    AssetCheckSeverity,
    AssetKey,
    AssetSelection,
    DagsterInstance,
    Definitions,
    define_asset_job,
)
from dagster._serdes import serialize_value

import seamless_assets as sa
from seamless_assets.adapters.machine.leases import MachineLeases
from seamless_assets.config.load import load_settings
from seamless_assets.config.sections import ServiceSettings
from seamless_assets.core.calendar.instant import seconds_text
from seamless_assets.core.releases.release import Release
from seamless_assets.defs.build import build_definitions
from seamless_assets.defs.nodes import results
from seamless_assets.sandbox.faults import Fault
from seamless_assets.sandbox.server import Sandbox
from seamless_assets.service.app import service_app

RANGE_START, RANGE_END = "dagster/asset_partition_range_start", "dagster/asset_partition_range_end"
KINDS = {"1m": "materialize_ohlcv_binance_1m", "1h": "materialize_ohlcv_binance_1h"}


def run(path: Path, instance: DagsterInstance, timeframe: str, first: str, last: str | None = None) -> Any:
    job = build_definitions(load_settings(path)).resolve_job_def(KINDS[timeframe])
    return job.execute_in_process(
        instance=instance,
        raise_on_error=False,
        partition_key=None if last else first,
        tags={RANGE_START: first, RANGE_END: last} if last else None,
    )


def pages(instance: DagsterInstance, symbol: str, timeframe: str) -> dict[str, dict[str, Any]]:
    """The metadata of each partition's last materialization, by its key."""
    key = AssetKey(["ohlcv", "binance", f"{symbol}_{timeframe}"])
    found: dict[str, dict[str, Any]] = {}
    for record in instance.fetch_materializations(key, limit=500).records:
        assert record.partition_key is not None and record.asset_materialization is not None
        shown = record.asset_materialization.metadata
        found.setdefault(record.partition_key, {name: entry.value for name, entry in shown.items()})
    return found


def log_of(path: Path, node: str) -> dict[str, Release]:
    """The release of each partition."""
    with sa.connect(path) as pipeline:
        return {ref.partition: entry for entry in pipeline.releases(node) for ref in entry.added}


def checks(result: Any) -> dict[str, Any]:
    """The evaluations of a run over one node, by name."""
    return {check.check_name: check for check in result.get_asset_check_evaluations()}


def shows(page: dict[str, Any], partition: str, entry: Release) -> None:
    """Assert that a page is the one of a partition, and says nothing twice."""
    (ref,) = entry.added
    manifest = page["manifest"]
    assert manifest["partition"] == partition == ref.partition
    assert page["artifact_fingerprint"] == manifest["artifact_fingerprint"] == ref.fingerprint
    assert page["dagster/partition_row_count"] == manifest["rows"] == ref.rows
    assert (page["as_of"], page["dataset_fingerprint"]) == (entry.as_of, entry.dataset_fingerprint)
    assert page["window"] == f"{seconds_text(ref.start)} to {seconds_text(ref.end)}"
    assert ref.fingerprint.removeprefix("sha256:") in page["dagster/uri"]
    assert Path(page["dagster/uri"]).is_file() and Path(page["manifest_uri"]).is_file()
    for name in page.keys() & manifest.keys():
        assert page[name] == manifest[name], f"{name} has two values on one page"


@pytest.mark.parametrize(("first", "last"), [("2025-01-02", None), ("2025-01-02", "2025-01-05")])
def test_each_page_shows_its_own_partition(
    first: str, last: str | None, written: Callable[..., Path], instance: DagsterInstance
) -> None:
    path = written("BTC/USDT", "ETH/USDT")
    assert run(path, instance, "1m", first, last).success
    days = ["2025-01-02", "2025-01-03", "2025-01-04", "2025-01-05"][: 4 if last else 1]
    for symbol in ("BTC_USDT", "ETH_USDT"):
        log = log_of(path, f"ohlcv:binance:{symbol.replace('_', '/')}:1m")
        shown = pages(instance, symbol, "1m")
        assert sorted(shown) == sorted(log) == days
        for partition, page in shown.items():
            shows(page, partition, log[partition])
            assert page["node_id"] == f"ohlcv:binance:{symbol.replace('_', '/')}:1m"
            assert page["candles"].startswith("![candles](data:image/png;base64,")
            assert page["is_over"] is True and page["missing_bars"] == 0
    assert len({page["candles"] for page in shown.values()}) == len(days)


def test_a_page_tells_what_is_not_there_what_volume_counts_and_what_was_corrected(
    written: Callable[..., Path],
    instance: DagsterInstance,
    exchange: Sandbox,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path = written("BTC/USDT")
    assert run(path, instance, "1m", "2025-01-02").success
    page = pages(instance, "BTC_USDT", "1m")["2025-01-02"]
    assert page["not_there"] == f"{page['absent_bars']} no_trades" and page["absent_bars"] > 0
    assert page["volume_counts"] == "BTC"
    assert not page.keys() & {"last_revision", "manifest_at_service"}
    made = exchange.book.generator.minutes

    def corrected(*arguments: Any) -> Any:
        bars = made(*arguments)
        bars["volume"] += 1.0
        return bars

    monkeypatch.setattr(exchange.book.generator, "minutes", corrected)
    assert run(path, instance, "1m", "2025-01-02").success
    page = pages(instance, "BTC_USDT", "1m")["2025-01-02"]
    changed = f"{page['dagster/partition_row_count']} bars changed, 0 added, 0 removed"
    assert page["last_revision"] == f"{page['as_of']}: {changed}, the first at 2025-01-02T00:00:00Z"


def test_a_page_links_its_manifest_at_the_service(
    written: Callable[..., Path], instance: DagsterInstance, tmp_path: Path
) -> None:
    path = written("BTC/USDT")
    path.write_text(f"{path.read_text()}service: {{public_url: 'https://candles.example.com/of-ours/'}}\n")
    assert run(path, instance, "1m", "2025-01-02", "2025-01-03").success
    shown = pages(instance, "BTC_USDT", "1m")

    async def scrape() -> str:
        return ""

    async def manifests() -> dict[str, Any]:
        transport = httpx.ASGITransport(service_app(pipeline, leases, scrape, ServiceSettings()))
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
            links = {day: page["manifest_at_service"] for day, page in shown.items()}
            below = {
                day: link.removeprefix("https://candles.example.com/of-ours") for day, link in links.items()
            }
            answers = {day: (await client.get(link)).json() for day, link in below.items()}
        await leases.close()
        return answers

    leases = MachineLeases(tmp_path / "leases.sqlite")
    with sa.connect(path) as pipeline:
        served = asyncio.run(manifests())
    for day, page in shown.items():
        assert served[day]["partition"] == day
        assert served[day]["dataset_fingerprint"] == page["artifact_fingerprint"]


def test_long_ranges_draw_the_newest_partitions_alone(
    written: Callable[..., Path], instance: DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(results, "MAX_PICTURED", 4)
    path = written("BTC/USDT", "ETH/USDT", timeframes=("1h",))
    assert run(path, instance, "1h", "2025-01").success
    path = written("BTC/USDT", "ETH/USDT", timeframes=("1m",))
    assert run(path, instance, "1m", "2025-01-01", "2025-01-04").success
    shown = pages(instance, "ETH_USDT", "1m")
    assert {day for day, page in shown.items() if "candles" in page} == {"2025-01-03", "2025-01-04"}
    log = log_of(path, "ohlcv:binance:ETH/USDT:1m")
    for partition, page in shown.items():
        shows(page, partition, log[partition])


def test_the_running_partition_says_how_far_it_is_settled(
    written: Callable[..., Path], instance: DagsterInstance, exchange: Sandbox
) -> None:
    path = written("BTC/USDT", timeframes=("1h",))
    assert run(path, instance, "1h", "2025-01").success
    (page,) = pages(instance, "BTC_USDT", "1h").values()
    with sa.connect(path) as pipeline:
        end = pipeline.released_window("ohlcv:binance:BTC/USDT:1h").end
    assert page["is_over"] is False and page["settled_until"] == end and page["lag_seconds"] > 0


def test_a_running_partition_warns_until_it_is_over(
    written: Callable[..., Path], instance: DagsterInstance
) -> None:
    path = written("BTC/USDT")
    older = checks(run(path, instance, "1m", "2025-01-09"))["settled"]
    assert older.passed and older.description == "2025-01-09 is over and settled to its end"
    running = run(path, instance, "1m", "2025-01-10")
    check = checks(running)["settled"]
    with sa.connect(path) as pipeline:
        end = pipeline.released_window("ohlcv:binance:BTC/USDT:1m").end
    assert running.success and not check.passed and check.severity == AssetCheckSeverity.WARN
    assert f"2025-01-10 is settled until {seconds_text(end)} and goes on to 2025-01-11" in check.description
    assert check.metadata["settled_until"].value == end and check.metadata["lag_seconds"].value > 0
    # Filling up the past finishes nothing.
    assert not checks(run(path, instance, "1m", "2025-01-08"))["settled"].passed


@pytest.mark.parametrize("name", ["publishable", "held", "settled"])
def test_a_check_alone_judges_what_is_released(
    name: str, written: Callable[..., Path], instance: DagsterInstance
) -> None:
    path = written("BTC/USDT", "ETH/USDT")
    key = AssetKey(["ohlcv", "binance", "BTC_USDT_1m"])
    selection = AssetSelection.checks(AssetCheckKey(key, name))
    job = Definitions(jobs=[define_asset_job("alone", selection)])
    both = Definitions.merge(build_definitions(load_settings(path)), job)

    def judge() -> Any:
        done = both.resolve_job_def("alone").execute_in_process(instance=instance, raise_on_error=False)
        (evaluation,) = done.get_asset_check_evaluations()
        assert (evaluation.asset_key, evaluation.check_name) == (key, name)
        return evaluation

    assert not judge().passed and "has no release" in judge().description
    run(path, instance, "1m", "2025-01-08", "2025-01-09")
    assert judge().passed
    run(path, instance, "1m", "2025-01-10")
    assert judge().passed is (name != "settled")


@pytest.mark.parametrize("tag", ["seamless/asof", "seamless/start"])
def test_a_tag_that_means_nothing_fails_the_run_at_once(
    tag: str, written: Callable[..., Path], instance: DagsterInstance
) -> None:
    job = build_definitions(load_settings(written("BTC/USDT"))).resolve_job_def(KINDS["1m"])
    result = job.execute_in_process(
        instance=instance, raise_on_error=False, partition_key="2025-01-09", tags={tag: "soon"}
    )
    assert not result.success and not any(event.is_step_up_for_retry for event in result.all_events)
    (failure,) = (event for event in result.all_events if event.is_step_failure)
    assert tag in str(failure.step_failure_data.user_failure_data.description)


def test_of_a_range_only_what_is_released_is_materialized(
    written: Callable[..., Path], instance: DagsterInstance, exchange: Sandbox
) -> None:
    exchange.faults.add(Fault("inverted", path="klines", times=None))
    path = written("BTC/USDT", timeframes=("1h",))
    path.write_text(path.read_text().replace("2025-01-01", "2024-01-01"))
    result = run(path, instance, "1h", "2024-07", "2024-12")
    log = log_of(path, "ohlcv:binance:BTC/USDT:1h")
    shown = pages(instance, "BTC_USDT", "1h")
    assert not result.success and 0 < len(log) < 6
    assert sorted(shown) == sorted(log)
    for partition, page in shown.items():
        shows(page, partition, log[partition])
    check = checks(result)["publishable"]
    assert not check.passed and "ohlc_inconsistent" in str(check.description)
    versions = {
        str(record.partition_key): (record.asset_materialization.tags or {})["dagster/data_version"]
        for record in instance.fetch_materializations(check.asset_key, limit=9).records
        if record.asset_materialization
    }
    assert versions == {partition: entry.dataset_fingerprint for partition, entry in log.items()}


def test_a_partition_in_which_nothing_is_settled_is_not_materialized(
    written: Callable[..., Path], instance: DagsterInstance
) -> None:
    path = written("BTC/USDT")
    result = run(path, instance, "1m", "2025-01-09", "2025-01-12")
    assert result.success
    assert sorted(pages(instance, "BTC_USDT", "1m")) == ["2025-01-09", "2025-01-10"]
    check = checks(result)["publishable"]
    assert check.passed and "2025-01-12: nothing is settled yet" in str(check.description)


def test_a_sensor_draws_pictures_of_what_is_over_alone(
    written: Callable[..., Path], instance: DagsterInstance
) -> None:
    path = written("BTC/USDT", timeframes=("1m",))
    job = build_definitions(load_settings(path)).resolve_job_def(KINDS["1m"])
    tags = {RANGE_START: "2025-01-09", RANGE_END: "2025-01-10"}
    for launched_by, pictured in (
        ({"dagster/sensor_name": "freshness_binance"}, {"2025-01-09"}),
        ({}, {"2025-01-09", "2025-01-10"}),
    ):
        done = job.execute_in_process(instance=instance, tags={**tags, **launched_by})
        assert done.success
        shown = pages(instance, "BTC_USDT", "1m")
        assert {day for day, page in shown.items() if "candles" in page} == pictured
        # What the docs say that a materialization costs: all events of its run, pictures left out.
        events = [serialize_value(entry) for entry in instance.all_logs(done.run_id)]
        sizes = [len(event) for event in events if "data:image/png" not in event]
        assert sum(sizes) <= 60_000
