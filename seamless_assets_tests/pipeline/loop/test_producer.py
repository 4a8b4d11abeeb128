"""Producers: what a caller leaves behind who is cancelled at any moment of a delivery."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import suppress

import pytest

from seamless_assets.pipeline.loop.mailbox import Mailbox
from seamless_assets.pipeline.loop.producer import Delivery, EarlyItems, Producer


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


class Early:
    """Items of which the first is told early; who drives their producer, and waits for it in this loop."""

    def __init__(self) -> None:
        self._early, self.go_on = EarlyItems[str](), asyncio.Event()
        self.is_told: bool | None = None
        self.producer = Producer(self._items(), self._early)

    async def _items(self) -> AsyncGenerator[str, None]:
        await asyncio.sleep(0)
        self.is_told = self._early.tell("a", self.go_on.set)
        await self.go_on.wait()
        for item in "abc":
            yield item

    def ask(self) -> tuple[Delivery[str], asyncio.Future[str], asyncio.Task[str]]:
        """A delivery whose caller waits for a future, and its step."""
        delivery, answer = Delivery(self.producer), asyncio.get_running_loop().create_future()
        delivery.early.expect(Mailbox(asyncio.get_running_loop()), answer)
        return delivery, answer, asyncio.ensure_future(self.producer.step(delivery))


async def test_what_is_told_early_is_there_before_its_step_has_ended_and_comes_once() -> None:
    early = Early()
    _, answer, step = early.ask()
    assert await answer == "a" and early.is_told
    assert not step.done() and not early.go_on.is_set()
    # Who asks for more lets it end.
    assert [await _next(early.producer) for _ in range(2)] == ["b", "c"]
    assert await step == "a"


async def test_what_was_told_early_and_not_taken_comes_next() -> None:
    early = Early()
    delivery, answer, step = early.ask()
    await answer
    with pytest.raises(asyncio.CancelledError), delivery:
        raise asyncio.CancelledError
    assert [await _next(early.producer) for _ in range(3)] == ["a", "b", "c"]
    assert await step == "a"


async def test_an_error_after_an_early_item_comes_next() -> None:
    told = EarlyItems[str]()

    async def items() -> AsyncGenerator[str, None]:
        await asyncio.sleep(0)
        told.tell("a", lambda: None)
        raise ValueError("b")
        yield "never"

    producer = Producer(items(), told)
    delivery, answer = Delivery(producer), asyncio.get_running_loop().create_future()
    delivery.early.expect(Mailbox(asyncio.get_running_loop()), answer)
    assert await producer.step(delivery) == await answer == "a"
    assert [await _next(producer) for _ in range(2)] == ["ValueError", "StopAsyncIteration"]


@pytest.mark.parametrize("is_given_up", [True, False])
async def test_nothing_is_told_early_where_nobody_waits(is_given_up: bool) -> None:
    early = Early()
    early.go_on.set()
    delivery = Delivery(early.producer)
    if is_given_up:
        delivery, answer, step = early.ask()
        early.producer.take_back(delivery)
        assert await step == "a" and not answer.done()
    else:
        assert await early.producer.step(delivery) == "a"
    assert early.is_told is False
    rest = ["a", "b", "c"] if is_given_up else ["b", "c"]
    assert [await _next(early.producer) for _ in rest] == rest


async def test_a_producer_is_closed_between_an_early_item_and_the_end_of_its_step() -> None:
    early = Early()
    _, answer, step = early.ask()
    assert await answer == "a"
    await early.producer.close()
    with pytest.raises(asyncio.CancelledError):
        await step
    assert await _next(early.producer) == "StopAsyncIteration"
