"""Many things at once: the first error ends the rest, and comes out as it is.

Own, because `asyncio.gather` leaves the rest running, and `asyncio.TaskGroup` raises a group where callers
handle typed errors, lets an error hide a cancellation of the caller, and knows no bound.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from typing import Any, TypeVar

T = TypeVar("T")
U = TypeVar("U")


async def gather(works: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """The results of all works, in their order; an error or a cancellation ends every one of them first."""
    tasks = [asyncio.ensure_future(work) for work in works]
    try:
        return await asyncio.gather(*tasks)
    except (Exception, asyncio.CancelledError):
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        raise


async def map_bounded(work: Callable[[U], Awaitable[T]], items: Sequence[U], limit: int) -> list[T]:
    """`work` on every item, `limit` of them at a time, the results in the order of the items."""
    numbered = enumerate(items)
    done: dict[int, T] = {}

    async def take() -> None:
        for number, item in numbered:
            done[number] = await work(item)

    await gather(take() for _ in range(min(limit, len(items))))
    return [done[number] for number in sorted(done)]
