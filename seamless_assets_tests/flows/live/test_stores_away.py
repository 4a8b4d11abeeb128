"""Streams while the hot store is away, or gives no answer: what is overdue is told, and nothing is lost."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest
from support.live import HOUR, LiveMarket, request, shown

from seamless_assets.core.live.events import CaughtUp, Event, Stale
from seamless_assets.core.node import NodeId
from seamless_assets.errors import HotStoreError
from seamless_assets.flows.live.subscribe import subscribe
from seamless_assets.flows.ports import Ports
from seamless_assets.testing import START, run_on_virtual_time

NODES = [NodeId.parse(f"ohlcv:binance:C{number}/USDT:1m") for number in range(20)]
BEGAN, ENDED = START + 6 * HOUR + 200, START + 6 * HOUR + 900
END = START + 6 * HOUR + 1_200


class StoreThatIsAway:
    """A hot store all calls of which fail from `BEGAN` to `ENDED`, each after so many seconds."""

    def __init__(self, market: LiveMarket, after_s: float) -> None:
        self._market, self._after_s = market, after_s

    def __getattr__(self, name: str) -> Callable[..., Awaitable[Any]]:
        async def call(*args: Any, **named: Any) -> Any:
            if BEGAN <= self._market.clock.now() < ENDED:
                await asyncio.sleep(self._after_s)
                raise HotStoreError("the hot store gives no answer")
            return await getattr(self._market.hot, name)(*args, **named)

        return call


def ports_of(market: LiveMarket, after_s: float) -> Ports:
    hot: Any = StoreThatIsAway(market, after_s)
    return replace(market.process(), hot=hot)


@pytest.mark.parametrize("after_s", [0.0, 10.0])
def test_each_of_many_nodes_hears_in_time_that_its_bars_are_overdue(after_s: float) -> None:
    market = LiveMarket(NODES)
    told: list[tuple[float, Event]] = []

    async def work() -> None:
        stream = subscribe(ports_of(market, after_s), request(NODES, None, END))
        told.extend([(market.clock.now(), event) async for event in stream])
        for node in NODES:
            assert shown([event for _, event in told], node) == market.truth(node, START + 6 * HOUR, END)

    run_on_virtual_time(work)
    stale = {event.node_id: at for at, event in told if isinstance(event, Stale)}
    over = {event.node_id: at for at, event in told if isinstance(event, CaughtUp)}
    assert stale.keys() == over.keys() == set(map(str, NODES))
    # The bar that closed at 240 was not stored any more, and is overdue at 360.
    assert all(360 < at - START - 6 * HOUR <= 372 + after_s for at in stale.values())
    assert all(ENDED <= at <= ENDED + 20 for at in over.values())
