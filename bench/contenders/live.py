"""Who follows nodes over real sockets, one to a process, and the exchange that they follow.

    python -m bench.contenders.live exchange NODES
    python -m bench.contenders.live stored|proven|bare URL FOLDER NODES BARS

`exchange` serves so many markets, and prints its address. `stored` and `proven` are a subscription over the
embedded stores that tells a bar once it is stored, or before; `bare` is a loop of ccxt.pro for each node that
only prints. All print, as JSON, the seconds from the message that marks a bar as closed to its being printed,
the CPU seconds of a bar, and MiB for each node.
"""

from __future__ import annotations

import asyncio
import json
import math
import os
import sys
import time
import urllib.request
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import ccxt.pro as ccxt

from bench.measuring.sample import memory
from bench.places import reach_support

START = 1_735_689_600
MINUTE = 60
WARM_UP = 2
"""Bars that close before what is measured: connections, prepared statements and files are made by then."""
BEFORE_CLOSE_S = 2.0
"""The exchange's clock is set so long before each close, and stands there until whoever follows it rests.

So what there is a minute for is done before the close: storing the last bars, audits of the streams.
"""
CLOCK_AGE_S = 2.0
"""The exchange's clock is set so long after a close: who goes by an answer of before asks again by then."""
RESTING_S, RESTING_SHARE = 0.5, 0.1
"""A process rests that has used no more than such a share of so many seconds."""
LIMIT_S = 600.0
"""Real seconds in which all is over, or ends with an error."""
BETWEEN_S = 0.2


def symbols(nodes: int) -> list[str]:
    """What is traded."""
    return [f"C{number}/USDT" for number in range(nodes)]


