"""Streams: a flow's generator on the portal's loop, whoever asks for its items, and however that ends."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Iterator, Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from contextlib import aclosing
from itertools import count
from types import SimpleNamespace
from typing import Any

import pytest

from seamless_assets.errors import BlockingCall, StreamCut
from seamless_assets.pipeline.loop.portal import Portal
from seamless_assets.pipeline.loop.producer import EarlyItems
from seamless_assets.pipeline.loop.stream import BatchedStream, Stream
from seamless_assets.pipeline.sync import SyncStream


class Adapters:
    """None at all."""

    shared = ()
    ports: Any = SimpleNamespace()

    def start(self) -> None:
        """Nothing goes on beside the calls."""

    async def close(self) -> None:
        """Nothing was opened."""


@pytest.fixture
def portal() -> Iterator[Portal]:
    made = Portal(Adapters)
    yield made
    made.stop()


class Numbers:
    """Yields numbers; before each it waits until it may go on, and cleaning up takes a while."""

    def __init__(self) -> None:
        self.may_go_on, self.asked = threading.Event(), threading.Event()
        self.under_way, self.most, self.events = 0, 0, list[str]()
        self.may_go_on.set()

    async def generate(self, _: Any) -> AsyncGenerator[int, None]:
        try:
            for number in range(1_000):
                self.under_way += 1
                self.most = max(self.most, self.under_way)
                self.asked.set()
                try:
                    while not self.may_go_on.is_set():  # noqa: ASYNC110
                        await asyncio.sleep(0.001)
                finally:
                    self.under_way -= 1
                yield number
        finally:
            for _ in range(5):
                await asyncio.sleep(0)
            self.events.append("cleaned up")


async def test_items_come_one_by_one_to_any_loop(portal: Portal) -> None:
    numbers = Numbers()
    async with aclosing(Stream(portal, numbers.generate)) as stream:
        assert [await anext(stream) for _ in range(3)] == [0, 1, 2]
    assert numbers.events == ["cleaned up"]
    with pytest.raises(StopAsyncIteration):
        await anext(stream)


async def test_those_who_ask_at_once_take_turns(portal: Portal) -> None:
    numbers = Numbers()
    stream = Stream(portal, numbers.generate)
    assert sorted(await asyncio.gather(*(anext(stream) for _ in range(8)))) == list(range(8))
    assert numbers.most == 1


async def test_closing_cancels_who_waits_for_an_item(portal: Portal) -> None:
    numbers = Numbers()
    numbers.may_go_on.clear()
    stream = Stream(portal, numbers.generate)
    waiting = asyncio.ensure_future(anext(stream))
    assert await asyncio.to_thread(numbers.asked.wait, 30)
    await stream.aclose()
    (outcome,) = await asyncio.gather(waiting, return_exceptions=True)
    assert isinstance(outcome, asyncio.CancelledError) and numbers.events == ["cleaned up"]


async def test_one_that_a_timeout_cut_says_so_and_does_not_seem_to_have_ended(portal: Portal) -> None:
    numbers = Numbers()
    numbers.may_go_on.clear()
    stream = Stream(portal, numbers.generate)
    waiting = asyncio.ensure_future(anext(stream))
    assert await asyncio.to_thread(numbers.asked.wait, 30)
    waiting.cancel()
    await asyncio.wait({waiting})
    for _ in range(2):
        with pytest.raises(StreamCut, match="cursor as since"):
            await anext(stream)
    assert numbers.events == ["cleaned up"]
    await stream.aclose()


async def test_one_that_is_dropped_in_the_middle_of_a_step_cleans_up(
    portal: Portal, caplog: pytest.LogCaptureFixture
) -> None:
    numbers = Numbers()
    numbers.may_go_on.clear()
    waiting = asyncio.ensure_future(anext(Stream(portal, numbers.generate)))
    assert await asyncio.to_thread(numbers.asked.wait, 30)
    waiting.cancel()
    await asyncio.wait({waiting})
    del waiting
    await asyncio.to_thread(portal.stop)
    assert numbers.events == ["cleaned up"] and caplog.records == []


@pytest.mark.parametrize("begun", [True, False])
async def test_closing_the_pipeline_ends_it_and_says_so(portal: Portal, begun: bool) -> None:
    numbers = Numbers()
    stream = Stream(portal, numbers.generate)
    if begun:
        assert await anext(stream) == 0
    await asyncio.to_thread(portal.stop)
    assert numbers.events == (["cleaned up"] if begun else [])
    with pytest.raises(asyncio.CancelledError, match="closed before"):
        await anext(stream)


def test_it_runs_no_further_than_it_is_asked(portal: Portal) -> None:
    numbers = Numbers()
    stream = Stream(portal, numbers.generate)

    async def one() -> int:
        return await anext(stream)

    assert [portal.run(one()) for _ in range(2)] == [0, 1]
    numbers.asked.clear()
    portal.stop()
    assert not numbers.asked.is_set()
    with pytest.raises(CancelledError):
        portal.run(one())


class Batches:
    """Yields numbers, three at once, and counts how often it was asked."""

    def __init__(self) -> None:
        self.asked = 0

    async def generate(self, _: Any) -> AsyncGenerator[Sequence[int], None]:
        for first in range(0, 9, 3):
            self.asked += 1
            yield range(first, first + 3)


async def test_items_that_come_several_at_once_are_told_one_by_one(portal: Portal) -> None:
    batches = Batches()
    stream = BatchedStream(portal, batches.generate)
    assert [await anext(stream) for _ in range(4)] == [0, 1, 2, 3] and batches.asked == 2
    assert sorted(await asyncio.gather(*(anext(stream) for _ in range(5)))) == [4, 5, 6, 7, 8]
    with pytest.raises(StopAsyncIteration):
        await anext(stream)


async def _told_early(
    early: EarlyItems[Sequence[int]], told: list[bool]
) -> AsyncGenerator[Sequence[int], None]:
    """Pairs that are told early, and yielded no sooner than the next one is asked for."""
    for first in range(0, 6, 2):
        go_on = asyncio.Event()
        # The caller's step is under way before it has told whom to answer.
        while not early.tell([first, first + 1], go_on.set):  # noqa: ASYNC110
            await asyncio.sleep(0.001)
        told.append(True)
        await go_on.wait()
        yield [first, first + 1]


async def test_what_is_told_early_comes_to_another_loop_once_and_in_order(portal: Portal) -> None:
    early, told = EarlyItems[Sequence[int]](), list[bool]()
    async with aclosing(BatchedStream(portal, lambda _: _told_early(early, told), early)) as stream:
        assert [await anext(stream) for _ in range(6)] == [0, 1, 2, 3, 4, 5]
        with pytest.raises(StopAsyncIteration):
            await anext(stream)
    assert len(told) == 3


@pytest.mark.parametrize("is_whole", [True, False], ids=["pipeline", "stream"])
async def test_no_item_is_told_once_a_stream_of_batches_is_closed(portal: Portal, is_whole: bool) -> None:
    stream = BatchedStream(portal, Batches().generate)
    assert await anext(stream) == 0
    if is_whole:
        await asyncio.to_thread(portal.stop)
    else:
        await stream.aclose()
    with pytest.raises((StopAsyncIteration, asyncio.CancelledError)):
        await anext(stream)


def test_an_iterator_that_is_driven_tells_no_item_of_a_closed_pipeline(portal: Portal) -> None:
    batches = Batches()
    numbers = SyncStream(portal, BatchedStream(portal, batches.generate))
    assert [next(numbers) for _ in range(3)] == [0, 1, 2] and batches.asked == 1
    assert next(numbers) == 3
    portal.stop()
    with pytest.raises(CancelledError):
        next(numbers)


@pytest.mark.parametrize("is_asked", [True, False], ids=["while it is asked", "between items"])
def test_an_iterator_is_closed_by_any_thread_and_ends_in_that_which_asks(
    portal: Portal, is_asked: bool
) -> None:
    numbers = Numbers()
    stream = SyncStream(portal, Stream(portal, numbers.generate))
    assert next(stream) == 0
    numbers.asked.clear()
    numbers.may_go_on.clear()
    with ThreadPoolExecutor() as pool:
        rest = pool.submit(list, stream) if is_asked else None
        assert rest is None or numbers.asked.wait(30)
        pool.submit(stream.close).result(30)
        assert numbers.events == ["cleaned up"]
        assert rest is None or rest.result(30) == []
    assert next(stream, None) is None
    stream.close()


def test_threads_that_ask_one_iterator_share_its_items(portal: Portal) -> None:
    stream = SyncStream(portal, BatchedStream(portal, Batches().generate))
    with ThreadPoolExecutor() as pool:
        told = [pool.submit(list, stream) for _ in range(4)]
        assert sorted(number for one in told for number in one.result(30)) == list(range(9))


def test_an_iterator_of_a_closed_pipeline_is_closed_already(portal: Portal) -> None:
    stream = SyncStream(portal, BatchedStream(portal, Batches().generate))
    assert next(stream) == 0
    portal.stop()
    stream.close()
    assert next(stream, None) is None


def test_an_iterator_whose_caller_was_interrupted_does_not_seem_to_have_ended(
    portal: Portal, monkeypatch: pytest.MonkeyPatch
) -> None:
    numbers = Numbers()
    stream = SyncStream(portal, Stream(portal, numbers.generate))
    assert next(stream) == 0
    numbers.asked.clear()
    numbers.may_go_on.clear()

    def interrupted(*_: Any) -> None:
        assert numbers.asked.wait(30)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("seamless_assets.pipeline.loop.portal._wait_for", interrupted)
        with pytest.raises(KeyboardInterrupt):
            next(stream)
    with pytest.raises(StreamCut):
        next(stream)


def test_an_iterator_whose_caller_was_interrupted_loses_nothing_that_was_there(
    portal: Portal, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = SyncStream(portal, BatchedStream(portal, Batches().generate))

    def interrupted(future: Future[Any]) -> None:
        future.exception(30)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("seamless_assets.pipeline.loop.portal._wait_for", interrupted)
        with pytest.raises(KeyboardInterrupt):
            next(stream)
    assert list(stream) == list(range(9))


def test_of_two_threads_that_ask_one_iterator_none_hears_the_end_while_items_are_left(
    portal: Portal,
) -> None:
    may_tell = threading.Event()

    async def one_batch(_: Any) -> AsyncGenerator[Sequence[int], None]:
        await asyncio.to_thread(may_tell.wait, 30)
        yield range(3)

    stream = SyncStream(portal, BatchedStream(portal, one_batch))
    with ThreadPoolExecutor() as pool:
        asking = [pool.submit(next, stream, None) for _ in range(2)]
        may_tell.set()
        assert sorted(str(one.result(30)) for one in asking) == ["0", "1"]
    assert list(stream) == [2]


def test_an_iterator_that_may_not_be_closed_here_goes_on(portal: Portal) -> None:
    stream = SyncStream(portal, BatchedStream(portal, Batches().generate))

    async def closing() -> None:
        stream.close()

    with pytest.raises(BlockingCall):
        portal.run(closing())
    assert list(stream) == list(range(9))


class Ready:
    """Yields numbers, and never waits: so no step can be cut, and each item must arrive."""

    def __init__(self, size: int) -> None:
        self.size = size

    async def one_by_one(self, _: Any) -> AsyncGenerator[int, None]:
        for number in range(0, 600, self.size):
            yield number

    async def several(self, _: Any) -> AsyncGenerator[Sequence[int], None]:
        for first in range(0, 600, self.size):
            yield range(first, first + self.size)


@pytest.mark.parametrize("size", [0, 1, 3], ids=["items", "batches of one", "batches"])
async def test_an_item_whose_caller_is_cancelled_goes_to_the_next_one(portal: Portal, size: int) -> None:
    made = Ready(size or 1)
    stream = BatchedStream(portal, made.several) if size else Stream(portal, made.one_by_one)
    told: list[int] = []
    for turn in count():
        asking = asyncio.ensure_future(anext(stream))
        for _ in range(turn % 7):
            await asyncio.sleep(0)
        # With all turns of the loop there is a moment between any two steps of the way of an item.
        asking.cancel()
        (outcome,) = await asyncio.gather(asking, return_exceptions=True)
        if isinstance(outcome, int):
            told.append(outcome)
        elif isinstance(outcome, StopAsyncIteration):
            break
        else:
            assert isinstance(outcome, asyncio.CancelledError)
            told.append(await anext(stream, -1))
    assert [number for number in told if number >= 0] == list(range(600))
