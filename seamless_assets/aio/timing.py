"""Time that no clock can set back, and a moment in which none passes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator
from types import coroutine


def monotonic() -> float:
    """Seconds by the running event loop's clock, which timeouts go by too; virtual where the loop is."""
    return asyncio.get_running_loop().time()


def call_at(when: float, work: Callable[[], object]) -> None:
    """Call `work` on the running event loop once that clock says `when`."""
    asyncio.get_running_loop().call_at(when, work)


@coroutine
def one_turn() -> Generator[None]:
    """Let each task that is ready take a step; nothing is waited for."""
    yield
