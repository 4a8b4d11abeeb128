"""Producers: what a caller leaves behind who is cancelled at any moment of a delivery."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import suppress

import pytest

from seamless_assets.pipeline.loop.producer import Delivery, Producer


async def _items() -> AsyncGenerator[str, None]:
    yield "a"
    yield "b"
    raise ValueError("c")


async def _next(producer: Producer[str]) -> str:
    """What comes next, or the error's name."""
    try:
        with Delivery(producer) as delivery:
            return await producer.step(delivery)
    except (ValueError, StopAsyncIteration) as error:
        return type(error).__name__


async def _leave(producer: Producer[str], *, before: bool) -> None:
    """Ask, and be cancelled before or after the outcome is there, but before it is taken."""
    delivery = Delivery(producer)
    if before:
        producer.take_back(delivery)
    with suppress(ValueError, StopAsyncIteration):
        await producer.step(delivery)
    with pytest.raises(asyncio.CancelledError), delivery:
        raise asyncio.CancelledError


@pytest.mark.parametrize("before", [True, False])
async def test_what_was_not_taken_comes_next_be_it_an_item_an_error_or_the_end(before: bool) -> None:
    producer, told = Producer(_items()), list[str]()
    for _ in range(4):
        await _leave(producer, before=before)
        told.append(await _next(producer))
    assert told == ["a", "b", "ValueError", "StopAsyncIteration"]


async def test_of_several_that_were_not_taken_the_oldest_comes_first() -> None:
    producer = Producer(_items())
    first, second = Delivery(producer), Delivery(producer)
    assert [await producer.step(first), await producer.step(second)] == ["a", "b"]
    for delivery in (second, first):
        producer.take_back(delivery)
    assert [await _next(producer) for _ in range(3)] == ["a", "b", "ValueError"]


async def test_nothing_that_was_not_taken_is_told_after_closing() -> None:
    producer = Producer(_items())
    await _leave(producer, before=False)
    await producer.close()
    assert await _next(producer) == "StopAsyncIteration"
