"""Items of a generator in batches: all that are there at once, and a bounded number ahead of the reader."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator
from typing import TypeVar

from seamless_assets.aio.shield import shielded

T = TypeVar("T")


async def batched(items: AsyncGenerator[T, None], most: int) -> AsyncGenerator[list[T], None]:
    """What `items` gives, in order and without waiting for more than one; it is closed at the end.

    At most `most` items are held that nobody has taken. Raises what `items` raises, after all it gave.
    """
    held: deque[T] = deque()
    news, room = asyncio.Event(), asyncio.Event()

    async def pump() -> None:
        async for item in items:
            held.append(item)
            news.set()
            while len(held) >= most:
                room.clear()
                await room.wait()

    pumping = asyncio.create_task(pump())
    pumping.add_done_callback(lambda _: news.set())
    try:
        while True:
            await news.wait()
            news.clear()
            batch = list(held)
            held.clear()
            room.set()
            if batch:
                yield batch
            elif pumping.done():
                pumping.result()
                return
            if pumping.done():
                news.set()
    finally:
        pumping.cancel()
        await shielded(asyncio.ensure_future(asyncio.wait({pumping})))
        await items.aclose()
