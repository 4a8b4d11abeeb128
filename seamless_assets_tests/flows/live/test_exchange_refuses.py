"""Streams of an exchange that refuses what it served before, or whose clock nobody knows yet."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any, NoReturn

import pytest
from support.live import HOUR, NODE, LiveMarket, collect, request, shown

from seamless_assets.core.live.events import Bar, CaughtUp, Event, Stale
from seamless_assets.core.node import NodeId
from seamless_assets.errors import ExchangeRefused
from seamless_assets.flows.live.feeds import Feeds
from seamless_assets.flows.live.subscribe import subscribe
from seamless_assets.testing import START, InMemoryStream, random_walk, run_on_virtual_time


def test_an_exchange_that_refuses_for_a_while_is_asked_again_and_ends_no_stream() -> None:
    """As with an error that ccxt does not know: it refuses bars, and the search for where they begin."""
    market = LiveMarket()

    async def refuse(*_: object) -> NoReturn:
        raise ExchangeRefused("binance: code -1000", status=200)

    async def work() -> list[Event]:
        answering = {name: getattr(market.exchange, name) for name in ("fetch_candles", "oldest_served")}
        end = START + 6 * HOUR + 1_800
        reading = asyncio.create_task(collect(market.process(), request([NODE], None, end)))
        await asyncio.sleep(300)
        for name in answering:
            setattr(market.exchange, name, refuse)
        await asyncio.sleep(900)
        for name, answer in answering.items():
            setattr(market.exchange, name, answer)
        events = await reading
        assert shown(events) == market.truth(NODE, START + 6 * HOUR, end)
        return events

    told = [event for event in run_on_virtual_time(work) if isinstance(event, Stale | CaughtUp)]
    assert [type(event) for event in told] == [CaughtUp, Stale, CaughtUp]
    assert isinstance(told[1], Stale) and told[1].evidence == "refused: binance: code -1000"


@pytest.mark.parametrize(("status", "is_lasting"), [(None, False), (401, False), (451, False), (400, True)])
def test_a_refusal_that_no_waiting_mends_ends_the_stream(status: int | None, is_lasting: bool) -> None:
    market = LiveMarket()

    async def refuse(*_: object) -> NoReturn:
        raise ExchangeRefused("not from where you are", status=status, is_lasting=is_lasting)

    async def work() -> None:
        market.exchange.check_node = refuse  # type: ignore[method-assign]
        with pytest.raises(ExchangeRefused, match="not from where you are"):
            await collect(market.process(), request([NODE], None))

    run_on_virtual_time(work)


def test_a_stream_that_begins_while_the_clock_is_refused_is_followed_once_it_is_told() -> None:
    market = LiveMarket()
    tell = market.exchange.exchange_now

    async def refuse_at_first(exchange: str) -> float:
        if market.clock.now() < market.now + 0.5:
            raise ExchangeRefused("binance: code -1000", status=400)
        return await tell(exchange)

    async def work() -> list[float]:
        market.exchange.exchange_now = refuse_at_first  # type: ignore[method-assign]
        ports = market.process(feeds=Feeds(InMemoryStream(market.exchange)))
        ports = replace(ports, policy=replace(ports.policy, feeds={"binance": "websocket"}))
        events = subscribe(ports, request([NODE], None, market.now + 600))
        return [market.clock.now() - event.end async for event in events if isinstance(event, Bar)]

    delays = run_on_virtual_time(work)
    assert len(delays) == 10 and max(delays[1:]) < 0.1


def test_a_stream_goes_on_by_the_clock_it_knows_while_that_is_refused() -> None:
    market = LiveMarket()
    tell = market.exchange.exchange_now

    async def refuse_later(exchange: str) -> float:
        if market.now + 100 < market.clock.now() < market.now + 400:
            raise ExchangeRefused("binance: code -1000", status=400)
        return await tell(exchange)

    async def work() -> list[tuple[type[Event], float]]:
        market.exchange.exchange_now = refuse_later  # type: ignore[method-assign]
        ports = market.process(feeds=Feeds(InMemoryStream(market.exchange)))
        ports = replace(ports, policy=replace(ports.policy, feeds={"binance": "websocket"}))
        events = subscribe(ports, request([NODE], None, market.now + 600))
        return [(type(event), market.clock.now() - event.end) async for event in events]

    told = run_on_virtual_time(work)
    bars = [delay for kind, delay in told if kind is Bar]
    assert len(bars) == 10 and max(bars[1:]) < 0.1
    assert Stale not in {kind for kind, _ in told}


def test_a_long_history_is_no_silence() -> None:
    """The first look takes longer than `max_lag`, and is heard all the time."""
    market = LiveMarket(now=START + 20 * 24 * HOUR)
    market.exchange.series[NODE] = random_walk(START, START + 21 * 24 * HOUR)
    fetch = market.exchange.fetch_candles

    async def answer_late(*asked: Any, **how: Any) -> Any:
        await market.clock.sleep(15)
        return await fetch(*asked, **how)

    async def work() -> list[tuple[float, Event]]:
        market.exchange.fetch_candles = answer_late  # type: ignore[method-assign]
        stream = subscribe(market.process(), request([NODE], START, market.now + 900))
        return [(market.clock.now(), event) async for event in stream]

    told = run_on_virtual_time(work)
    history_took = next(at for at, event in told if isinstance(event, CaughtUp)) - market.now
    assert history_took > 120
    assert not [event for at, event in told if isinstance(event, Stale) and at < market.now + history_took]


@pytest.mark.parametrize("frame", ["1m", "1h"])
@pytest.mark.parametrize("fast_s", [0.0, 1_800.0, -1_800.0])
def test_a_stream_that_begins_by_our_clock_is_never_silent_without_a_word(fast_s: float, frame: str) -> None:
    """Nobody knows the exchange's clock at first, and ours may be wrong, and set right meanwhile."""
    node = NodeId.parse(f"ohlcv:binance:BTC/USDT:{frame}")
    market = LiveMarket([node])
    until = market.now + 4_500

    class Ours:
        def now(self) -> float:
            return market.clock.now() + (fast_s if market.exchange.is_away else 0.0)

        sleep = market.clock.sleep

    async def work() -> list[tuple[float, Event]]:
        market.exchange.is_away = True
        ports = replace(market.process(), clock=Ours())
        stream = subscribe(ports, request([node], None, until))
        back = asyncio.create_task(answer_again())
        told = [(market.clock.now() - market.now, event) async for event in stream]
        await back
        return told

    async def answer_again() -> None:
        await asyncio.sleep(600)
        market.exchange.is_away = False

    told = run_on_virtual_time(work)
    (stale_at, stale), (caught_up_at, caught_up) = (one for one in told if not isinstance(one[1], Bar))
    assert isinstance(stale, Stale) and stale.evidence == "no answer" and stale_at < 140
    assert isinstance(caught_up, CaughtUp) and caught_up_at > 600
    first = next(event for _, event in told if isinstance(event, Bar))
    assert caught_up_at + market.now > first.ts - 120
    end = node.timeframe.floor(int(until))
    assert shown([event for _, event in told], node) == market.truth(node, first.ts, end)


def test_a_stream_from_an_instant_to_come_says_that_it_is_to_come() -> None:
    market = LiveMarket()
    begin = START + 7 * HOUR

    async def work() -> list[Event]:
        return [event async for event in subscribe(market.process(), request([NODE], begin, begin + 120))]

    stale, first, *rest = run_on_virtual_time(work)
    assert isinstance(stale, Stale) and stale.lag == 0
    assert stale.evidence == (
        "begins with the bar at 2025-01-01T07:00:00Z, which is to come by the exchange's clock"
    )
    assert [event.ts for event in (first, *rest) if isinstance(event, Bar)] == [begin, begin + 60]
    assert [type(event) for event in rest] == [CaughtUp, Bar]
