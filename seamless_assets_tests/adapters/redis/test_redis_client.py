"""A Redis that takes connections and answers nobody: whoever waits, waits once, and not for all before it."""

from __future__ import annotations

import asyncio

import pytest

from seamless_assets.adapters.redis.client import CONNECTIONS, RedisScript
from seamless_assets.errors import FillQueueUnavailable

CALLERS = 20 * CONNECTIONS


def test_many_callers_of_a_server_that_hangs_are_all_told_in_a_few_rounds() -> None:
    async def main() -> None:
        connections: list[asyncio.StreamWriter] = []
        server = await asyncio.start_server(lambda _, writer: connections.append(writer), "127.0.0.1", 0)
        url = f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}/0"
        script = RedisScript(url, "return {}", "", "the queue", FillQueueUnavailable, timeout_s=1.5)

        async def call() -> None:
            with pytest.raises(FillQueueUnavailable, match="the queue"):
                await script.run("key")

        await asyncio.gather(*(call() for _ in range(CALLERS)))
        await script.close()
        for writer in connections:
            writer.close()
        server.close()
        # Those that get a connection ask twice; one caller after the other would open all of twice 160.
        assert CONNECTIONS <= len(connections) <= 5 * CONNECTIONS < CALLERS

    asyncio.run(main())
