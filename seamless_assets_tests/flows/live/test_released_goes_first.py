"""What a release says of a bar goes before what an older hot store does, however few bars a stream tells."""

from __future__ import annotations

import pytest
from support.live import HOUR, LiveMarket, collect, request, shown

from seamless_assets.core.calendar.segment import Segment
from seamless_assets.core.node import NodeId
from seamless_assets.flows.releasing.materialize import materialize
from seamless_assets.testing import START, InMemoryArtifactStore, run_on_virtual_time


@pytest.mark.parametrize("frame", ["15m", "1h"])
@pytest.mark.parametrize("bars", [1, 3, 7])
def test_a_stream_tells_released_values_whatever_its_hot_store_was_set_back_to(frame: str, bars: int) -> None:
    node = NodeId.parse(f"ohlcv:okx:ETH/USDT:{frame}")
    market = LiveMarket([node], now=START + 20 * HOUR)
    length = node.timeframe.seconds or 0
    since = START + 5 * HOUR
    until = since + bars * length

    async def work() -> None:
        day, stored = Segment(START, START + 20 * HOUR), InMemoryArtifactStore()
        assert (await materialize(market.process("one", artifacts=stored), node, day)).released
        backup = market.hot.backup()
        for ts in range(since, until, length):
            market.correct(node, ts, 7.0)
        await market.clock.sleep(HOUR)
        assert (await materialize(market.process("two", artifacts=stored), node, day)).released
        market.hot.restore(backup)
        truth = market.truth(node, since, until)
        for ts in truth:
            del market.exchange.series[node][ts]
        events = await collect(market.process("three", artifacts=stored), request([node], since, until))
        assert shown(events, node) == truth

    run_on_virtual_time(work)
