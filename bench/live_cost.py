"""What following nodes costs: CPU for each bar that closes, delay after its close, requests.

    python bench/live_cost.py [--nodes 1 100 1000] [--bars 5] [--subscribers 10]

Twins of all ports on virtual time, so that neither a network nor a machine's load is measured: the delay is
what the schedule of looks and its jitter make of it, or the stream, the CPU is that of the flows and of the
stores in memory. Beside it bare loops that only ask the same exchange for each bar, or wait for the mark of
its stream. Exits with 1 where a subscriber misses a bar, or where many subscribers ask for more than 1.05
times what one does.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from contextlib import aclosing
from dataclasses import dataclass, replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "seamless_assets_tests"))

from support.live import HOUR, LiveMarket, request

from seamless_assets.core.calendar.segment import Segment
from seamless_assets.core.live.events import Bar
from seamless_assets.core.node import NodeId
from seamless_assets.flows.live.feeds import Feeds
from seamless_assets.flows.live.subscribe import subscribe
from seamless_assets.testing import START, InMemoryStream, random_walk, run_on_virtual_time

BEGIN = START + 6 * HOUR


@dataclass(frozen=True)
class Cost:
    """What a run cost: seconds of CPU, delays after a close (s, sorted), requests."""

    cpu: float
    delays: list[float]
    requests: int


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

    return replace(_measured(market, delays, work), requests=min(asked))


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


def _measured(market: LiveMarket, delays: list[float], work: object) -> Cost:
    began = time.process_time()
    run_on_virtual_time(work)  # type: ignore[arg-type]
    cpu = time.process_time() - began
    return Cost(cpu, sorted(delays), len(market.exchange.asked))


def main() -> int:
    """0 where all is as it should be."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nodes", type=int, nargs="+", default=[1, 100, 1_000])
    parser.add_argument("--bars", type=int, default=5)
    parser.add_argument("--subscribers", type=int, default=10)
    asked = parser.parse_args()
    print(f"{'nodes':>6} {'':>10} {'CPU ms/bar':>11} {'p50 s':>7} {'p99 s':>7} {'requests':>9}")
    # What is imported at its first use is no cost of a bar.
    follow(1, 1)
    is_sound = True
    for nodes in asked.nodes:
        for name, cost in (
            ("subscriber", follow(nodes, asked.bars)),
            ("bare loop", ask_alone(nodes, asked.bars)),
            ("by stream", follow(nodes, asked.bars, by_stream=True)),
            ("bare watch", watch_alone(nodes, asked.bars)),
        ):
            told = cost.delays
            is_sound &= len(told) == nodes * asked.bars
            print(
                f"{nodes:>6} {name:>10} {cost.cpu / len(told) * 1e3:>11.2f} {told[len(told) // 2]:>7.2f} "
                f"{told[int(len(told) * 0.99)]:>7.2f} {cost.requests:>9}"
            )
    for by_stream in (False, True):
        alone = follow(20, asked.bars, by_stream=by_stream)
        many = follow(20, asked.bars, asked.subscribers, by_stream=by_stream)
        ratio = many.requests / alone.requests
        feed = "a stream" if by_stream else "polling"
        print(f"by {feed} {asked.subscribers} subscribers of 20 nodes ask {ratio:.3f} x what one asks")
        is_sound &= ratio <= 1.05
    return 0 if is_sound else 1


if __name__ == "__main__":
    sys.exit(main())
