"""A panel that is subscribed to: one tick for each bar time, when all nodes have it or at a deadline."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import replace

from seamless_assets.aio.shield import shielded
from seamless_assets.aio.timing import monotonic
from seamless_assets.core.live.events import CaughtUp, Event, Stale
from seamless_assets.core.live.panel import Panel, Tick
from seamless_assets.core.live.request import StreamRequest
from seamless_assets.flows.live.subscribe import begin, subscribe
from seamless_assets.flows.ports import Ports

SHORTEST_WAIT = 0.5
"""A tick comes at its deadline no sooner after the one before than this share of a bar: a node that loads its
history is not late at once for all that others have of theirs.
"""


async def subscribe_panel(
    ports: Ports, request: StreamRequest, deadline: float
) -> AsyncGenerator[Tick | Stale | CaughtUp, None]:
    """The ticks of the request's nodes; a tick is told `deadline` seconds after its first bar came.

    The cursor of all that it tells is the panel's. Raises as `subscribe` does.
    """
    positions = await begin(ports, request)
    panel = Panel(request.nodes, positions)
    stream = subscribe(ports, replace(request, positions=positions), panel.has_room)
    coming: asyncio.Task[Event | None] | None = None
    limit: asyncio.Task[None] | None = None
    last_at = monotonic()
    try:
        while True:
            while panel.is_complete:
                if limit is not None:
                    limit.cancel()
                    limit = None
                yield panel.tick()
                last_at = monotonic()
            coming = coming or asyncio.create_task(_next(stream))
            if limit is None and panel.is_begun:
                due = max(panel.begun_at + deadline, last_at + min(deadline, panel.length * SHORTEST_WAIT))
                limit = asyncio.create_task(_pass(ports, max(0.0, due - monotonic())))
            await asyncio.wait({coming, limit} if limit else {coming}, return_when=asyncio.FIRST_COMPLETED)
            if coming.done():
                event, coming = coming.result(), None
                if event is None:
                    break
                if isinstance(event, Stale | CaughtUp):
                    yield replace(event, place=panel.place(event))
                else:
                    panel.add(event, monotonic())
            else:
                limit = None
                yield panel.tick()
                last_at = monotonic()
        while panel.is_begun:
            yield panel.tick()
    finally:
        for task in (coming, limit):
            if task is not None:
                task.cancel()
                await shielded(asyncio.ensure_future(asyncio.wait({task})))
        await stream.aclose()


async def _next(stream: AsyncGenerator[Event, None]) -> Event | None:
    """The next event; None at the end, which a task cannot raise."""
    try:
        return await anext(stream)
    except StopAsyncIteration:
        return None


async def _pass(ports: Ports, seconds: float) -> None:
    await ports.clock.sleep(seconds)
