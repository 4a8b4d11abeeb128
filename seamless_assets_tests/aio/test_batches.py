"""Items in batches: all that are there at once, in order, and never more than are allowed ahead."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

import pytest

from seamless_assets.aio.batches import batched


class Source:
    """Numbers up to `end`, then an error if one is given; `made` of them so far."""

    def __init__(self, end: int, error: Exception | None = None) -> None:
        self.end, self.error = end, error
        self.made, self.is_closed = 0, False

    async def items(self) -> AsyncGenerator[int, None]:
        try:
            while self.made < self.end:
                self.made += 1
                yield self.made
            if self.error is not None:
                raise self.error
        finally:
            self.is_closed = True


@pytest.mark.parametrize("end", [0, 1, 9, 10, 11, 95])
async def test_each_comes_once_and_in_order(end: int) -> None:
    source = Source(end)
    batches = [batch async for batch in batched(source.items(), 10)]
    assert [item for batch in batches for item in batch] == list(range(1, end + 1))
    assert all(0 < len(batch) <= 10 for batch in batches) and source.is_closed


async def test_no_more_is_read_ahead_than_may_be() -> None:
    source = Source(10**9)
    batches = batched(source.items(), 10)
    for taken in range(1, 4):
        batch = await anext(batches)
        for _ in range(50):
            await asyncio.sleep(0)
        assert batch[-1] <= source.made <= 10 * (taken + 1)
    await batches.aclose()
    assert source.is_closed


async def test_an_error_comes_after_what_was_there() -> None:
    source = Source(15, ValueError("no more"))
    seen: list[int] = []

    async def read() -> None:
        async for batch in batched(source.items(), 10):
            seen.extend(batch)

    with pytest.raises(ValueError, match="no more"):
        await read()
    assert seen == list(range(1, 16)) and source.is_closed


async def test_it_waits_for_no_second_item() -> None:
    gate = asyncio.Event()

    async def items() -> AsyncGenerator[int, None]:
        yield 1
        await gate.wait()
        yield 2

    batches = batched(items(), 10)
    assert await anext(batches) == [1]
    coming = asyncio.ensure_future(anext(batches))
    await asyncio.sleep(0)
    assert not coming.done()
    gate.set()
    assert await coming == [2]
    await batches.aclose()


async def test_a_reader_who_is_cancelled_ends_it() -> None:
    has_ended = asyncio.Event()

    async def items() -> AsyncGenerator[int, None]:
        try:
            await asyncio.Event().wait()
            yield 1
        finally:
            await asyncio.sleep(0)
            has_ended.set()

    async def read() -> None:
        async for _ in batched(items(), 10):
            pass

    reading = asyncio.create_task(read())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    reading.cancel()
    await asyncio.wait({reading})
    async with asyncio.timeout(10):
        await has_ended.wait()
