"""The sensor of an exchange, on a virtual clock: what it asks for, and what its cursor keeps."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from logging import Logger
from typing import Any

import pytest
from dagster import RetryPolicy

import seamless_assets as sa
from seamless_assets.defs.automation import freshness
from seamless_assets.defs.automation.due import Look, NodeState
from seamless_assets.defs.automation.requests import UNDER_WAY
from seamless_assets.defs.nodes import assets
from seamless_assets.errors import ArtifactCorrupt, HotStoreError
from seamless_assets.sandbox.faults import Fault
from seamless_assets.testing import START
from seamless_assets_tests.defs.automation.conftest import Project, spans

SENSOR = "freshness_binance"
MINUTE = 1 / 1440


def test_stale_nodes_are_one_run_for_each_job(project: Callable[..., Project]) -> None:
    made = project("BTC/USDT", "ETH/USDT", timeframes=("1m", "1h"))
    made.at(9.5)
    asked, cursor = made.tick_sensor(SENSOR)
    assert sorted((request.job_name, *span) for request, span in zip(asked, spans(asked), strict=True)) == [
        ("materialize_ohlcv_binance_1h", "2025-01", "2025-01", 2),
        ("materialize_ohlcv_binance_1m", "2025-01-08", "2025-01-10", 2),
    ]
    # Doubled, or the daemon died before it kept the cursor: the same keys.
    assert {one.run_key for one in made.tick_sensor(SENSOR)[0]} == {one.run_key for one in asked}
    assert made.launch([*asked, *asked]) == 2
    made.at(9.5 + MINUTE)
    assert made.tick_sensor(SENSOR, cursor) == ([], cursor)
    made.at(9.5 + 5 * MINUTE)
    again, cursor = made.tick_sensor(SENSOR, cursor)
    assert again == []
    made.at(9.5 + 14 * MINUTE)
    assert made.tick_sensor(SENSOR, cursor)[0] == []
    made.at(9.5 + 16 * MINUTE)
    (asked,) = made.tick_sensor(SENSOR, cursor)[0]
    assert asked.job_name == "materialize_ohlcv_binance_1m" and spans([asked]) == [
        ("2025-01-10", "2025-01-10", 2)
    ]


def test_an_incident_is_recovered_from_within_ten_minutes(project: Callable[..., Project]) -> None:
    made = project("BTC/USDT", backfill={"max_attempts": 1, "retry_backoff_ms": 1})
    day, cursor = 9.5, None

    def live(minutes: int) -> None:
        """What the daemon does, once a minute."""
        nonlocal day, cursor
        for _ in range(minutes):
            day += MINUTE
            made.at(day)
            asked, cursor = made.tick_sensor(SENSOR, cursor)
            made.launch(asked)

    def coverage() -> float:
        with sa.connect(made.settings) as s:
            held = s.released_window("ohlcv:binance:BTC/USDT:1m")
        return (held.end - (START + 9 * 86_400)) / (made.now - 120 - (START + 9 * 86_400))

    live(1)
    assert coverage() >= 0.98
    made.exchange.faults.add(Fault("status", code=503, times=None))
    live(30)
    assert coverage() < 0.98
    made.exchange.faults.clear()
    live(10)
    assert coverage() >= 0.98


@pytest.mark.parametrize(
    ("fault", "is_asked_at_once"),
    [
        (Fault("status", code=503, times=None), True),
        (None, True),
        (Fault("inverted", path="klines", times=None), False),
    ],
    ids=["exchange-away", "store-away", "fails-its-checks"],
)
def test_a_job_of_one_node_is_asked_for_at_once_where_something_was_away(
    fault: Fault | None,
    is_asked_at_once: bool,
    project: Callable[..., Project],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(assets, "RETRIES", RetryPolicy(max_retries=0))
    made = project("BTC/USDT", backfill={"max_attempts": 1, "retry_backoff_ms": 1})
    made.at(8.5)
    _, cursor = made.tick_sensor(SENSOR)
    made.at(9.5)
    (request,), cursor = made.tick_sensor(SENSOR, cursor)

    def away(*_: object) -> None:
        raise HotStoreError("the hot store cannot be reached")

    if fault is None:
        monkeypatch.setattr(assets, "materialize_nodes", away)
    else:
        made.exchange.faults.add(fault)
    job = made.definitions.resolve_job_def(str(request.job_name))
    result = job.execute_in_process(instance=made.instance, raise_on_error=False, tags=request.tags)
    assert not result.success
    made.at(9.5 + 6 * MINUTE)
    again, cursor = made.tick_sensor(SENSOR, cursor)
    assert bool(again) is is_asked_at_once
    # Nobody waits for ever.
    made.at(9.5 + 120 * MINUTE)
    assert made.tick_sensor(SENSOR, cursor)[0]


def test_release_logs_that_come_back_are_looked_at_at_once(
    project: Callable[..., Project], monkeypatch: pytest.MonkeyPatch
) -> None:
    made = project("BTC/USDT")
    made.at(8.5)
    _, cursor = made.tick_sensor(SENSOR)
    load = freshness.load_states

    def away(*_: object) -> list[NodeState]:
        raise ArtifactCorrupt("the newest record is not a readable release record")

    monkeypatch.setattr(freshness, "load_states", away)
    for fresh in (cursor, None):
        for minutes in range(0, 60, 5):
            made.at(9.5 + minutes * MINUTE)
            asked, fresh = made.tick_sensor(SENSOR, fresh)
            assert asked == []
        monkeypatch.setattr(freshness, "load_states", load)
        made.at(9.5 + 60 * MINUTE)
        assert len(made.tick_sensor(SENSOR, fresh)[0]) == 1
        monkeypatch.setattr(freshness, "load_states", away)


def test_a_lost_cursor_and_one_that_says_nothing_ask_once_more(project: Callable[..., Project]) -> None:
    made = project("BTC/USDT")
    made.at(9.5)
    asked, cursor = made.tick_sensor(SENSOR)
    assert len(asked) == 1 and json.loads(str(cursor))
    for broken in (None, "", "{", "[]", "7", '{"ohlcv_binance_1m": 5}', '{"ohlcv_binance_1m": [NaN, NaN]}'):
        again, kept = made.tick_sensor(SENSOR, broken)
        assert again == asked and kept == cursor, broken
    # A clock that was set back since, and a node that is none of ours any more.
    ahead = json.dumps({"ohlcv_binance_1m": [made.now + 1e6, made.now + 2e6], "ohlcv_gone_1m": [0, 0]})
    again, kept = made.tick_sensor(SENSOR, ahead)
    assert again == asked and kept == cursor


def test_a_job_that_was_never_looked_at_has_no_time_of_a_last_look(
    project: Callable[..., Project], monkeypatch: pytest.MonkeyPatch
) -> None:
    made = project("BTC/USDT")
    made.at(9.5)
    look_at, seen = freshness.look_at, []

    def spied(*arguments: Any) -> Look:
        seen.append(arguments[3])
        return look_at(*arguments)

    monkeypatch.setattr(freshness, "look_at", spied)
    for at in (0.0, 7.0):
        made.tick_sensor(SENSOR, json.dumps({"ohlcv_binance_1m": [at, 0.0]}))
    assert seen == [None, 7.0]


def test_its_own_run_is_waited_for(project: Callable[..., Project]) -> None:
    made = project("BTC/USDT")
    made.at(9.5)
    (request,), cursor = made.tick_sensor(SENSOR)
    made.instance.create_run_for_job(
        made.definitions.resolve_job_def(str(request.job_name)), status=UNDER_WAY[-2], tags=request.tags
    )
    made.at(9.5 + 20 * MINUTE)
    asked, kept = made.tick_sensor(SENSOR, cursor)
    assert asked == [] and kept == cursor


def test_a_tick_looks_at_so_many_jobs_and_the_next_at_the_others(
    project: Callable[..., Project], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(freshness, "SHARDS_A_TICK", 2)
    made = project("BTC/USDT", timeframes=("1m", "5m", "1h", "4h", "1d"))
    made.at(9.5)
    cursor, jobs = None, []
    for _ in range(3):
        asked, cursor = made.tick_sensor(SENSOR, cursor)
        jobs += [str(request.job_name) for request in asked]
    assert len(jobs) == len(set(jobs)) == 5
    assert made.tick_sensor(SENSOR, cursor) == ([], cursor)


def test_a_job_whose_logs_cannot_be_read_stops_no_other(
    project: Callable[..., Project], monkeypatch: pytest.MonkeyPatch
) -> None:
    made = project("BTC/USDT", timeframes=("1m", "1h"))
    made.at(9.5)
    load = freshness.load_states

    def spoiled(pipeline: sa.Seamless, nodes: Sequence[sa.NodeId], log: Logger) -> list[NodeState]:
        if str(nodes[0].timeframe) == "1h":
            raise ArtifactCorrupt("the newest record is not a readable release record")
        return load(pipeline, nodes, log)

    monkeypatch.setattr(freshness, "load_states", spoiled)
    asked, cursor = made.tick_sensor(SENSOR)
    assert [request.job_name for request in asked] == ["materialize_ohlcv_binance_1m"]
    assert "ohlcv_binance_1h" in json.loads(str(cursor))
