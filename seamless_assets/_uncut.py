"""Waiting for what must not be left half done."""

from __future__ import annotations

import asyncio
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
