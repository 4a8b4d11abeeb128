"""A stream: what a flow yields, item by item, to an awaiting caller of any event loop."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable
from functools import partial
from typing import Never, Self, TypeVar
from weakref import finalize

from seamless_assets.errors import NotPicklable
from seamless_assets.pipeline.loop.portal import Portal
from seamless_assets.pipeline.loop.thread import Wired

T = TypeVar("T")


class Stream(AsyncIterator[T]):
    """Items of a flow's generator, which runs on the portal's loop and only as far as it is asked.

    Closing the pipeline ends it, and cancels who asks for more. It closes itself where it is dropped; leave
    it by `async with contextlib.aclosing(...)` to wait for that.
    """

    def __init__(self, portal: Portal, make: Callable[[Wired], AsyncGenerator[T, None]]) -> None:
        self._portal = portal
        self._thread, self._producer = portal.adopt(make)
        finalize(self, self._thread.abandon, self._producer).atexit = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> T:
        return await self._portal.do_within(self._thread, partial(self._thread.step, self._producer))

    async def aclose(self) -> None:
        """End it before its end, and return when it has cleaned up; who asks for an item is cancelled."""
        await self._portal.do_within(self._thread, partial(self._thread.release, self._producer))

    def __reduce__(self) -> Never:
        raise NotPicklable("a stream runs in this process; ask for it anew where it is wanted")
