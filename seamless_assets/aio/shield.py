"""Waiting for what must not be left half done.

Own, because `asyncio.shield` lets the shielded work run but returns to a cancelled caller at once: here the
caller leaves when the work has ended, and holds nothing that it does not know of.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

T = TypeVar("T")


async def shielded(work: asyncio.Future[T]) -> T:
    """The outcome of a task or future, waited for to its end whatever cancels the caller meanwhile.

    A cancellation that came meanwhile is raised afterwards, and goes before the outcome.
    """
    cancelled: asyncio.CancelledError | None = None
    while not work.done():
        try:
            await asyncio.wait({work})
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is None:
        return work.result()
    if not work.cancelled():
        work.exception()
    try:
        raise cancelled
    finally:
        # It holds this frame, and must not hold itself by it.
        del cancelled


async def acquire_shielded(acquiring: asyncio.Future[T], release: Callable[[T], Awaitable[None]]) -> T:
    """The same for what has to be given back: `release` it where the caller was cancelled meanwhile."""
    try:
        return await shielded(acquiring)
    except asyncio.CancelledError:
        if not acquiring.cancelled() and acquiring.exception() is None:
            await shielded(asyncio.ensure_future(release(acquiring.result())))
        raise


_left: set[asyncio.Future[Any]] = set()


def leave_running(work: asyncio.Future[Any]) -> None:
    """Keep a task that nobody waits for any more until it has ended; the loop alone would forget it."""
    _left.add(work)
    work.add_done_callback(_left.discard)
