"""A generator that others drive: one step at a time, and closed once no step is under way."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from heapq import heappop, heappush
from itertools import count
from threading import Lock
from types import TracebackType
from typing import Any, Generic, Self, TypeVar, cast

from seamless_assets.errors import StreamCut
from seamless_assets.pipeline.loop.mailbox import EarlyAnswer

T = TypeVar("T")


class EarlyItems(Generic[T]):
    """What a generator tells before it yields it."""

    def __init__(self) -> None:
        self._tell: Callable[[T, Callable[[], None]], bool] | None = None

    def tell_to(self, tell: Callable[[T, Callable[[], None]], bool]) -> None:
        """Let who drives the generator have its items."""
        self._tell = tell

    def tell(self, item: T, go_on: Callable[[], None]) -> bool:
        """Tell who waits the item that the generator, which runs on this loop, yields next whatever happens.

        Whether anybody waited: then `go_on` is called when somebody begins to ask for the next item, be it
        twice, and not where somebody waits for a turn already.
        """
        return self._tell is not None and self._tell(item, go_on)


class _Outcome(Generic[T]):
    """What a step has come to: an item, or the error instead of it."""

    __slots__ = ("_error", "_item")

    def __init__(self, item: T | None, error: Exception | None = None) -> None:
        self._item, self._error = item, error

    def result(self) -> T:
        """The item. Raises the error."""
        if self._error is None:
            return cast(T, self._item)
        try:
            raise self._error
        finally:
            # An error holds this frame, and must not hold itself by it.
            del self


Numbered = tuple[int, _Outcome[T]]
"""What a step has come to, and the number of the step."""


class Producer(Generic[T]):
    """Steps and closing of one generator, on one event loop.

    Own, because a generator that is closed in the middle of a step raises, and does not end. What a caller
    was cancelled too early to take is kept for the next one: it is neither lost nor told twice.
    """

    def __init__(self, generator: AsyncGenerator[T, None], early: EarlyItems[T] | None = None) -> None:
        self._generator = generator
        if early is not None:
            early.tell_to(self._tell_early)
        self._turns = asyncio.Lock()
        self._step: asyncio.Task[Any] | None = None
        self._was_cut = False
        self._numbers = count()
        self._untaken: list[Numbered[T]] = []
        """A heap: the oldest outcome goes first."""
        self._awaiting: Delivery[T] | None = None
        """That of the step that is under way."""
        self._told: _Outcome[T] | None = None
        """What that step was told early, and not come to yet."""
        self._go_on: Callable[[], None]
        self._handing = Lock()
        self.has_ended = self.is_closed = False

    async def step(self, delivery: Delivery[T]) -> T:
        """The next item. Raises `StopAsyncIteration` after the last one, `StreamCut` where one was cut."""
        if self._told is not None:
            self._go_on()
        async with self._turns:
            if self.is_closed:
                raise StopAsyncIteration
            if not self._untaken:
                await self._produce(delivery)
            told, self._told = self._told, None
            return (told or self._hand_over(delivery)).result()

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

    def _tell_early(self, item: T, go_on: Callable[[], None]) -> bool:
        """Give the item to who waits for the step under way, where nothing older is to be taken first."""
        delivery = self._awaiting
        if delivery is None or self._told is not None or not delivery.early.is_awaited:
            return False
        with self._handing:
            if delivery.is_given_up or self._untaken:
                return False
            self._told, self._go_on = _Outcome(item), go_on
            delivery.outcome = next(self._numbers), self._told
        delivery.early.give(item)
        return True

    async def _produce(self, delivery: Delivery[T]) -> None:
        """Have one outcome more."""
        if self._was_cut:
            raise StreamCut(
                "waiting for an item was cancelled, which has ended the stream; ask for it anew with the "
                "last event's cursor as since. Where a timeout cancelled it: asyncio.wait({task}, "
                "timeout=...) lets the task go on"
            )
        self._step, self._awaiting = asyncio.current_task(), delivery
        try:
            outcome = _Outcome(await anext(self._generator))
            is_new = self._told is None
        except BaseException as error:
            # Whatever a generator raises, it has ended.
            self.has_ended = is_new = True
            self._was_cut = isinstance(error, asyncio.CancelledError) and not self.is_closed
            if not isinstance(error, Exception):
                self._told = None
                raise
            outcome = _Outcome[T](None, error)
        finally:
            self._step = self._awaiting = None
        if is_new:
            with self._handing:
                heappush(self._untaken, (next(self._numbers), outcome))
        # An error holds this frame, and must not hold itself by it.
        del outcome

    def _hand_over(self, delivery: Delivery[T]) -> _Outcome[T]:
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
        self.outcome: Numbered[T] | None = None
        self.early: EarlyAnswer[T] = EarlyAnswer()
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
