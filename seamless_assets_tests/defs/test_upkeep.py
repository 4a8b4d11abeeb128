"""The housekeeping job run for real: what it merges and removes, and what it leaves alone."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from dagster import AssetCheckEvaluation, AssetCheckKey, AssetKey, DagsterInstance, DefaultScheduleStatus

import seamless_assets as sa
from seamless_assets.config.load import load_settings
from seamless_assets.defs.build import build_definitions
from seamless_assets.testing import START

BTC, ETH = "ohlcv:binance:BTC/USDT:1h", "ohlcv:binance:ETH/USDT:1h"
YEAR = ("2024-01-01", "2025-01-01")
AGED = START - 30 * 86_400


@pytest.fixture
def path(written: Callable[..., Path]) -> Path:
    """Two nodes with a year of monthly artifacts, and one that was never materialized."""
    made = written("BTC/USDT", "ETH/USDT", "SOL/USDT", timeframes=("1h",))
    with sa.connect(made) as s:
        for node in (BTC, ETH):
            assert s.materialize(node, *YEAR).released
    return made


def keep_house(path: Path, instance: DagsterInstance, job: str = "housekeeping") -> Any:
    definitions = build_definitions(load_settings(path), config=str(path))
    return definitions.resolve_job_def(job).execute_in_process(instance=instance, raise_on_error=False)


def rows(result: Any) -> dict[str, dict[str, Any]]:
    """The table that the step shows, by node."""
    (event,) = (event for event in result.all_events if event.is_successful_output or event.is_step_failure)
    if event.is_step_failure:
        shown = event.step_failure_data.user_failure_data.metadata
    else:
        shown = event.step_output_data.metadata
    return {str(record.data["node"]): dict(record.data) for record in shown["nodes"].records}


def observed(instance: DagsterInstance, node: str) -> Any:
    key = AssetKey(list(sa.NodeId.parse(node).asset_key))
    return instance.fetch_observations(key, limit=5).records


def last_verdict(instance: DagsterInstance, node: str) -> AssetCheckEvaluation:
    key = AssetCheckKey(AssetKey(list(sa.NodeId.parse(node).asset_key)), "publishable")
    found = instance.event_log_storage.get_latest_asset_check_execution_by_key([key])[key]
    assert found.event is not None and found.event.dagster_event is not None
    return found.event.dagster_event.asset_check_evaluation_data


def known(path: Path, node: str) -> tuple[pa.Table, list[str], int]:
    """Its bars as first released in whole, the instants that can be read, and its artifacts in force."""
    with sa.connect(path) as s:
        log = s.releases(node)
        context = sa.ComputeContext(as_of=log[11].as_of)
        bars = s.read(node, *YEAR, context=context).to_arrow()
        assert s.read(node, *YEAR).to_arrow() == bars and s.verify(node).is_sound
        return bars, [entry.as_of for entry in log], len(s.snapshot_files(node))


def test_closed_years_are_merged_and_what_nothing_needs_is_removed(
    path: Path, instance: DagsterInstance
) -> None:
    before = {node: known(path, node) for node in (BTC, ETH)}
    kept = next((path.parent / "artifacts").rglob("2024-05/*.parquet"))
    leftover = kept.with_name(f"{kept.name}#7")
    leftover.write_bytes(b"half")
    os.utime(leftover, (AGED, AGED))
    result = keep_house(path, instance)
    assert result.success and not leftover.exists() and kept.exists()
    shown = rows(result)
    for node, (bars, instants, artifacts) in before.items():
        now, later, merged = known(path, node)
        assert now == bars and later[:-1] == instants and (artifacts, merged) == (12, 1)
        assert (shown[node]["artifacts before"], shown[node]["artifacts after"]) == (12, 1)
        (seen,) = observed(instance, node)
        assert seen.asset_observation.metadata["as_of"].value == later[-1]
    assert sum(row["files removed"] for row in shown.values()) == 1
    assert shown["ohlcv:binance:SOL/USDT:1h"]["artifacts after"] == 0
    again = rows(keep_house(path, instance))
    assert all(row["artifacts before"] == row["artifacts after"] for row in again.values())
    assert len(observed(instance, BTC)) == 1


def test_a_damaged_node_fails_the_job_and_stops_no_other(path: Path, instance: DagsterInstance) -> None:
    damaged = next((path.parent / "artifacts").rglob("symbol=BTC*/**/2024-05/*.parquet"))
    whole = damaged.read_bytes()
    damaged.write_bytes(whole[:-1])
    result = keep_house(path, instance)
    assert not result.success and set(rows(result)) == {ETH, "ohlcv:binance:SOL/USDT:1h"}
    (failure,) = (event for event in result.all_events if event.is_step_failure)
    description = failure.step_failure_data.user_failure_data.description
    assert description.startswith(BTC) and str(damaged) in description and "restore the file" in description
    assert known(path, ETH)[2] == 1
    damaged.write_bytes(whole)
    assert keep_house(path, instance).success and known(path, BTC)[2] == 1


def test_a_damaged_artifact_is_found_by_verification_and_told_as_a_check(
    path: Path, instance: DagsterInstance
) -> None:
    sound = keep_house(path, instance, "verification")
    assert sound.success and {row["artifacts"] for row in rows(sound).values()} == {0, 12}
    # A verdict on bars is none that verification takes back.
    key = AssetKey(list(sa.NodeId.parse(ETH).asset_key))
    on_bars = AssetCheckEvaluation(asset_key=key, check_name="publishable", passed=False, metadata={})
    instance.report_runless_asset_event(on_bars)
    damaged = next((path.parent / "artifacts").rglob("symbol=BTC*/**/2024-05/*.parquet"))
    whole = damaged.read_bytes()
    damaged.write_bytes(whole[:-1] + b"?")
    result = keep_house(path, instance, "verification")
    assert not result.success and set(rows(result)) == {ETH, "ohlcv:binance:SOL/USDT:1h"}
    check = last_verdict(instance, BTC)
    assert not check.passed and str(damaged) in str(check.description)
    damaged.write_bytes(whole)
    assert keep_house(path, instance, "verification").success
    check = last_verdict(instance, BTC)
    assert check.passed and check.description == "all of its 12 artifacts are what was released"
    assert not last_verdict(instance, ETH).passed


@pytest.mark.parametrize("name", ["housekeeping", "verification"])
def test_the_schedule_is_there_and_off(name: str, written: Callable[..., Path]) -> None:
    definitions = build_definitions(load_settings(written("BTC/USDT")))
    schedule = definitions.resolve_schedule_def(f"{name}_schedule")
    assert schedule.job_name == name
    assert schedule.default_status == DefaultScheduleStatus.STOPPED
