"""What was released of a series counts as its own bars, where a hot store that was emptied knows none."""

from __future__ import annotations

from seamless_assets.core.bars.table import empty_bars
from seamless_assets.core.calendar.segment import Segment
from seamless_assets.core.node import NodeId
from seamless_assets.errors import ExchangeRefused
from seamless_assets.flows.filling.backfill import backfill
from seamless_assets.flows.filling.history import ledger
from seamless_assets.flows.filling.naming import name_outages
from seamless_assets.flows.filling.reach import prove_by_reach
from seamless_assets.flows.ports import Ports
from seamless_assets.flows.releasing.materialize import materialize
from seamless_assets.testing import (
    DAY,
    START,
    InMemoryExchange,
    InMemoryHotStore,
    ManualClock,
    in_memory_ports,
    random_walk,
)

HOUR, MINUTE = 3_600, 60
SYMBOLS = ("ETH", "SOL", "XRP")
OURS = NodeId.parse("ohlcv:bybit:BTC/USDT:1m")


async def released(ports: Ports, node: NodeId, end: int) -> None:
    assert (await materialize(ports, node, Segment(START, end))).released


async def test_bars_of_others_that_are_released_alone_bound_an_outage() -> None:
    hole = Segment(START + 3 * HOUR, START + 4 * HOUR)
    shared = Segment(hole.start + 20 * MINUTE, hole.end)
    others = [NodeId.parse(f"ohlcv:bybit:{symbol}/USDT:1m") for symbol in SYMBOLS]
    series = {
        node: {ts: row for ts, row in random_walk(START, START + 6 * HOUR, seed=at).items()
               if not shared.start <= ts < shared.end}
        for at, node in enumerate(others)
    }  # fmt: skip
    exchange = InMemoryExchange(series=series, clock=ManualClock(START + 6 * HOUR), listed=START)
    exchange.series[OURS] = random_walk(START, START + 6 * HOUR, seed=9)
    hot = InMemoryHotStore()
    ports = in_memory_ports(exchange, hot=hot)
    for node in others:
        await released(ports, node, START + 6 * HOUR)
    hot.restore(InMemoryHotStore())
    await name_outages(ports, OURS, [hole])
    said = [fact.segment for fact in await ledger(ports, OURS, hole) if fact.reason == "outage"]
    assert said == [shared]


class Refusing(InMemoryExchange):
    """It tells of a delisted market no more."""

    async def last_traded(self, node: NodeId) -> int | None:
        raise ExchangeRefused(f"{node} is gone", node_id=str(node))


async def test_a_delisted_series_ended_after_what_is_released_of_it() -> None:
    node, end = NodeId.parse("ohlcv:okx:LUNA/USDT:1h"), START + 2 * DAY
    exchange = Refusing(
        series={node: random_walk(START, end, step=HOUR)}, clock=ManualClock(START + 9 * DAY), listed=START
    )
    hot = InMemoryHotStore()
    ports = in_memory_ports(exchange, hot=hot)
    exchange.clock.time = float(end + 2 * HOUR)  # type: ignore[attr-defined]
    await backfill(ports, node, Segment(START, START + DAY))
    older = hot.backup()
    await released(ports, node, end)
    exchange.clock.time, exchange.delisted = START + 9 * DAY, end  # type: ignore[attr-defined]
    hot.restore(older)
    inside, after = Segment(end - DAY // 2, end - DAY // 4), Segment(end, end + DAY)
    assert await prove_by_reach(ports, node, [inside], empty_bars()) == []
    (said,) = await prove_by_reach(ports, node, [after], empty_bars())
    assert (said.segment, said.reason) == (after, "post_delisting")
