"""The condition of partitions, as a node goes from nothing to released, corrected, withdrawn and late."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

import seamless_assets as sa
from seamless_assets.config.load import Settings
from seamless_assets.sandbox.faults import Fault
from seamless_assets.sandbox.server import Sandbox
from seamless_assets.testing import DAY, START

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
    tomorrow = int(pipeline.aio.ports.clock.now()) + DAY
    (last,) = pipeline.condition(NODE, tomorrow, tomorrow + 1)
    assert (last.state, last.reason, last.changed_at) == ("pending", "its time is not over", None)
