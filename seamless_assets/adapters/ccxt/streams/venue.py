"""One exchange's streams: the nodes that are followed, by as few clients and subscriptions as will do."""

from __future__ import annotations

import asyncio

from seamless_assets.adapters.ccxt.streams.line import Line, Streams
from seamless_assets.adapters.ccxt.streams.subscriber import Subscriber
from seamless_assets.aio.gather import gather
from seamless_assets.aio.shield import shielded
from seamless_assets.core.live.feed.update import AtOnce, never
from seamless_assets.core.node import NodeId


class Venue:
    """The nodes of one exchange; a client is there for as long as any of them is followed by it."""

    def __init__(self, streams: Streams) -> None:
        self._streams = streams
        self._lines: list[Line] = []
        self._closing: set[asyncio.Task[None]] = set()

    async def join(self, node: NodeId, at_once: AtOnce = never) -> Subscriber:
        """Follow a node that nobody follows here."""
        line = next((line for line in self._lines if line.takes(node)), None)
        if line is None:
            line = Line(self._streams)
            self._lines.append(line)
        subscriber = Subscriber(node, at_once)
        line.add(subscriber)
        return subscriber

    async def leave(self, subscriber: Subscriber) -> None:
        """Follow it no more. With the last one of a client its connections are closed."""
        for line in list(self._lines):
            if line.remove(subscriber) and line.is_empty:
                self._lines.remove(line)
                await self._close(line)

    async def close(self) -> None:
        """End what goes on, and close all connections. Whoever joins meanwhile has a client of their own."""
        lines, self._lines = self._lines, []
        # Some may be closed already by who has left them, and take their time.
        closing = asyncio.gather(*self._closing, return_exceptions=True)
        await gather(self._close(line) for line in lines)
        await shielded(closing)

    async def _close(self, line: Line) -> None:
        closing = asyncio.create_task(line.close())
        self._closing.add(closing)
        closing.add_done_callback(self._closing.discard)
        await shielded(closing)
