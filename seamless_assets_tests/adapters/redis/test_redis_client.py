"""A Redis that takes connections and answers nobody: whoever waits, waits once, and not for all before it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from seamless_assets.adapters.redis import fill_queue
from seamless_assets.adapters.redis.client import CONNECTIONS, RedisScript
from seamless_assets.adapters.redis.fill_queue import RedisFillQueue
from seamless_assets.core.calendar.segment import Segment
from seamless_assets.core.node import NodeId
from seamless_assets.core.sharing.events import CoordinationEvent
from seamless_assets.errors import FillQueueUnavailable
from seamless_assets.flows.sharing.fill_queue import OptionalFillQueue
from seamless_assets.testing import (
    DAY,
    START,
    InMemoryExchange,
    RecordingObserver,
    VirtualClock,
    in_memory_ports,
    random_walk,
)

NODE = NodeId.parse("ohlcv:binance:BTC/USDT:1m")
CALLERS = 20 * CONNECTIONS
FILLS = 200


@asynccontextmanager
async def hanging_server() -> AsyncIterator[tuple[str, list[asyncio.StreamWriter], asyncio.Event]]:
    """Its URL, every connection that it took, and whether it took one."""
    connections, is_reached = list[asyncio.StreamWriter](), asyncio.Event()

    def take(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.append(writer)
        is_reached.set()

    server = await asyncio.start_server(take, "127.0.0.1", 0)
    yield f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}/0", connections, is_reached
    for writer in connections:
        writer.close()
    server.close()


def test_many_callers_of_a_server_that_hangs_are_all_told_in_a_few_rounds() -> None:
    async def main() -> None:
        async with hanging_server() as (url, connections, _):
            script = RedisScript(url, "return {}", "", "the queue", FillQueueUnavailable, timeout_s=1.5)

            async def call() -> None:
                with pytest.raises(FillQueueUnavailable, match="the queue"):
                    await script.run("key")

            await asyncio.gather(*(call() for _ in range(CALLERS)))
            await script.close()
        # Those that get a connection ask twice; one caller after the other would open all of twice 160.
        assert CONNECTIONS <= len(connections) <= 5 * CONNECTIONS < CALLERS

    asyncio.run(main())


@pytest.mark.parametrize("is_told_before", [False, True])
def test_hundreds_of_fills_behind_a_server_that_hangs_are_closed_in_a_few_rounds(
    is_told_before: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of twice the time that an answer may take, where each in its turn would take that for itself."""
    monkeypatch.setattr(fill_queue, "TIMEOUT_S", 0.3)

    async def main() -> None:
        async with hanging_server() as (url, connections, is_reached):
            clock, observer = VirtualClock(START + DAY), RecordingObserver()
            exchange = InMemoryExchange(random_walk(START, START + DAY), clock)
            queue = RedisFillQueue(url, "here")
            ports = in_memory_ports(
                exchange, clock=clock, fill_queue=OptionalFillQueue(queue, clock, observer)
            )
            parts = [Segment(START + part * 60, START + part * 60 + 60) for part in range(FILLS)]
            fills = [ports.fills.start(ports, NODE, part, is_awaited=False) for part in parts]
            if is_told_before:
                await asyncio.gather(*(fill.recorded for fill in fills))
            else:
                await is_reached.wait()
            await ports.fills.close()
            await queue.close()
            assert all(fill.outcome.done() for fill in fills)
            assert [type(event) for event in observer.events] == [CoordinationEvent]
            assert CONNECTIONS <= len(connections) <= 6 * CONNECTIONS < FILLS

    asyncio.run(main())
