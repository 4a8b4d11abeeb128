"""The streams that this process follows: one feed for each node, shared by all who follow it here."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial

from seamless_assets.aio.priority import on_its_own
from seamless_assets.aio.shield import shielded
from seamless_assets.core.calendar.segment import Segment
from seamless_assets.core.live.feed.finality import FinalCandle
from seamless_assets.core.live.feed.update import CandleUpdate
from seamless_assets.core.node import NodeId
from seamless_assets.errors import ExchangeRefused
from seamless_assets.flows.live.exchange_feed import ExchangeFeed, FeedListener, FeedQuota
from seamless_assets.flows.live.feed import NodeFeed
from seamless_assets.flows.ports import CandleStream, Ports


@dataclass(eq=False)
class _Listener:
    """Who hears of a node's bars, of all that is told of the one that forms, and of bars not yet stored."""

    on_bars: Callable[[Segment | None], None]
    on_update: Callable[[], None] | None
    on_proven: Callable[[FinalCandle], bool] | None


@dataclass
class _Followed:
    """A feed that runs, and who listens."""

    feed: NodeFeed
    task: asyncio.Task[None]
    listeners: list[_Listener] = field(default_factory=list)


class Feeds:
    """Satisfies the flows' `LiveFeeds`, over the `stream` of all exchanges."""

    def __init__(self, stream: CandleStream) -> None:
        self._stream, self._quota = stream, FeedQuota()
        self._exchanges: dict[str, ExchangeFeed] = {}
        self._followed: dict[NodeId, _Followed] = {}

    async def is_streamed(self, ports: Ports, node: NodeId) -> bool:
        """Whether the node's bars come by a stream.

        Raises `ExchangeRefused` where the settings say so and the exchange has none.
        """
        mode = ports.policy.feeds.get(node.exchange, "polling")
        if mode == "polling" or node in ports.policy.made_of_trades:
            return False
        streamed = await self._stream.streamed(node.exchange)
        if mode == "auto":
            return streamed == "candles"
        if streamed is None:
            raise ExchangeRefused(
                f"{node.exchange} streams neither candles nor trades through ccxt, so that live: websocket "
                f"cannot be; set live of exchanges.{node.exchange} to polling or auto",
                status=None,
            )
        return True

    def is_awaited(self, node: NodeId) -> bool:
        """Whether its stream is stable enough to be waited for. Raises what ended its feed."""
        followed = self._followed.get(node)
        if followed is None or followed.task.cancelled():
            return False
        if followed.task.done():
            followed.task.result()
            return False
        return not self._exchange(node).cools_for

    def is_heard_here(self, node: NodeId) -> bool:
        """Whether this process follows its stream at the moment, and no other one does."""
        followed = self._followed.get(node)
        return followed is not None and followed.feed.is_following

    def forming(self, node: NodeId, now: float) -> CandleUpdate | None:
        """The candle that forms at `now`, as the node's stream told it last; None where nobody here knows."""
        followed = self._followed.get(node)
        return None if followed is None else followed.feed.forming.at(now)

    def following(
        self,
        ports: Ports,
        node: NodeId,
        on_bars: Callable[[Segment | None], None],
        on_update: Callable[[], None] | None = None,
        on_proven: Callable[[FinalCandle], bool] | None = None,
    ) -> AbstractAsyncContextManager[None]:
        """Have the node's stream followed while the body works.

        `on_bars` hears of what it brings, `on_update` whenever it tells of the one that forms, `on_proven` of
        what is about to be stored, where the settings say so.
        """
        return self._following(ports, node, _Listener(on_bars, on_update, on_proven))

    @asynccontextmanager
    async def _following(self, ports: Ports, node: NodeId, listener: _Listener) -> AsyncGenerator[None, None]:
        followed = self._followed.get(node)
        if followed is None or followed.task.done():
            followed = self._followed[node] = self._start(ports, node)
        followed.listeners.append(listener)
        try:
            yield
        finally:
            followed.listeners.remove(listener)
            if not followed.listeners:
                if self._followed.get(node) is followed:
                    del self._followed[node]
                followed.task.cancel()
                await shielded(asyncio.ensure_future(asyncio.wait({followed.task})))
                if not followed.task.cancelled():
                    followed.task.result()

    def _start(self, ports: Ports, node: NodeId) -> _Followed:
        tell, show, announce = (
            partial(self._tell, node),
            partial(self._show, node),
            partial(self._announce, node),
        )
        listener = FeedListener(tell, show, announce)
        feed = NodeFeed(ports, self._stream, self._exchange(node), node, self._quota, listener)
        # Whoever began it may leave before the others do.
        _, context = on_its_own(is_urgent=True)
        return _Followed(feed, asyncio.create_task(feed.run(), context=context))

    def _tell(self, node: NodeId, stored: Segment | None) -> None:
        for listener in self._listeners(node):
            listener.on_bars(stored)

    def _show(self, node: NodeId) -> None:
        for listener in self._listeners(node):
            if listener.on_update is not None:
                listener.on_update()

    def _announce(self, node: NodeId, candle: FinalCandle) -> bool:
        """Whether any of them tells of it."""
        told = [one.on_proven(candle) for one in self._listeners(node) if one.on_proven is not None]
        return any(told)

    def _listeners(self, node: NodeId) -> list[_Listener]:
        followed = self._followed.get(node)
        return list(followed.listeners) if followed else []

    def _exchange(self, node: NodeId) -> ExchangeFeed:
        return self._exchanges.setdefault(node.exchange, ExchangeFeed(node.exchange))
