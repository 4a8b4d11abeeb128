"""Where the candles of channels come from: one task for all who follow a node, live one stream."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import aclosing
from functools import partial
from typing import Protocol

from seamless_assets.aio.shield import shielded
from seamless_assets.core.calendar.timeframe import Timeframe
from seamless_assets.core.node import NodeId
from seamless_assets.errors import SeamlessError, StreamCut
from seamless_assets.flows.live.served.candles import StreamedCandle, candles
from seamless_assets.pipeline.connect import Seamless
from seamless_assets.pipeline.loop.stream import Stream

Listener = Callable[[StreamedCandle | SeamlessError], None]
"""Takes a candle, or the error after which none comes any more."""


def candle_of(
    row: tuple[int, float, float, float, float, float], frame: Timeframe, now: float
) -> StreamedCandle:
    """A row of a page as a stream tells it at `now`."""
    ts, *_ = row
    end = frame.shift(ts, 1)
    return StreamedCandle(ts, end, row[1:], is_closed=end <= now)


class Channel(Protocol):
    """Candles of nodes, for whoever follows them."""

    def follow(self, node: NodeId, listener: Listener) -> None:
        """Let `listener` have the node's candles from now on."""

    def leave(self, node: NodeId, listener: Listener) -> None:
        """Let it have no more of them."""


class SharedChannel(ABC):
    """Nodes that are followed, each by one task for all of its listeners."""

    def __init__(self) -> None:
        self._listeners: dict[NodeId, list[Listener]] = {}
        self._tasks: dict[NodeId, asyncio.Task[None]] = {}
        self._running: set[asyncio.Task[None]] = set()
        """Those that nobody follows any more, too, until they have cleaned up."""

    def follow(self, node: NodeId, listener: Listener) -> None:
        """Let `listener` have the node's candles from now on."""
        self._listeners.setdefault(node, []).append(listener)
        if node not in self._tasks:
            task = self._tasks[node] = asyncio.create_task(self._tell(node, partial(self._hand_on, node)))
            self._running.add(task)
            task.add_done_callback(partial(self._ended, node))

    def leave(self, node: NodeId, listener: Listener) -> None:
        """Let it have no more of them; the last one to leave ends what was followed."""
        listeners = self._listeners.get(node, [])
        if listener in listeners:
            listeners.remove(listener)
        if not listeners:
            self._listeners.pop(node, None)
            if task := self._tasks.pop(node, None):
                task.cancel()

    async def close(self) -> None:
        """End all of it, and return when it has ended."""
        followed, self._tasks = self._tasks, {}
        self._listeners.clear()
        # The others clean up already, which another cancellation would cut.
        for task in followed.values():
            task.cancel()
        if self._running:
            await shielded(asyncio.ensure_future(asyncio.wait(self._running)))

    def _ended(self, node: NodeId, task: asyncio.Task[None]) -> None:
        """Tell the listeners that none comes any more; what they are not told goes to the loop's handler."""
        self._running.discard(task)
        error = None if task.cancelled() else task.exception()
        is_followed = self._tasks.get(node) is task
        if error is not None and not (is_followed and isinstance(error, SeamlessError)):
            message = f"the candles of {node} ended by an error that no listener is told"
            task.get_loop().call_exception_handler({"message": message, "exception": error, "task": task})
        if is_followed:
            del self._tasks[node]
            told = error if isinstance(error, SeamlessError) else StreamCut(f"the stream of {node} has ended")
            for listener in self._listeners.pop(node, []):
                listener(told)

    @abstractmethod
    async def _tell(self, node: NodeId, tell: Callable[[StreamedCandle], None]) -> None:
        """Give `tell` the node's candles until cancelled. Raises what ends them."""

    def _hand_on(self, node: NodeId, told: StreamedCandle) -> None:
        for listener in list(self._listeners.get(node, ())):
            listener(told)


class LiveChannel(SharedChannel):
    """The candles of nodes as they close, with the one that forms where the settings say so."""

    def __init__(self, pipeline: Seamless, *, with_forming: bool) -> None:
        super().__init__()
        self._pipeline, self._with_forming = pipeline, with_forming

    async def _tell(self, node: NodeId, tell: Callable[[StreamedCandle], None]) -> None:
        stream = Stream(
            self._pipeline.aio.portal,
            lambda adapters: candles(adapters.ports, node, with_forming=self._with_forming),
        )
        async with aclosing(stream):
            async for candle in stream:
                tell(candle)
