"""What an exchange no longer serves, and what is declared absent, is no green 100 % in Dagster."""

from __future__ import annotations

import pytest
from dagster import AssetCheckSeverity, AssetKey

from seamless_assets.core.calendar.partition import partitions
from seamless_assets.core.calendar.segment import Segment
from seamless_assets.core.node import NodeId
from seamless_assets.defs.nodes.checks import judge_held_of_released, judge_released
from seamless_assets.defs.nodes.results import progress
from seamless_assets.testing import DAY, START, InMemoryExchange, connect_in_memory, random_walk

NODE = "ohlcv:kraken:BTC/USDT:1h"
KEY = AssetKey(["ohlcv", "kraken", "BTC_USDT_1h"])
MONTH = (START, START + 31 * DAY)


@pytest.mark.parametrize(
    ("lost", "why", "is_held"),
    [
        (0, "retention", True),
        (12, "retention", True),
        (700, "retention", False),
        (12, "declared", True),
        (300, "declared", False),
    ],
)
def test_a_partition_that_is_out_of_reach_is_released_with_a_warning(
    lost: int, why: str, is_held: bool
) -> None:
    bars = random_walk(START, START + 33 * DAY, step=3_600)
    served = {ts: row for ts, row in bars.items() if ts >= START + lost * 3_600}
    exchange = InMemoryExchange.serving({NODE: served})
    exchange.listings = {NodeId.parse(NODE): START - 400 * DAY}
    exchange.oldest = min(served) if why == "retention" else None
    with connect_in_memory(exchange) as s:
        if why == "declared":
            s.declare(NODE, START, START + lost * 3_600, "outage", by="ann")
        report = s.materialize(NODE, *MONTH)
        assert report.released and report.coverage.ratio == 1.0
        assert getattr(report.coverage, why) == lost
        released = judge_released(s, KEY, NodeId.parse(NODE))
        held = judge_held_of_released(s, KEY, NodeId.parse(NODE))
    assert released.passed and held.passed is is_held and held.severity == AssetCheckSeverity.WARN
    for check in (released, held):
        shown = {name: value.value for name, value in check.metadata.items()}
        assert shown["coverage"] == 1.0 and shown["held"] == round(1 - lost / 744, 6)
        assert shown[f"{why}_bars"] == lost and shown["absent_bars"] == lost
    words = {"retention": f"{lost} out of retention", "declared": f"{lost} declared absent"}[why]
    (partition,) = report.partitions
    for text in (held.description, released.description, progress(NodeId.parse(NODE), partition)):
        assert (words in str(text)) is bool(lost) and "0 proven absent" in str(text)
    assert partitions(NodeId.parse(NODE).timeframe, "month", Segment(*MONTH)) == [partition.partition]


def test_nothing_released_is_nothing_held() -> None:
    with connect_in_memory(
        InMemoryExchange.serving({NODE: random_walk(START, START + DAY, step=3_600)})
    ) as s:
        held = judge_held_of_released(s, KEY, NodeId.parse(NODE))
    assert not held.passed and "has no release" in str(held.description)
