"""Candles of one node as an exchange's channel tells them: each as it closes, and the one that forms."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass, replace

from seamless_assets.aio.shield import shielded
from seamless_assets.core.live.events import Bar, Event, Gap, Values
from seamless_assets.core.live.request import StreamRequest
from seamless_assets.core.node import NodeId
from seamless_assets.flows.live.subscribe import begin, subscribe
from seamless_assets.flows.ports import Ports


@dataclass(frozen=True, slots=True)
class StreamedCandle:
    """A candle `[ts, end)` in epoch seconds as it stood when it was told."""

    ts: int
    end: int
    values: Values
    is_closed: bool


async def candles(ports: Ports, node: NodeId, *, with_forming: bool) -> AsyncGenerator[StreamedCandle, None]:
    """The node's candles from the one that forms now on, for ever: each once when it has closed, in order.

    `with_forming`: the one that forms, too, as its stream tells it, in whichever state it is when it is asked
    for; never before those in front of it have closed. What comes late or is corrected is not told.
    Raises as `subscribe` does.
    """
    request = StreamRequest.parse([node], None, None, None, ports.reading.max_lag)
    request = replace(request, positions=await begin(ports, request))
    upto, told = request.positions[str(node)].upto, None
    async with AsyncExitStack() as stack:
        shown = await _watched(ports, node, stack) if with_forming else asyncio.Event()
        events = await stack.enter_async_context(aclosing(subscribe(ports, request)))
        coming, showing = asyncio.create_task(_next(events)), asyncio.create_task(shown.wait())
        stack.push_async_callback(lambda: _cancel(coming, showing))
        while True:
            await asyncio.wait({coming, showing}, return_when=asyncio.FIRST_COMPLETED)
            if coming.done():
                event, coming = coming.result(), asyncio.create_task(_next(events))
                if isinstance(event, Bar | Gap):
                    upto = max(upto, event.end)
                if isinstance(event, Bar):
                    yield StreamedCandle(event.ts, event.end, event.values, is_closed=True)
            if showing.done():
                shown.clear()
                showing = asyncio.create_task(shown.wait())
            forming = _forming(ports, node, upto) if with_forming else None
            if forming is not None and forming != told:
                told = forming
                yield forming


async def _watched(ports: Ports, node: NodeId, stack: AsyncExitStack) -> asyncio.Event:
    """Set whenever the node's stream tells something; never where it has none."""
    shown = asyncio.Event()
    feeds = ports.feeds
    if feeds is not None and await feeds.is_streamed(ports, node):
        await stack.enter_async_context(feeds.following(ports, node, lambda _: None, shown.set))
    return shown


def _forming(ports: Ports, node: NodeId, opened: int) -> StreamedCandle | None:
    """The candle that opened at `opened`, if its stream told of it and it has not closed."""
    update = None if ports.feeds is None else ports.feeds.forming(node, opened)
    if update is None:
        return None
    return StreamedCandle(update.ts, node.timeframe.shift(update.ts, 1), update.values, is_closed=False)


async def _next(events: AsyncGenerator[Event, None]) -> Event:
    """The next event; a stream without an end has one."""
    return await anext(events)


async def _cancel(*tasks: asyncio.Task[Event] | asyncio.Task[bool]) -> None:
    for task in tasks:
        task.cancel()
    # What leaves has its own reason; how these end beside it matters to nobody.
    await shielded(asyncio.ensure_future(asyncio.gather(*tasks, return_exceptions=True)))
