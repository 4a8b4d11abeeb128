"""Bars that are told as soon as a stream proves them: whatever becomes of their storing, each comes once."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from dataclasses import replace
from typing import Any

import pytest
from support.live import HOUR, NODE, LiveMarket, collect, lasting, request, shown

from seamless_assets.core.live.events import Bar, Event, Revised
from seamless_assets.core.live.feed.update import CandleUpdate
from seamless_assets.core.node import NodeId
from seamless_assets.flows.live.feeds import Feeds
from seamless_assets.flows.live.subscribe import subscribe
from seamless_assets.flows.ports import Ports
from seamless_assets.testing import InMemoryHotStore, InMemoryStream, run_on_virtual_time

BARS = 6


def process(market: LiveMarket, name: str, *, told_when_proven: bool = True) -> Ports:
    """The ports of one process that follows the market's stream."""
    ports = market.process(name, feeds=Feeds(InMemoryStream(market.exchange)))
    told = frozenset({"binance"} if told_when_proven else ())
    return replace(ports, policy=replace(ports.policy, feeds={"binance": "auto"}, told_when_proven=told))


class HangingStore:
    """A hot store that answers no write once a process `is_dying`: as if it were killed meanwhile."""

    def __init__(self, hot: InMemoryHotStore) -> None:
        self._hot, self.is_dying = hot, False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._hot, name)

    async def write_bars(self, *asked: Any, **more: Any) -> Any:
        if self.is_dying:
            await asyncio.Event().wait()
        return await self._hot.write_bars(*asked, **more)


async def until_told_ahead(ports: Ports, market: LiveMarket, bars: int, hot: Any = None) -> list[Event]:
    """What is told up to the `bars`-th bar that is told before it is stored; then its process ends."""
    events: list[Event] = []
    until = market.now + HOUR
    async with aclosing(subscribe(ports, request([NODE], None, until))) as stream:
        async for event in stream:
            events.append(event)
            if isinstance(event, Bar) and event.source == "stream":
                assert event.ts not in market.hot.bars[NODE]
                bars -= 1
                if bars == 1 and hot is not None:
                    await market.clock.sleep(30)
                    hot.is_dying = True
                if not bars:
                    break
    return events


@pytest.mark.parametrize("bars", [2, 5])
@pytest.mark.parametrize("is_corrected", [False, True])
def test_who_is_killed_before_it_is_stored_resumes_with_just_what_follows(
    bars: int, is_corrected: bool
) -> None:
    market = LiveMarket()
    hot = HangingStore(market.hot)

    async def live() -> tuple[list[Event], list[Event]]:
        one = replace(process(market, "one"), hot=hot)  # type: ignore[arg-type]
        events = await until_told_ahead(one, market, bars, hot)
        told = events[-1]
        assert isinstance(told, Bar) and told.ts not in market.hot.bars[NODE]
        assert told.cursor.startswith("c3.")
        if is_corrected:
            market.correct(NODE, told.ts, 77.0)
        after = await collect(process(market, "two"), request([NODE], told.cursor, told.end + 60 * BARS))
        return events, after

    before, after = run_on_virtual_time(live)
    told = before[-1]
    assert isinstance(told, Bar)
    revised = [event for event in after if isinstance(event, Revised)]
    assert [(one.ts, one.before, one.volume) for one in revised] == [
        (told.ts, told.values, 77.0) for _ in range(is_corrected)
    ]
    begin = next(event.ts for event in before if isinstance(event, Bar))
    assert shown([*before, *after]) == market.truth(NODE, begin, told.end + 60 * BARS)
    assert market.hot.bars[NODE].keys() >= market.truth(NODE, begin, told.end).keys()
    assert after[-1].cursor.startswith("c2.")


def test_closing_stores_what_was_told() -> None:
    market = LiveMarket()
    told = run_on_virtual_time(lambda: until_told_ahead(process(market, "one"), market, 3))[-1]
    assert isinstance(told, Bar)
    assert market.hot.bars[NODE][told.ts] == told.values


@pytest.mark.parametrize("is_other", [False, True])
def test_what_another_stored_meanwhile_counts(is_other: bool) -> None:
    market = LiveMarket()
    ports = process(market, "one")

    async def live() -> list[Event]:
        events: list[Event] = []
        until = market.now + HOUR / 4
        async for event in subscribe(ports, request([NODE], None, until)):
            events.append(event)
            if isinstance(event, Bar) and event.source == "stream" and len(events) < 6:
                if is_other:
                    market.correct(NODE, event.ts, 77.0)
                market.hot.bars[NODE][event.ts] = market.exchange.series[NODE][event.ts]
        return events

    events = run_on_virtual_time(live)
    revised = [event for event in events if isinstance(event, Revised)]
    assert bool(revised) is is_other and all(one.volume == 77.0 for one in revised)
    begin = next(event.ts for event in events if isinstance(event, Bar))
    assert shown(events) == market.truth(NODE, begin, NODE.timeframe.floor(int(market.now + HOUR / 4)))


