"""Streams while the hot store is away, or gives no answer: what is overdue is told, and nothing is lost."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import Any

import pytest
from support.live import HOUR, LiveMarket, request, shown

from seamless_assets.core.live.events import Bar, CaughtUp, Event, Stale
from seamless_assets.core.node import NodeId
from seamless_assets.errors import HotStoreError
from seamless_assets.flows.live.feeds import Feeds
from seamless_assets.flows.live.subscribe import subscribe, subscribe_in_batches
from seamless_assets.flows.ports import Ports
from seamless_assets.flows.sharing.quota import HELD_AT_ONCE, RESERVED
from seamless_assets.testing import START, InMemoryStream, run_on_virtual_time

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


class StoreThatHangs:
    """A hot store whose loads of some nodes hang from `BEGAN` on, and take a while to be given up."""

    def __init__(self, market: LiveMarket, nodes: Sequence[NodeId], hang_s: float) -> None:
        self._market, self._nodes, self._hang_s = market, nodes, hang_s
        self.pending = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._market.hot, name)

    async def load_bars(self, node: NodeId, *args: Any, **named: Any) -> Any:
        if node in self._nodes and self._market.clock.now() >= BEGAN:
            self.pending += 1
            try:
                await asyncio.sleep(self._hang_s)
            finally:
                await asyncio.sleep(5)
                self.pending -= 1
        return await self._market.hot.load_bars(node, *args, **named)


def test_who_leaves_while_a_store_hangs_is_back_once_its_loads_have_ended() -> None:
    market = LiveMarket(NODES[:3])
    hot: Any = StoreThatHangs(market, NODES, 10**6)

    async def work() -> None:
        ports = replace(market.process(), hot=hot)
        others = asyncio.all_tasks()
        async with aclosing(subscribe_in_batches(ports, request(NODES[:3], None))) as batches:
            async for batch in batches:
                if isinstance(batch[0], Stale):
                    break
            assert hot.pending
        assert not hot.pending and asyncio.all_tasks() == others

    run_on_virtual_time(work)


def test_proven_bars_do_not_wait_for_a_store_that_hangs_for_another_node() -> None:
    slow, *others = nodes = NODES[:3]
    market = LiveMarket(nodes)
    hot: Any = StoreThatHangs(market, [slow], 40)
    late: dict[str, list[float]] = {str(node): [] for node in nodes}

    async def work() -> None:
        ports = replace(market.process(feeds=Feeds(InMemoryStream(market.exchange))), hot=hot)
        streamed = replace(ports.policy, feeds={"binance": "auto"}, told_when_proven=frozenset({"binance"}))
        told = []
        async for event in subscribe(replace(ports, policy=streamed), request(nodes, None, END)):
            told.append(event)
            if isinstance(event, Bar) and event.source == "stream":
                late[event.node_id].append(market.clock.now() - event.end)
        for node in nodes:
            assert shown(told, node) == market.truth(node, START + 6 * HOUR, END)

    run_on_virtual_time(work)
    for node in others:
        assert len(late[str(node)]) > 10 and max(late[str(node)]) < 1


def test_what_many_nodes_hear_at_once_takes_memory_as_they_are_many() -> None:
    nodes = [NodeId.parse(f"ohlcv:binance:C{number}/USDT:1m") for number in range(200)]
    market = LiveMarket(nodes[:1])
    market.exchange.series = dict.fromkeys(nodes, market.exchange.series[nodes[0]])

    async def work() -> None:
        async for batch in subscribe_in_batches(ports_of(market, 10.0), request(nodes, None)):
            if stale := [event for event in batch if isinstance(event, Stale)]:
                assert len(stale) > 50
                assert len({id(event.place.positions) for event in stale}) == 1
                return

    run_on_virtual_time(work)


class StoreThatIsSlow:
    """A hot store that has the bars of a node after a second, whatever else is asked of it."""

    def __init__(self, market: LiveMarket) -> None:
        self._market = market

    def __getattr__(self, name: str) -> Any:
        return getattr(self._market.hot, name)

    async def load_bars(self, *args: Any) -> Any:
        await asyncio.sleep(1)
        return await self._market.hot.load_bars(*args)


def lateness(nodes: Sequence[NodeId], since: int, until: int) -> list[float]:
    """Seconds after their close at which bars that open from `since` on are told, stored, of slow stores."""
    market, late = LiveMarket(nodes[:1]), list[float]()
    market.exchange.series = dict.fromkeys(nodes, market.exchange.series[nodes[0]])
    hot: Any = StoreThatIsSlow(market)

    async def work() -> None:
        ports = replace(market.process(feeds=Feeds(InMemoryStream(market.exchange))), hot=hot)
        ports = replace(ports, policy=replace(ports.policy, feeds={"binance": "auto"}))
        told = [event async for event in noted(subscribe(ports, request(nodes, None, until)))]
        for node in nodes:
            assert shown(told, node) == market.truth(node, START + 6 * HOUR, until)

    async def noted(events: AsyncGenerator[Event, None]) -> AsyncGenerator[Event, None]:
        async for event in events:
            if isinstance(event, Bar) and event.ts >= since:
                late.append(market.clock.now() - event.end)
            yield event

    run_on_virtual_time(work)
    return late


def test_bars_of_many_nodes_that_close_at_once_are_loaded_at_once() -> None:
    assert max(lateness(NODES, BEGAN, END)) < len(NODES) / 2


def test_bars_of_more_nodes_than_are_filled_at_once_are_stored_at_once() -> None:
    nodes = [
        NodeId.parse(f"ohlcv:binance:C{number}/USDT:1m") for number in range(HELD_AT_ONCE + RESERVED + 1)
    ]
    begin = START + 6 * HOUR
    late = lateness(nodes, begin + 180, begin + 360)
    assert max(late) < 2.5, "one second to store all of them, and one to load them"
