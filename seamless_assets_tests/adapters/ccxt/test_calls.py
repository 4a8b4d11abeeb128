"""One call to ccxt: what is left of it once it is over."""

from __future__ import annotations

import asyncio
import gc
import weakref
from typing import Any

from seamless_assets.adapters.ccxt.answers import calling, current_call


class _Held:
    """What a frame of a caller holds."""


async def test_a_timer_that_was_set_in_a_call_holds_no_caller() -> None:
    """A cancelled one, as of a timeout that did not strike, keeps its context until its time has come."""
    loop, asked = asyncio.get_running_loop(), asyncio.Event()
    held: list[weakref.ref[Any]] = []
    # Cancelled ones are forgotten where none goes before them.
    sooner = loop.call_later(1_800, print)

    async def ask() -> None:
        mine = _Held()
        held.append(weakref.ref(mine))
        async with calling("a page"):
            call, task = current_call.get(), asyncio.current_task()
            assert call is not None and task is not None
            call.tasks.add(task)
            loop.call_later(3_600, print).cancel()
        asked.set()
        await asyncio.Event().wait()
        assert mine

    asking = asyncio.create_task(ask())
    await asked.wait()
    asking.cancel()
    await asyncio.wait({asking})
    assert asking.cancelled()
    del asking
    gc.collect()
    assert held[0]() is None
    sooner.cancel()
