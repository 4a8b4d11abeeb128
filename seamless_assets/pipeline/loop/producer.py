"""A generator that others drive: one step at a time, and closed once no step is under way."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Any, Generic, TypeVar

from seamless_assets.errors import StreamCut

T = TypeVar("T")


class Producer(Generic[T]):
    """Steps and closing of one generator, on one event loop.

    Own, because a generator that is closed in the middle of a step raises, and does not end.
    """

    def __init__(self, generator: AsyncGenerator[T, None]) -> None:
        self._generator = generator
        self._turns = asyncio.Lock()
        self._step: asyncio.Task[Any] | None = None
        self._was_cut = False
        self.has_ended = self.is_closed = False

    async def step(self) -> T:
        """The next item. Raises `StopAsyncIteration` after the last one, `StreamCut` where one was cut."""
        async with self._turns:
            if self._was_cut:
                raise StreamCut(
                    "waiting for an item was cancelled, which has ended the stream; ask for it anew with the "
                    "last event's cursor as since. Where a timeout cancelled it: asyncio.wait({task}, "
                    "timeout=...) lets the task go on"
                )
            self._step = asyncio.current_task()
            try:
                return await anext(self._generator)
            except BaseException as error:
                # Whatever a generator raises, it has ended.
                self.has_ended = True
                self._was_cut = isinstance(error, asyncio.CancelledError) and not self.is_closed
                raise
            finally:
                self._step = None

    async def close(self) -> None:
        """Cancel the step that is under way, and return once the generator has cleaned up."""
        # Once: a second time would cut the cleaning up after the first.
        if self._step is not None and not self._step.cancelling():
            self._step.cancel()
        self.is_closed = True
        async with self._turns:
            self.has_ended = True
            await self._generator.aclose()
