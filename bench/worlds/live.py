"""Following nodes on virtual time, over twins of all ports: as subscribers do, and in bare loops."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass, replace

from bench.places import reach_support
from seamless_assets.core.calendar.segment import Segment
from seamless_assets.core.live.events import Bar
from seamless_assets.core.node import NodeId
from seamless_assets.flows.live.feeds import Feeds
from seamless_assets.flows.live.subscribe import subscribe
from seamless_assets.testing import START, InMemoryStream, random_walk, run_on_virtual_time

reach_support()
from support.live import HOUR, LiveMarket, request  # noqa: E402

BEGIN = START + 6 * HOUR


@dataclass(frozen=True)
class Cost:
    """What following cost: seconds of CPU, delays after a close (s, sorted), requests."""

    cpu: float
    delays: list[float]
    requests: int

    @property
    def p99(self) -> float:
        """The delay that all but one of a hundred bars keep to."""
        return self.delays[int(len(self.delays) * 0.99)]


def follow(nodes: int, bars: int, subscribers: int = 1, *, by_stream: bool = False) -> Cost:
    """Follow nodes until so many bars of each have closed; requests count until the first one is done."""
    market, names = _market(nodes)
    delays: list[float] = []
    asked: list[int] = []

    async def read(number: int) -> None:
        ports = market.process(f"p{number}", feeds=Feeds(InMemoryStream(market.exchange)))
        feeds = {"binance": "auto" if by_stream else "polling"}
        ports = replace(ports, policy=replace(ports.policy, feeds=feeds))
        stream = subscribe(ports, request(names, None, BEGIN + 60 * bars))
        delays.extend([market.clock.now() - event.end async for event in stream if isinstance(event, Bar)])
        asked.append(len(market.exchange.asked))

    async def work() -> None:
        await asyncio.gather(*(read(number) for number in range(subscribers)))

    cost = replace(_measured(market, delays, work), requests=min(asked))
    missed = nodes * bars * subscribers - len(delays)
    assert not missed, f"{missed} bars were not told"
    return cost


def ask_alone(nodes: int, bars: int) -> Cost:
    """A bare loop: ask for each bar as it closes, and keep nothing."""
    market, names = _market(nodes)
    delays: list[float] = []

    async def poll(node: NodeId) -> None:
        for close in range(BEGIN + 60, BEGIN + 60 * (bars + 1), 60):
            await asyncio.sleep(close + 0.4 - market.clock.now())
            await market.exchange.fetch_candles(node, Segment(close - 60, close))
            delays.append(market.clock.now() - close)

    async def work() -> None:
        await asyncio.gather(*map(poll, names))

    return _measured(market, delays, work)


def watch_alone(nodes: int, bars: int) -> Cost:
    """A bare loop: wait for each bar that a stream marks as closed, and keep nothing."""
    market, names = _market(nodes)
    stream, delays = InMemoryStream(market.exchange), list[float]()

    async def watch(node: NodeId) -> None:
        left = bars
        async with aclosing(stream.updates(node)) as updates:
            async for update in updates:
                if update.is_closed and update.ts >= BEGIN:
                    delays.append(market.clock.now() - update.ts - 60)
                    left -= 1
                if not left:
                    break

    async def work() -> None:
        await asyncio.gather(*map(watch, names))

    return _measured(market, delays, work)


def _market(nodes: int) -> tuple[LiveMarket, list[NodeId]]:
    names = [NodeId.parse(f"ohlcv:binance:C{number}/USDT:1m") for number in range(nodes)]
    market = LiveMarket(names[:1])
    series = random_walk(BEGIN - HOUR, BEGIN + HOUR)
    market.exchange.series = dict.fromkeys(names, series)
    return market, names


def _measured(market: LiveMarket, delays: list[float], work: Callable[[], Awaitable[None]]) -> Cost:
    began = time.process_time()
    run_on_virtual_time(work)  # type: ignore[arg-type]
    cpu = time.process_time() - began
    return Cost(cpu, sorted(delays), len(market.exchange.asked))