@dataclass
class Watch:
    """When the message came that marks a bar as closed, and how long after it the bar was printed."""

    nodes: int
    marked: dict[tuple[str, int], float] = field(default_factory=dict)
    printed: dict[tuple[str, int], float] = field(default_factory=dict)
    unmarked: set[tuple[str, int]] = field(default_factory=set)
    """Bars that were told as closed before their mark came: asked for over REST."""
    behind: set[str] = field(default_factory=set)
    """Nodes of which history is still to come."""
    counts: Counter[int] = field(default_factory=Counter)
    """Of how many nodes the bar that opens then was printed."""
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    def hear(self) -> None:
        """Note the instant of each mark, before ccxt makes anything of it."""
        handle = ccxt.binance.handle_ohlcv

        def noted(client: Any, connection: Any, message: Any) -> Any:
            candle = message["k"]
            if candle["x"]:
                self.marked.setdefault((candle["s"], candle["t"] // 1000), time.perf_counter())
            return handle(client, connection, message)

        ccxt.binance.handle_ohlcv = noted

    def show(self, symbol: str, ts: int, row: Any, *, is_closed: bool = False) -> None:
        """Print a bar; the first time that it is printed after its mark counts."""
        print(symbol, ts, row, file=sys.stderr)
        key = symbol.replace("/", ""), ts
        if key in self.marked and key not in self.printed:
            self.printed[key] = time.perf_counter() - self.marked[key]
        elif is_closed and key not in self.marked:
            self.unmarked.add(key)
        else:
            return
        self.counts[ts] += 1
        self.changed.set()

    async def until_printed(self, ts: int) -> None:
        """Until the bar of every node was."""
        while self.counts[ts] < self.nodes:
            self.changed.clear()
            await self.changed.wait()


Loops = list[Callable[[], Awaitable[None]]]


async def let_bars_close(url: str, watch: Watch, bars: int) -> dict[str, Any]:
    """Let bars close one after the other; what they cost, but for the first few."""
    cpu = 0.0
    # Those that closed while the nodes were subscribed to were had in other ways.
    begin = int(await asyncio.to_thread(now_of, url)) // MINUTE * MINUTE + MINUTE
    for number in range(WARM_UP + bars):
        opened = begin + MINUTE * number
        used = time.process_time()
        await asyncio.to_thread(steer, url, opened + MINUTE - BEFORE_CLOSE_S)
        await watch.until_printed(opened)
        if number >= WARM_UP:
            cpu += time.process_time() - used
    first = begin + MINUTE * WARM_UP
    delays = sorted(delay for (_, ts), delay in watch.printed.items() if ts >= first)
    unmarked = sum(ts >= first for _, ts in watch.unmarked)
    return {"delays": delays, "cpu": cpu / (bars * watch.nodes), "unmarked": unmarked}


def now_of(url: str) -> float:
    """The exchange's clock."""
    with urllib.request.urlopen(f"{url}/_sandbox/health", timeout=LIMIT_S) as answer:
        return float(json.load(answer)["now"])


def steer(url: str, now: float) -> None:
    """Set the exchange's clock, and let it go on once this process rests."""
    # Who asked for the clock just before goes by that answer for two seconds, and no exchange's clock jumps.
    time.sleep(CLOCK_AGE_S)
    _rest()
    _send(f"{url}/_sandbox/clock", "PUT", {"now": now})
    _rest()
    _send(f"{url}/_sandbox/clock", "PUT", {"now": now, "speed": 1})


def _rest() -> None:
    used, until = math.inf, time.monotonic() + LIMIT_S
    while used > RESTING_SHARE * RESTING_S:
        if time.monotonic() > until:
            raise TimeoutError(f"this process did not rest within {LIMIT_S:.0f} s")
        before = time.process_time()
        time.sleep(RESTING_S)
        used = time.process_time() - before


def _send(url: str, method: str, body: Any = None) -> None:
    data = None if body is None else json.dumps(body).encode()
    urllib.request.urlopen(urllib.request.Request(url, data=data, method=method), timeout=LIMIT_S).close()


async def ours(url: str, folder: Path, nodes: int, bars: int, delivery: str) -> dict[str, Any]:
    """A subscription."""
    import seamless_assets as sa
    from seamless_assets.config.load import settings_from_mapping

    watch = Watch(nodes)
    watch.hear()
    streamed = {"live": "websocket", "live_delivery": delivery}
    exchange = {"base_url": url, "symbols": symbols(nodes), "timeframes": ["1m"], **streamed}
    seamless = {
        "artifact": {"object_store_uri": "./artifacts"},
        "hot_store": {"dsn": "sqlite:///./hot.sqlite"},
        "state_dir": "./state",
        "rate_limit": {"tokens_per_interval": 100_000, "burst_tokens": 100_000},
    }
    declared = {"seamless": seamless, "exchanges": {"binance": {**exchange, "start": START}}}
    with sa.connect(settings_from_mapping(declared, base=folder, environ={})) as s:
        names = [f"ohlcv:binance:{symbol}:1m" for symbol in symbols(nodes)]
        watch.behind.update(names)

        async def follow() -> None:
            async with aclosing(s.aio.subscribe(names, since=START)) as events:
                async for event in events:
                    if isinstance(event, sa.Bar):
                        watch.show(event.node_id.split(":")[2], event.ts, event.values, is_closed=True)
                    elif isinstance(event, sa.CaughtUp):
                        watch.behind.discard(event.node_id)

        return await _measured(url, watch, [follow], bars)


async def bare(url: str, _: Path, nodes: int, bars: int) -> dict[str, Any]:
    """A loop for each node."""
    reach_support()
    from support.streams import at_home

    watch = Watch(nodes)
    watch.hear()
    client = at_home("binance", url, options={"fetchMarkets": {"types": ["spot"]}})

    def following(symbol: str) -> Callable[[], Awaitable[None]]:
        async def follow() -> None:
            while True:
                for ts, *row in await client.watch_ohlcv(symbol, "1m"):
                    watch.show(symbol, ts // 1000, row)

        return follow

    try:
        await client.load_markets()
        return await _measured(url, watch, [following(symbol) for symbol in symbols(nodes)], bars)
    finally:
        await client.close()


async def _measured(url: str, watch: Watch, loops: Loops, bars: int) -> dict[str, Any]:
    held = memory("VmRSS")
    tasks = [asyncio.ensure_future(loop()) for loop in loops]
    measuring = asyncio.ensure_future(_cost(url, watch, bars))
    try:
        done, _ = await asyncio.wait({measuring, *tasks}, return_when=asyncio.FIRST_COMPLETED)
        # A loop that ends says why.
        cost: dict[str, Any] = {}
        for ended in done:
            cost = ended.result() or cost
        return {**cost, "memory_mib": (memory("VmRSS") - held) / watch.nodes}
    finally:
        for task in (measuring, *tasks):
            task.cancel()
        await asyncio.wait({measuring, *tasks})


async def _cost(url: str, watch: Watch, bars: int) -> dict[str, Any]:
    async with asyncio.timeout(LIMIT_S):
        await _await_topics(url, watch)
        return await let_bars_close(url, watch, bars)


async def _await_topics(url: str, watch: Watch) -> None:
    """Until the exchange is asked for all of them, and their history is over."""
    until = time.monotonic() + LIMIT_S
    while time.monotonic() < until:
        if not watch.behind and await asyncio.to_thread(_topics, url) >= watch.nodes:
            return
        await asyncio.sleep(BETWEEN_S)


def _topics(url: str) -> int:
    with urllib.request.urlopen(f"{url}/_sandbox/streams", timeout=LIMIT_S) as answer:
        return sum(len(connection["topics"]) for connection in json.load(answer))


async def exchange(nodes: int) -> None:
    """Serve until killed."""
    from seamless_assets.sandbox.market import Market
    from seamless_assets.sandbox.server import Sandbox

    markets = [Market(symbol, 100.0) for symbol in symbols(nodes)]
    async with Sandbox(port=0, now=START + 30, markets=markets) as sandbox:
        print(sandbox.url, flush=True)
        await asyncio.Event().wait()


def take_cores(*, is_exchange: bool) -> None:
    """Leave the exchange a core of its own where there are several: elsewhere it has its own machine."""
    if sys.platform == "linux":
        cores = sorted(os.sched_getaffinity(0))
        if len(cores) > 1:
            os.sched_setaffinity(0, cores[-1:] if is_exchange else cores[:-1])


def main() -> None:
    """Be one of them."""
    kind, *words = sys.argv[1:]
    take_cores(is_exchange=kind == "exchange")
    if kind == "exchange":
        asyncio.run(exchange(int(words[0])))
        return
    url, folder, nodes, bars = words
    sides = {"stored": partial(ours, delivery="stored"), "proven": partial(ours, delivery="proven")}
    follow = {**sides, "bare": bare}[kind]
    print(json.dumps(asyncio.run(follow(url, Path(folder), int(nodes), int(bars)))))


if __name__ == "__main__":
    main()
