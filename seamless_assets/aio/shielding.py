"""Waiting for what must not be left half done."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")


async def uncut(work: asyncio.Future[T]) -> T:
    """The outcome of a task or future, waited for to its end whatever cancels the caller meanwhile.

    A cancellation that came meanwhile is raised afterwards, and goes before the outcome.
    """
    cancelled: asyncio.CancelledError | None = None
    while not work.done():
        try:
            await asyncio.wait({work})
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        if not work.cancelled():
            work.exception()
        raise cancelled
    return work.result()


async def uncut_or_undone(work: asyncio.Future[T], undo: Callable[[T], Awaitable[None]]) -> T:
    """The same; where the caller was cancelled meanwhile, what came out is undone before that is raised."""
    try:
        return await uncut(work)
    except asyncio.CancelledError:
        if not work.cancelled() and work.exception() is None:
            await uncut(asyncio.ensure_future(undo(work.result())))
        raise