@pytest.mark.parametrize("skip", [0.0, 0.3])
def test_the_same_is_told_earlier(skip: float) -> None:
    seen: dict[bool, list[Event]] = {}
    ahead: list[float] = []

    async def timed(market: LiveMarket, ports: Ports, until: float) -> list[Event]:
        events = []
        async for event in subscribe(ports, request([NODE], None, until)):
            events.append(event)
            if isinstance(event, Bar) and event.source == "stream":
                ahead.append(market.clock.now() - event.end)
        return events

    for told_when_proven in (True, False):
        market = LiveMarket(skip=skip)
        ports = process(market, "one", told_when_proven=told_when_proven)
        until = NODE.timeframe.floor(int(market.now + HOUR / 8))
        events = run_on_virtual_time(lambda: timed(market, ports, until))  # noqa: B023
        seen[told_when_proven] = lasting(events)
        # The last one is stored before a stream ends.
        assert market.hot.bars[NODE].keys() >= market.truth(NODE, until - 300, until).keys()
    assert seen[True] == seen[False]
    assert bool(ahead) or skip
    assert max(ahead, default=0.0) <= 0.06


def test_after_a_bar_that_was_asked_for_the_next_one_is_told_at_once_again() -> None:
    market = LiveMarket()
    asked_for = NODE.timeframe.floor(int(market.now)) + 180

    late = {(asked_for, True), (asked_for + 60, False)}

    def deliver(_: NodeId, update: CandleUpdate) -> list[tuple[float, CandleUpdate]]:
        return [(5.0 if (update.ts, update.is_closed) in late else 0.0, update)]

    ports = process(market, "one")
    ports = replace(ports, feeds=Feeds(InMemoryStream(market.exchange, deliver=deliver)))
    events = run_on_virtual_time(lambda: collect(ports, request([NODE], None, asked_for + 300)))
    sources = {event.ts: event.source for event in events if isinstance(event, Bar)}
    around = [sources[asked_for + 60 * number] for number in (-1, 0, 1)]
    assert around == ["stream", "hot_store", "stream"]


class WatchedStore:
    """A hot store that notes when each bar was written first, in seconds after its close."""

    def __init__(self, market: LiveMarket) -> None:
        self._hot, self._clock = market.hot, market.clock
        self.written: dict[tuple[str, int], float] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._hot, name)

    async def write_bars(self, node: NodeId, bars: Any, *asked: Any, **more: Any) -> Any:
        for ts in bars.column("ts").to_pylist():
            self.written.setdefault((str(node), ts), self._clock.now() - node.timeframe.shift(ts, 1))
        return await self._hot.write_bars(node, bars, *asked, **more)


def test_of_bars_that_close_at_once_the_last_is_told_before_the_first_is_stored() -> None:
    nodes = [NodeId.parse(f"ohlcv:binance:C{number}/USDT:1m") for number in range(12)]
    market = LiveMarket(nodes)
    store = WatchedStore(market)
    late = {str(node): 0.1 * number for number, node in enumerate(nodes)}
    stream = InMemoryStream(market.exchange, deliver=lambda node, update: [(late[str(node)], update)])
    ports = market.process("one", feeds=Feeds(stream))
    policy = replace(ports.policy, feeds={"binance": "auto"}, told_when_proven=frozenset({"binance"}))
    ports = replace(ports, policy=policy, hot=store)  # type: ignore[arg-type]
    until = NODE.timeframe.floor(int(market.now + HOUR / 10))
    told: dict[int, list[float]] = {}

    async def live() -> None:
        async for event in subscribe(ports, request(nodes, None, until)):
            if isinstance(event, Bar) and event.source == "stream":
                told.setdefault(event.ts, []).append(market.clock.now() - event.end)

    run_on_virtual_time(live)
    assert [len(delays) for delays in told.values()] == [len(nodes)] * len(told) and told
    for ts, delays in told.items():
        assert max(delays) <= max(late.values()) + 0.1
        assert min(store.written[str(node), ts] for node in nodes) >= max(delays)


@pytest.mark.parametrize("tells", [True, False])
def test_a_bar_that_nobody_tells_of_is_stored_at_once(tells: bool) -> None:
    market = LiveMarket()
    store = WatchedStore(market)
    ports = replace(process(market, "one"), hot=store)  # type: ignore[arg-type]

    async def live() -> None:
        assert ports.feeds is not None
        async with ports.feeds.following(ports, NODE, lambda _: None, on_proven=lambda _: tells):
            await asyncio.sleep(HOUR / 10)

    run_on_virtual_time(live)
    # The first one is asked for: nothing is known of what came before it.
    newest = [delay for (_, ts), delay in store.written.items() if ts > market.now + 60]
    assert len(newest) >= 4
    assert all((delay > 0.25) is tells for delay in newest)
