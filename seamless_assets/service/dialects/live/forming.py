"""The candle that forms now, for pages: what the stream told last, followed while somebody asks."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial

from seamless_assets.aio.timing import monotonic
from seamless_assets.core.node import NodeId
from seamless_assets.errors import ExchangeRefused, SeamlessError
from seamless_assets.flows.live.served.candles import StreamedCandle
from seamless_assets.flows.ports import Ports
from seamless_assets.pipeline.connect import Seamless
from seamless_assets.service.dialects.streams.channels import Channel, Listener

IDLE_S = 600.0
"""How long a node is followed that nobody asks for."""
BACK_OFF_S = 30.0
"""How long a node is let be whose stream has failed."""


@dataclass
class _Watched:
    """A node that is followed, or that is let be as its stream has failed, until its timer comes."""

    asked_at: float
    listener: Listener
    timer: asyncio.TimerHandle
    newest: StreamedCandle | None = None

    def shown(self, now: float) -> StreamedCandle | None:
        """The candle that forms at `now`, to somebody who asks."""
        self.asked_at = monotonic()
        newest = self.newest
        return newest if newest is not None and newest.ts <= now < newest.end else None


class FormingBars:
    """Candles that form, by node; the first request for one begins to follow it, and has none yet.

    `is_streamed` says of which nodes the stream tells any.
    """

    def __init__(self, channel: Channel, is_streamed: Callable[[NodeId], Awaitable[bool]]) -> None:
        self._channel, self._is_streamed = channel, is_streamed
        self._streamed: dict[NodeId, bool] = {}
        self._watched: dict[NodeId, _Watched] = {}

    async def at(self, node: NodeId, now: float) -> StreamedCandle | None:
        """The candle that forms at `now`; None where the stream told of none yet."""
        if node not in self._streamed:
            self._streamed[node] = await self._is_streamed(node)
        if not self._streamed[node]:
            return None
        return (self._watched.get(node) or self._begin(node)).shown(now)

    def is_still(self, node: NodeId, candle: StreamedCandle | None, now: float) -> bool:
        """Whether `at` gives that candle again, said at once; as good as to ask for it."""
        if not self._streamed.get(node, True):
            return candle is None
        watched = self._watched.get(node)
        return watched is not None and watched.shown(now) == candle

    def _begin(self, node: NodeId) -> _Watched:
        listener, timer = partial(self._take, node), self._later(IDLE_S, self._look, node)
        watched = self._watched[node] = _Watched(monotonic(), listener, timer)
        self._channel.follow(node, listener)
        return watched

    def _take(self, node: NodeId, told: StreamedCandle | SeamlessError) -> None:
        watched = self._watched[node]
        if isinstance(told, SeamlessError):
            self._channel.leave(node, watched.listener)
            watched.timer.cancel()
            watched.newest, watched.timer = None, self._later(BACK_OFF_S, self._watched.pop, node)
        else:
            watched.newest = None if told.is_closed else told

    def _look(self, node: NodeId) -> None:
        """Follow it no more where nobody has asked for long."""
        watched = self._watched[node]
        left = watched.asked_at + IDLE_S - monotonic()
        if left > 0:
            watched.timer = self._later(left, self._look, node)
            return
        del self._watched[node]
        self._channel.leave(node, watched.listener)

    def _later(self, seconds: float, work: Callable[[NodeId], object], node: NodeId) -> asyncio.TimerHandle:
        return asyncio.get_running_loop().call_later(seconds, work, node)


def streamed_by(pipeline: Seamless) -> Callable[[NodeId], Awaitable[bool]]:
    """Whether a node's candles come by a stream of its exchange, as a pipeline follows it."""
    recipes = pipeline.settings.recipes

    async def is_streamed(node: NodeId) -> bool:
        async def ask(ports: Ports) -> bool:
            return ports.feeds is not None and await ports.feeds.is_streamed(ports, node)

        try:
            return node not in recipes and await pipeline.aio.portal.do(ask)
        except ExchangeRefused:
            # The settings want a stream that the exchange has not; who follows the node is told.
            return False

    return is_streamed
