"""Candles of a channel on virtual time: those that have closed in order, and the one that forms between."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import replace

import pytest
from support.live import NODE, LiveMarket

from seamless_assets.flows.live.feeds import Feeds
from seamless_assets.flows.live.served.candles import StreamedCandle, candles
from seamless_assets.flows.ports import Ports
from seamless_assets.testing import InMemoryStream, run_on_virtual_time

BARS = 6


def followed(market: LiveMarket, ports: Ports, *, with_forming: bool) -> list[tuple[float, StreamedCandle]]:
    """What is told, and when, until so many have closed."""

    async def follow() -> list[tuple[float, StreamedCandle]]:
        told: list[tuple[float, StreamedCandle]] = []
        async with aclosing(candles(ports, NODE, with_forming=with_forming)) as coming:
            async for candle in coming:
                told.append((market.clock.now(), candle))
                if sum(one.is_closed for _, one in told) == BARS:
                    break
        return told

    return run_on_virtual_time(follow)


def closed(told: Sequence[tuple[float, StreamedCandle]]) -> list[StreamedCandle]:
    return [candle for _, candle in told if candle.is_closed]


def streaming(market: LiveMarket, stream: InMemoryStream) -> Ports:
    ports = market.process(feeds=Feeds(stream))
    return replace(ports, policy=replace(ports.policy, feeds={"binance": "websocket"}))


@pytest.mark.parametrize("marks_closed", [True, False])
def test_the_candle_that_forms_is_told_between_those_that_have_closed(marks_closed: bool) -> None:
    market = LiveMarket()
    stream = InMemoryStream(market.exchange, marks_closed)
    told = followed(market, streaming(market, stream), with_forming=True)
    opens = [candle.ts for _, candle in told]
    assert opens == sorted(opens), "a candle was told before one in front of it had closed"
    for one in closed(told):
        assert one.values == market.exchange.series[NODE][one.ts] and one.end == one.ts + 60
    forming = [(at, candle) for at, candle in told if not candle.is_closed]
    assert len({candle.ts for _, candle in forming}) >= BARS - 1
    assert all(candle.ts <= at for at, candle in forming)
    assert not stream.open, "nobody follows it any more"


def test_without_forming_ones_each_candle_comes_once_and_final() -> None:
    market = LiveMarket()
    told = followed(market, streaming(market, InMemoryStream(market.exchange)), with_forming=False)
    first = int(market.now) // 60 * 60
    assert [candle.ts for _, candle in told] == list(range(first, first + BARS * 60, 60))
    assert closed(told) == [candle for _, candle in told]


@pytest.mark.parametrize("with_forming", [True, False])
def test_where_nothing_streams_those_that_have_closed_come_alone(with_forming: bool) -> None:
    market = LiveMarket()
    told = followed(market, market.process(), with_forming=with_forming)
    assert len(told) == BARS == len(closed(told))


def test_nothing_of_it_is_stored() -> None:
    market = LiveMarket()
    told = followed(market, streaming(market, InMemoryStream(market.exchange)), with_forming=True)
    last = max(candle.ts for candle in closed(told))
    assert max(market.hot.bars[NODE]) == last
