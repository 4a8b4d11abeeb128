"""A generator that others drive: one step at a time, and closed once no step is under way."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from concurrent.futures import Future
from heapq import heappop, heappush
from itertools import count
from threading import Lock
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

from seamless_assets.errors import StreamCut

T = TypeVar("T")
Outcome = tuple[int, Future[T]]
"""What a step has come to, and the number of the step."""


class Producer(Generic[T]):
    """Steps and closing of one generator, on one event loop.

    Own, because a generator that is closed in the middle of a step raises, and does not end. What a caller
    was cancelled too early to take is kept for the next one: it is neither lost nor told twice.
    """

    def __init__(self, generator: AsyncGenerator[T, None]) -> None:
        self._generator = generator
        self._turns = asyncio.Lock()
        self._step: asyncio.Task[Any] | None = None
        self._was_cut = False
        self._numbers = count()
        self._untaken: list[Outcome[T]] = []
        """A heap: the oldest outcome goes first."""
        self._handing = Lock()
        self.has_ended = self.is_closed = False

    async def step(self, delivery: Delivery[T]) -> T:
        """The next item. Raises `StopAsyncIteration` after the last one, `StreamCut` where one was cut."""
        async with self._turns:
            if self.is_closed:
                raise StopAsyncIteration
            if not self._untaken:
                await self._produce()
            return self._hand_over(delivery).result()

    def take_back(self, delivery: Delivery[T]) -> None:
        """Keep what the delivery brings, or would have brought, for the next who asks; of any thread."""
        with self._handing:
            delivery.is_given_up = True
            if delivery.outcome is not None:
                heappush(self._untaken, delivery.outcome)

    async def close(self) -> None:
        """Cancel the step that is under way, and return once the generator has cleaned up."""
        # Once: a second time would cut the cleaning up after the first.
        if self._step is not None and not self._step.cancelling():
            self._step.cancel()
        self.is_closed = True
        async with self._turns:
            self.has_ended = True
            await self._generator.aclose()

    async def _produce(self) -> None:
        """Have one outcome more."""
        if self._was_cut:
            raise StreamCut(
                "waiting for an item was cancelled, which has ended the stream; ask for it anew with the "
                "last event's cursor as since. Where a timeout cancelled it: asyncio.wait({task}, "
                "timeout=...) lets the task go on"
            )
        future: Future[T] = Future()
        self._step = asyncio.current_task()
        try:
            future.set_result(await anext(self._generator))
        except BaseException as error:
            # Whatever a generator raises, it has ended.
            self.has_ended = True
            self._was_cut = isinstance(error, asyncio.CancelledError) and not self.is_closed
            if not isinstance(error, Exception):
                raise
            future.set_exception(error)
        finally:
            self._step = None
        with self._handing:
            heappush(self._untaken, (next(self._numbers), future))
        # An error holds this frame, and must not hold itself by it.
        del future

    def _hand_over(self, delivery: Delivery[T]) -> Future[T]:
        with self._handing:
            outcome = self._untaken[0]
            if not delivery.is_given_up:
                delivery.outcome = heappop(self._untaken)
            return outcome[1]


class Delivery(Generic[T]):
    """Brings one outcome of a producer to who asked for it, who may be cancelled in a thread of his own.

    A context around the asking: where that is cancelled, the producer takes the outcome back.
    """

    def __init__(self, producer: Producer[T]) -> None:
        self._producer = producer
        self.outcome: Outcome[T] | None = None
        self.is_given_up = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, asyncio.CancelledError | GeneratorExit):
            self._producer.take_back(self)
        # An error holds the frames that hold this, and must not hold itself by it.
        self.outcome = None
