"""What people asked for while an exchange was away is asked for again; failures are told in words."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from dagster import (
    AssetKey,
    DagsterInstance,
    DagsterRun,
    DagsterRunStatus,
    RetryPolicy,
    build_run_status_sensor_context,
)
from dagster_shared.record import copy

from seamless_assets.defs.automation.recovery import _partitions_of
from seamless_assets.defs.automation.run_failures import failure_report
from seamless_assets.defs.nodes import assets
from seamless_assets.defs.shards import Shard
from seamless_assets.sandbox.faults import Fault
from seamless_assets_tests.defs.automation.conftest import FIRST, LAST, Project, spans

SENSOR, JOB = "recovery", "materialize_ohlcv_binance_1m"
ETH = AssetKey(["ohlcv", "binance", "ETH_USDT_1m"])
OUTAGE = Fault("status", path="klines", times=None, body={"msg": "down"})
MINUTE = 1 / 1440


@pytest.fixture
def made(
    project: Callable[..., Project], monkeypatch: pytest.MonkeyPatch, instance: DagsterInstance
) -> Iterator[Project]:
    """Two nodes whose steps are tried once; times of runs are told by our clock, not by the machine's."""
    monkeypatch.setattr(assets, "RETRIES", RetryPolicy(max_retries=0))
    made = project("BTC/USDT", "ETH/USDT", backfill={"max_attempts": 1, "retry_backoff_ms": 1})
    monkeypatch.setattr("seamless_assets.defs.automation.recovery.datetime", _Long)
    return made


class _Long:
    """Runs are dated by the machine's clock, which is years after ours."""

    @staticmethod
    def fromtimestamp(at: float, zone: Any) -> None:
        assert at == pytest.approx(1736510400 - 86_400, abs=86_400)


def ask(made: Project, first: str, last: str, *keys: AssetKey, **tags: str) -> Any:
    """A run that a person launches."""
    job = made.definitions.resolve_job_def(JOB)
    return job.execute_in_process(
        instance=made.instance,
        raise_on_error=False,
        asset_selection=list(keys) or None,
        tags={FIRST: first, LAST: last, **tags},
    )


def test_what_failed_for_want_of_an_answer_is_asked_for_until_it_is_released(made: Project) -> None:
    made.exchange.faults.add(OUTAGE)
    assert not ask(made, "2025-01-02", "2025-01-04", ETH).success
    # Those of schedules and sensors are asked for by these again.
    assert not ask(made, "2025-01-07", "2025-01-08", **{"dagster/sensor_name": "freshness_binance"}).success
    asked, cursor = made.tick_sensor(SENSOR)
    assert spans(asked) == [("2025-01-02", "2025-01-04", 1)] and asked[0].asset_selection == [ETH]
    assert made.tick_sensor(SENSOR)[0] == asked
    assert made.tick_sensor(SENSOR, cursor) == ([], cursor)
    made.exchange.faults.clear()
    made.at(10 + 6 * MINUTE)
    again, cursor = made.tick_sensor(SENSOR, cursor)
    assert spans(again) == spans(asked) and again[0].run_key != asked[0].run_key
    made.launch(again)
    assert made.released("ETH/USDT") == {"2025-01-02", "2025-01-03", "2025-01-04"}
    made.at(10 + 12 * MINUTE)
    assert made.tick_sensor(SENSOR, cursor)[0] == []


@pytest.mark.parametrize(
    ("first", "last", "keys"),
    [
        ("2025-01-03", "2025-01-05", ["2025-01-03", "2025-01-04", "2025-01-05"]),
        ("2025-02", "2025-02", [f"2025-02-{day:02}" for day in range(1, 29)]),
        (
            "2025-01",
            "2025-02-02",
            [f"2025-01-{day:02}" for day in range(1, 32)] + ["2025-02-01", "2025-02-02"],
        ),
        ("2024-12", "2024-12", []),
        ("2024", "2025-01-02", ["2025-01-01", "2025-01-02"]),
        ("a", "b", []),
        ("2025-13", "2025-14", []),
    ],
)
def test_partitions_of_runs_are_those_of_today_whatever_unit_they_were_of(
    made: Project, first: str, last: str, keys: list[str]
) -> None:
    run = DagsterRun(job_name=JOB, tags={FIRST: first, LAST: last})
    shard = Shard("shard", "step", "day", (made.settings.nodes[0],))
    assert [part.key for part in _partitions_of(run, shard)] == keys


def test_what_failed_its_checks_is_left_to_people(made: Project) -> None:
    made.exchange.faults.add(Fault("inverted", path="klines", times=None))
    assert not ask(made, "2025-01-02", "2025-01-02", ETH).success
    assert made.tick_sensor(SENSOR)[0] == []


@pytest.mark.parametrize(
    ("fault", "why", "step"),
    [
        (OUTAGE, "no answer for ohlcv:binance:ETH/USDT:1m", "`recovery` and `freshness` ask again"),
        (Fault("inverted", path="klines", times=None), "publishable", "run the job release_by_hand"),
    ],
    ids=["outage", "checks"],
)
def test_a_failed_run_is_told_with_its_reason_and_the_next_step(
    fault: Fault, why: str, step: str, made: Project
) -> None:
    made.exchange.faults.add(fault)
    result = ask(made, "2025-01-02", "2025-01-02", ETH)
    (run,) = made.instance.get_runs()
    assert run.status == DagsterRunStatus.FAILURE
    context = build_run_status_sensor_context(
        sensor_name="run_failures",
        dagster_event=result.get_run_failure_event(),
        dagster_instance=made.instance,
        dagster_run=run,
    ).for_run_failure()
    report = failure_report(context)
    assert report.startswith(f"{JOB} over 2025-01-02 failed ({run.run_id}): ")
    assert why in report and step in report
    # No sensor asks again for what a derivation could not do.
    assert "`recovery`" not in failure_report(context, is_derivation=True)
    if fault is OUTAGE:
        assert "launch it by hand" in failure_report(context, is_derivation=True)


@pytest.mark.parametrize("key", [ETH, AssetKey(["elsewhere", "ohlcv", "binance", "ETH_USDT_1m"])])
def test_a_run_that_was_launched_from_an_asset_page_is_told_of_where_it_is_over_nodes(
    key: AssetKey, made: Project
) -> None:
    made.exchange.faults.add(Fault("inverted", path="klines", times=None))
    result = made.definitions.resolve_implicit_global_asset_job_def().execute_in_process(
        instance=made.instance, partition_key="2025-01-02", asset_selection=[ETH], raise_on_error=False
    )
    (run,) = made.instance.get_runs()
    assert run.job_name == "__ASSET_JOB" and run.asset_selection == {ETH}
    context = build_run_status_sensor_context(
        sensor_name="run_failures",
        dagster_event=result.get_run_failure_event(),
        dagster_instance=made.instance,
        dagster_run=copy(run, asset_selection={key}),
    ).for_run_failure()
    told = made.definitions.get_repository_def().get_sensor_def("run_failures")(context)
    assert (told is None) is (key == ETH)
