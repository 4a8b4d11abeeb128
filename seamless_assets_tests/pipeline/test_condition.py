"""The condition of partitions, as a node goes from nothing to released, corrected, withdrawn and late."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

import seamless_assets as sa
from seamless_assets.config.load import Settings
from seamless_assets.sandbox.faults import Fault
from seamless_assets.sandbox.server import Sandbox
from seamless_assets.testing import DAY, START, InMemoryExchange, connect_in_memory, random_walk

NODE = "ohlcv:binance:BTC/USDT:1h"
HIDDEN = Fault("hide", path="klines", start=START + DAY + DAY // 2, end=START + 30 * DAY, times=None)


@pytest.fixture
def pipeline(exchange: Sandbox, settings_for: Callable[..., Settings]) -> Iterator[sa.Seamless]:
    declared = {"base_url": exchange.url, "symbols": ["BTC/USDT"], "timeframes": ["1h"], "start": START}
    settings = settings_for({"binance": declared}, partitions={"1h": "day"})
    with sa.connect(settings) as opened:
        yield opened


def test_each_state_is_given_with_its_reason(exchange: Sandbox, pipeline: sa.Seamless) -> None:
    assert pipeline.condition(NODE, START, START) == []
    exchange.faults.add(HIDDEN)
    pipeline.materialize(NODE, START, START + 2 * DAY)
    exchange.faults.clear()
    pipeline.materialize(NODE, START + 2 * DAY, START + 3 * DAY)
    pipeline.release(NODE, reason="the morning is gone for good", partition="2025-01-02")
    pipeline.withdraw(NODE, "2025-01-03", reason="wrong market")
    pipeline.backfill(NODE, START + 3 * DAY, START + 4 * DAY)
    found = {
        item.partition: (item.state, item.reason) for item in pipeline.condition(NODE, START, START + 5 * DAY)
    }
    assert list(found) == [f"2025-01-0{day}" for day in range(1, 6)]
    assert found["2025-01-01"] == ("available", "24 bars, 0 proven absent")
    assert found["2025-01-02"][0] == "degraded"
    assert found["2025-01-03"] == ("missing", "taken out of force: wrong market")
    assert found["2025-01-04"] == ("pending", "24 of 24 bars are known and not released")
    assert found["2025-01-05"] == ("missing", "nothing of it is known; materialize it")
    first = pipeline.condition(NODE, START, START + DAY)[0]
    assert first.changed_at == pipeline.releases(NODE)[0].as_of


def test_the_running_partition_is_pending_before_and_after_its_release(pipeline: sa.Seamless) -> None:
    # The clocks of the machine and of the exchange stand far apart; what is over is judged by the machine's.
    tomorrow = (int(pipeline.aio.ports.clock.now()) // DAY + 1) * DAY
    (last,) = pipeline.condition(NODE, tomorrow, tomorrow + DAY)
    assert (last.state, last.reason, last.changed_at) == ("pending", "its time is not over", None)


def state_of(pipeline: sa.Seamless, day: int) -> tuple[str, str]:
    (found,) = pipeline.condition(NODE, START + day * DAY, START + (day + 1) * DAY)
    return found.state, found.reason


def test_it_is_told_of_what_is_in_force_and_not_of_what_is_known_beside_it(
    exchange: Sandbox, pipeline: sa.Seamless
) -> None:
    exchange.faults.add(Fault("hide", path="klines", start=START + DAY // 2, end=START + DAY, times=None))
    pipeline.backfill(NODE, START, START + DAY)
    pipeline.publish(NODE, START, START + DAY)
    pipeline.release(NODE, reason="half will do")
    exchange.faults.clear()
    assert state_of(pipeline, 0) == ("degraded", "released by hand over coverage: half will do")
    pipeline.materialize(NODE, START, START + DAY)
    assert state_of(pipeline, 0) == ("available", "24 bars, 0 proven absent")
    # The hot store knows all of it still; readers of what is in force do not.
    back = pipeline.rollback(NODE, reason="whole is wrong", to=1)
    state, reason = state_of(pipeline, 0)
    assert state == "degraded" and reason.endswith("rolled back: whole is wrong")
    assert pipeline.condition(NODE, START, START + DAY)[0].changed_at == back.as_of


def test_a_day_without_a_bar_and_a_day_under_way_are_no_missing_ones(
    exchange: Sandbox, pipeline: sa.Seamless
) -> None:
    pipeline.declare(NODE, START + DAY, START + 2 * DAY, "halted", note="a halt of a day")
    assert state_of(pipeline, 1) == (
        "pending",
        "24 of 24 bars are known not to exist, and nothing is released",
    )
    # What is settled of the last day of the exchange ends two bars before its clock.
    pipeline.materialize(NODE, START + 9 * DAY, START + 10 * DAY)
    state, reason = state_of(pipeline, 9)
    assert state == "pending" and reason.startswith("released up to 2025-01-10T22:00:00Z")


def test_what_was_released_as_absent_and_is_not_is_degraded_until_it_is_released_anew() -> None:
    bars = random_walk(START, START + 3 * DAY, 3_600)
    hole = (START + 5 * 3_600, START + 8 * 3_600)
    kept = {ts: row for ts, row in bars.items() if not hole[0] <= ts < hole[1]}
    exchange = InMemoryExchange.serving({NODE: kept})
    exchange.trades = []
    with connect_in_memory(exchange, {"partitions": {"1h": "day"}}) as pipeline:
        pipeline.declare(NODE, *hole, reason="outage", note="maintenance")
        assert pipeline.materialize(NODE, START, START + 2 * DAY).released
        declared = ("available", "21 bars, 0 proven absent, 3 declared absent (declared)")
        assert state_of(pipeline, 0) == declared
        pipeline.revoke(NODE, *hole, note="it was another exchange")
        state, reason = state_of(pipeline, 0)
        assert state == "degraded" and reason.startswith("3 bars that were released as absent are missing")
        assert state_of(pipeline, 1) == ("available", "24 bars, 0 proven absent")
        exchange.series = {next(iter(exchange.series)): bars}
        assert pipeline.materialize(NODE, START, START + DAY).released
        assert state_of(pipeline, 0) == ("available", "24 bars, 0 proven absent")
