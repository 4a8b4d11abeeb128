"""Schedules that materialize nodes, on a virtual clock: late, doubled and lost ticks change nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from dagster import DagsterRunStatus, DefaultScheduleStatus, DefaultSensorStatus

from seamless_assets.config.load import settings_from_mapping
from seamless_assets.defs.automation.requests import UNDER_WAY
from seamless_assets.defs.build import build_definitions
from seamless_assets.errors import ArtifactCorrupt
from seamless_assets_tests.defs.automation.conftest import Project, spans

ROLLING, FINISHING, ANEW = (
    f"{word}_ohlcv_binance_1m" for word in ("rolling_backfill", "finishing", "reverification")
)


def test_the_last_partitions_are_filled_once(project: Callable[..., Project]) -> None:
    made = project("BTC/USDT", "ETH/USDT")
    made.at(9.5)
    asked = made.tick_schedule(ROLLING)
    assert spans(asked) == [("2025-01-08", "2025-01-10", 2)]
    # Doubled before the first one's run began: the same key, so the daemon launches one.
    assert made.tick_schedule(ROLLING) == asked
    assert made.launch([*asked, *asked]) == 1
    assert made.released() == made.released("ETH/USDT") == {"2025-01-08", "2025-01-09", "2025-01-10"}
    assert made.tick_schedule(ROLLING) == []


def test_a_day_without_the_daemon_loses_nothing(project: Callable[..., Project]) -> None:
    made = project("BTC/USDT")
    made.at(7.25)
    made.launch(made.tick_schedule(ROLLING))
    made.at(9.75)
    asked = made.tick_schedule(ROLLING)
    assert spans(asked) == [("2025-01-08", "2025-01-10", 1)]
    assert made.launch(asked) == 1 and made.tick_schedule(FINISHING) == []


def test_the_running_partition_is_finished_when_it_is_over(project: Callable[..., Project]) -> None:
    made = project("BTC/USDT", "ETH/USDT")
    made.at(8.58)
    made.launch(made.tick_schedule(ROLLING))
    assert made.tick_schedule(FINISHING) == []
    made.at(9 + 119 / 86_400)
    assert made.tick_schedule(FINISHING) == []
    made.at(9 + 121 / 86_400)
    asked = made.tick_schedule(FINISHING)
    assert spans(asked) == [("2025-01-09", "2025-01-09", 2)]
    assert made.launch(asked) == 1 and made.tick_schedule(FINISHING) == []


def test_the_last_partitions_are_asked_for_anew(project: Callable[..., Project]) -> None:
    made = project("BTC/USDT")
    made.at(9.5)
    assert made.tick_schedule(ANEW) == []
    made.launch(made.tick_schedule(ROLLING))
    asked = made.tick_schedule(ANEW)
    assert spans(asked) == [("2025-01-08", "2025-01-09", 1)]
    before = len(made.exchange.requests)
    assert made.launch(asked) == 1 and len(made.exchange.requests) > before
    # What was asked for anew may change once more.
    assert made.tick_schedule(ANEW) == asked


def test_a_run_that_is_not_over_is_waited_for(project: Callable[..., Project]) -> None:
    made = project("BTC/USDT")
    (request,) = made.tick_schedule(ROLLING)
    run = made.instance.create_run_for_job(
        made.definitions.resolve_job_def(str(request.job_name)), status=UNDER_WAY[2], tags=request.tags
    )
    assert made.tick_schedule(ROLLING) == []
    # Another one's run is no reason to wait.
    assert made.tick_schedule(FINISHING) == []
    made.instance.delete_run(run.run_id)
    made.instance.create_run_for_job(
        made.definitions.resolve_job_def(str(request.job_name)),
        status=DagsterRunStatus.FAILURE,
        tags=request.tags,
    )
    assert made.tick_schedule(ROLLING) == [request]


def test_a_node_that_cannot_be_read_stops_no_other(project: Callable[..., Project], tmp_path: Any) -> None:
    made = project("BTC/USDT", "ETH/USDT")
    made.at(9.5)
    made.launch(made.tick_schedule(ROLLING))
    made.at(9.75)
    for record in (tmp_path / "artifacts").rglob("symbol=BTC*/**/_releases/*.json"):
        record.write_bytes(b"{}")
    (asked,) = made.tick_schedule(ROLLING)
    assert [key.path[-1] for key in asked.asset_selection or []] == ["ETH_USDT_1m"]
    for record in (tmp_path / "artifacts").rglob("_releases/*.json"):
        record.write_bytes(b"{}")
    with pytest.raises(ArtifactCorrupt, match="is not a readable release record"):
        made.tick_schedule(ROLLING)


@pytest.mark.parametrize("is_on", [False, True])
def test_all_is_off_until_it_is_switched_on(is_on: bool) -> None:
    declared = {
        "seamless": {"artifact": {"object_store_uri": "./a"}},
        "exchanges": {"binance": {"symbols": ["BTC/USDT"]}, "okx": {"symbols": ["BTC/USDT"]}},
        "automation": {
            "enabled": is_on,
            "timezone": "Europe/Berlin",
            "finishing": {"enabled": not is_on, "cron": "*/7 1-5 * jan,feb mon"},
        },
    }
    repository = build_definitions(settings_from_mapping(declared, "/base", {})).get_repository_def()
    usual, other = (
        (DefaultScheduleStatus.RUNNING, DefaultScheduleStatus.STOPPED)[:: 1 if is_on else -1],
        DefaultSensorStatus.RUNNING if is_on else DefaultSensorStatus.STOPPED,
    )
    for schedule in repository.schedule_defs:
        is_finishing = schedule.name.startswith("finishing")
        assert schedule.default_status == usual[is_finishing], schedule.name
        assert schedule.execution_timezone == "Europe/Berlin"
        assert (schedule.cron_schedule == "*/7 1-5 * jan,feb mon") is is_finishing
    for sensor in repository.sensor_defs:
        if sensor.name.startswith("freshness"):
            assert sensor.default_status == other
    assert {sensor.name for sensor in repository.sensor_defs} >= {"freshness_binance", "freshness_okx"}
