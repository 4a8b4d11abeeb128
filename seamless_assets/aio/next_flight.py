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
    """Does `work` for a key; who comes while it is done shares the next time.

    That begins once it is done, or `patience_s` after it was asked for; without one never twice at once.
    """

    def __init__(self, work: Callable[[K], Awaitable[T]], patience_s: float | None = None) -> None:
        self._work, self._patience_s = work, patience_s
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
            await asyncio.wait({before}, timeout=self._patience_s)
        mine = self._under_way[key] = self._next.pop(key)
        try:
            return await self._work(key)
        finally:
            if self._under_way.get(key) is mine:
                del self._under_way[key]
