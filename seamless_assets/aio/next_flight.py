"""Work that is done once for all who asked before it began: nobody gets an answer older than the question.

Own, because a single flight hands its outcome to those, too, who ask while it is under way.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
T = TypeVar("T")


class NextFlight(Generic[K, T]):
    """Does `work` for a key, never twice at once; who comes meanwhile shares the next time."""

    def __init__(self, work: Callable[[K], Awaitable[T]]) -> None:
        self._work = work
        self._under_way: dict[K, asyncio.Task[T]] = {}
        self._next: dict[K, asyncio.Task[T]] = {}

    async def ask(self, key: K) -> T:
        """The outcome of work that begins after this call; a caller that is cancelled cancels no other."""
        coming = self._next.get(key)
        if coming is None:
            coming = self._next[key] = asyncio.create_task(self._fly(key, self._under_way.get(key)))
        return await asyncio.shield(coming)

    async def _fly(self, key: K, before: asyncio.Task[T] | None) -> T:
        if before is not None:
            await asyncio.wait({before})
        self._under_way[key] = self._next.pop(key)
        try:
            return await self._work(key)
        finally:
            del self._under_way[key]
