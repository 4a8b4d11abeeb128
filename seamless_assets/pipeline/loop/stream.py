"""A stream: what a flow yields, item by item, to an awaiting caller of any event loop."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from functools import partial
from typing import Never, Self, TypeVar
from weakref import finalize

from seamless_assets.errors import NotPicklable
from seamless_assets.pipeline.loop.portal import Portal
from seamless_assets.pipeline.loop.producer import Delivery, EarlyItems
from seamless_assets.pipeline.loop.thread import Wired

T = TypeVar("T")


class Stream(AsyncIterator[T]):
    """Items of a flow's generator, which runs on the portal's loop and only as far as it is asked.

    Closing the pipeline ends it, and cancels who asks for more. It closes itself where it is dropped; leave
    it by `async with contextlib.aclosing(...)` to wait for that. Items that the generator tells by `early`
    come before it yields them.
    """

    def __init__(
        self,
        portal: Portal,
        make: Callable[[Wired], AsyncGenerator[T, None]],
        early: EarlyItems[T] | None = None,
    ) -> None:
        self._portal = portal
        self._thread, self._producer = portal.adopt(make, early)
        finalize(self, self._thread.abandon, self._producer).atexit = False

    def __aiter__(self) -> Self:
        return self

    @property
    def is_closed(self) -> bool:
        """Whether it was closed, by itself or with the pipeline."""
        return self._producer.is_closed

    async def __anext__(self) -> T:
        with Delivery(self._producer) as delivery:
            step = partial(self._thread.step, self._producer, delivery)
            return await self._portal.do_within(self._thread, step, delivery.early)

    async def several(self) -> Sequence[T]:
        """The next item, and what there is beside it. Raises `StopAsyncIteration` after the last one."""
        return (await anext(self),)

    async def aclose(self) -> None:
        """End it before its end, and return when it has cleaned up; who asks for an item is cancelled."""
        await self._portal.do_within(self._thread, partial(self._thread.release, self._producer))

    def __reduce__(self) -> Never:
        raise NotPicklable("a stream runs in this process; ask for it anew where it is wanted")


class BatchedStream(AsyncIterator[T]):
    """A stream whose flow yields several items at once, so that one change of threads is enough for those.

    They come one by one all the same, and none of them once it is closed.
    """

    def __init__(
        self,
        portal: Portal,
        make: Callable[[Wired], AsyncGenerator[Sequence[T], None]],
        early: EarlyItems[Sequence[T]] | None = None,
    ) -> None:
        self._batches: Stream[Sequence[T]] = Stream(portal, make, early)
        self._ready: deque[T] = deque()

    @property
    def is_closed(self) -> bool:
        """Whether it was closed, by itself or with the pipeline."""
        return self._batches.is_closed

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> T:
        while self.is_closed or not self._ready:
            try:
                self._ready.extend(await anext(self._batches))
            except StopAsyncIteration:
                # Another who asked meanwhile may have got the last ones.
                if self.is_closed or not self._ready:
                    raise
        return self._ready.popleft()

    async def several(self) -> Sequence[T]:
        """The next item, and what there is beside it. Raises `StopAsyncIteration` after the last one."""
        return await anext(self._batches)

    async def aclose(self) -> None:
        """End it before its end, and return when it has cleaned up; who asks for an item is cancelled."""
        await self._batches.aclose()
