"""An exchange that gives no answer fails the step, which is retried; it is no verdict on its bars."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from dagster import AssetKey, DagsterInstance, RetryPolicy

from seamless_assets.config.load import load_settings
from seamless_assets.defs.build import build_definitions
from seamless_assets.defs.nodes import assets, metadata
from seamless_assets.sandbox.faults import Fault
from seamless_assets.sandbox.server import Sandbox

BTC, ETH = AssetKey(["ohlcv", "binance", "BTC_USDT_1m"]), AssetKey(["ohlcv", "binance", "ETH_USDT_1m"])
RETRIES, MINUTE = 2, 60


@pytest.fixture
def pictured(written: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two nodes; a step is retried at once, a request is not."""
    monkeypatch.setattr(assets, "RETRIES", RetryPolicy(max_retries=RETRIES))
    return written("BTC/USDT", "ETH/USDT", backfill={"max_attempts": 1, "retry_backoff_ms": 1})


@pytest.fixture
def path(pictured: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The same two, and nothing is drawn, which takes long."""
    monkeypatch.setattr(metadata, "_pictures", lambda *args: {})
    return pictured


def run(path: Path, instance: DagsterInstance, **options: Any) -> Any:
    job = build_definitions(load_settings(path)).resolve_job_def("materialize_ohlcv_binance_1m")
    return job.execute_in_process(instance=instance, raise_on_error=False, **options)


def error_of(result: Any) -> Any:
    """The error that the failed step shows beneath Dagster's own."""
    (failure,) = (event for event in result.all_events if event.is_step_failure)
    return failure.step_failure_data.error.cause


def retries(result: Any) -> int:
    return sum(event.is_step_up_for_retry for event in result.all_events)


@pytest.mark.parametrize(
    "fault",
    [
        Fault("status", path="klines", symbol="BTCUSDT", times=None, code=503),
        Fault("status", path="klines", symbol="BTCUSDT", times=None, code=429),
        Fault("reset", path="klines", symbol="BTCUSDT", times=None),
        Fault("html", path="klines", symbol="BTCUSDT", times=None),
    ],
    ids=lambda fault: f"{fault.kind} {fault.code}",
)
def test_an_outage_fails_the_step_and_judges_nothing(
    fault: Fault, path: Path, instance: DagsterInstance, exchange: Sandbox
) -> None:
    exchange.faults.add(fault)
    result = run(path, instance, partition_key="2025-01-02")
    assert not result.success and retries(result) == RETRIES
    error = error_of(result)
    assert error.cls_name == "ExchangeUnavailable"
    assert "no answer for ohlcv:binance:BTC/USDT:1m: " in error.message
    checked = {(check.asset_key, check.check_name) for check in result.get_asset_check_evaluations()}
    assert checked == {(ETH, name) for name in ("publishable", "held", "settled", "fresh", "stable")}
    assert instance.get_materialized_partitions(BTC) == set()
    assert instance.get_materialized_partitions(ETH) == {"2025-01-02"}
    exchange.faults.clear()
    again = run(path, instance, partition_key="2025-01-02")
    assert again.success and instance.get_materialized_partitions(BTC) == {"2025-01-02"}


def test_an_outage_that_ends_is_over_at_the_next_attempt(
    path: Path, instance: DagsterInstance, exchange: Sandbox
) -> None:
    # Not a refusal for too many requests, which is kept for a second.
    exchange.faults.add(Fault("status", path="exchangeInfo", body={"msg": "down"}, times=1))
    result = run(path, instance, partition_key="2025-01-02")
    assert result.success and retries(result) == 1
    assert instance.get_materialized_partitions(BTC) == {"2025-01-02"}


def test_an_exchange_that_is_not_there_is_named(
    path: Path, instance: DagsterInstance, exchange: Sandbox
) -> None:
    path.write_text(path.read_text().replace(exchange.url, "http://127.0.0.1:9"))
    result = run(path, instance, partition_key="2025-01-02")
    assert not result.success and result.get_asset_check_evaluations() == []
    error = error_of(result)
    assert error.cls_name == "ExchangeUnavailable" and "127.0.0.1:9" in error.message
    assert all(f"ohlcv:binance:{symbol}/USDT:1m" in error.message for symbol in ("BTC", "ETH"))


def test_what_was_released_before_an_outage_is_shown(
    pictured: Path, instance: DagsterInstance, exchange: Sandbox
) -> None:
    assert run(pictured, instance, partition_key="2025-01-01").success
    instance.wipe_assets([BTC, ETH])
    exchange.faults.add(Fault("status", path="klines", times=None))
    result = run(
        pictured,
        instance,
        tags={
            "dagster/asset_partition_range_start": "2025-01-01",
            "dagster/asset_partition_range_end": "2025-01-03",
        },
    )
    assert not result.success and result.get_asset_check_evaluations() == []
    assert instance.get_materialized_partitions(BTC) == {"2025-01-01"}
    shown = instance.get_latest_materialization_event(BTC).asset_materialization
    assert {"candles", "coverage_strip"} <= shown.metadata.keys()


def test_the_newest_minutes_of_a_day_fail_the_step_while_the_exchange_is_away(
    path: Path, instance: DagsterInstance, exchange: Sandbox
) -> None:
    """So few that the threshold of coverage would let the day be released without them."""
    assert run(path, instance, partition_key="2025-01-10").success
    before = pages(instance)
    exchange.clock.set(exchange.clock.now() + 10 * MINUTE)
    exchange.faults.add(Fault("status", path="klines", times=None))
    result = run(path, instance, partition_key="2025-01-10")
    assert not result.success and error_of(result).cls_name == "ExchangeUnavailable"
    assert result.get_asset_check_evaluations() == [] and pages(instance) == before
    exchange.faults.clear()
    assert run(path, instance, partition_key="2025-01-10").success and pages(instance) > before


def test_what_is_asked_anew_in_vain_is_told_as_it_was_and_called_stable_by_nobody(
    path: Path, instance: DagsterInstance, exchange: Sandbox
) -> None:
    assert run(path, instance, partition_key="2025-01-02").success
    exchange.faults.add(Fault("status", path="klines", symbol="BTCUSDT", times=None))
    result = run(path, instance, partition_key="2025-01-02")
    assert not result.success and "no answer for ohlcv:binance:BTC/USDT:1m: " in error_of(result).message
    assert {check.asset_key for check in result.get_asset_check_evaluations()} == {ETH}


def pages(instance: DagsterInstance) -> int:
    """How often the first node was materialized."""
    return len(instance.fetch_materializations(BTC, limit=100).records)
