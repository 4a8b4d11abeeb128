"""Streams of an exchange that refuses what it served before, or whose clock nobody knows yet."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import NoReturn

import pytest
from support.live import HOUR, NODE, LiveMarket, collect, request, shown

from seamless_assets.core.live.events import Bar, CaughtUp, Event, Stale
from seamless_assets.errors import ExchangeRefused
from seamless_assets.flows.live.feeds import Feeds
from seamless_assets.flows.live.subscribe import subscribe
from seamless_assets.testing import START, InMemoryStream, run_on_virtual_time


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


@pytest.mark.parametrize("status", [None, 401, 451])
def test_a_refusal_that_no_waiting_mends_ends_the_stream(status: int | None) -> None:
    market = LiveMarket()

    async def refuse(*_: object) -> NoReturn:
        raise ExchangeRefused("not from where you are", status=status)

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
