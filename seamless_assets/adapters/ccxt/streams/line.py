"""One client of ccxt.pro, and the nodes that are followed by it."""

from __future__ import annotations

import asyncio
import math
from collections import defaultdict
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import ccxt.pro as ccxt

from seamless_assets.adapters.ccxt.answers import UNREADABLE, typed
from seamless_assets.adapters.ccxt.streams.client import Message, subscribe_to, takes_several
from seamless_assets.adapters.ccxt.streams.marks import is_marked
from seamless_assets.adapters.ccxt.streams.subscriber import Subscriber
from seamless_assets.aio.shield import shielded
from seamless_assets.core.live.feed.trades import Trade
from seamless_assets.core.live.feed.update import CandleUpdate, Streamed
from seamless_assets.core.node import NodeId
from seamless_assets.errors import ExchangeUnavailable, SeamlessError

GROUP = 10
"""Nodes of one subscription; some exchanges take no more."""
GATHERING_S = 0.05
"""Nodes that are followed within so short a time are subscribed to together."""

OpenClient = Callable[[Callable[[int, str], None]], Awaitable[Any]]
"""Opens a client that has its markets; it is told whom to tell of connections that end."""


@dataclass(frozen=True, slots=True)
class Streams:
    """What is followed of which exchange, by clients that `open_client` opens.

    `secrets` are shown in no message.
    """

    exchange: str
    streamed: Streamed
    open_client: OpenClient
    secrets: Sequence[str]


class Line:
    """Follows each node once: who follows it again, for it has gone silent, does so by another line.

    ccxt subscribes to nothing twice as long as a connection lasts.
    """

    def __init__(self, streams: Streams) -> None:
        self._streams = streams
        self._subscribers: dict[NodeId, Subscriber] = {}
        self._subscribed: set[NodeId] = set()
        self._waiting: list[NodeId] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._client: Any = None

    @property
    def is_empty(self) -> bool:
        """Whether nobody follows anything by it."""
        return not self._subscribers

    def takes(self, node: NodeId) -> bool:
        """Whether a node may be followed by it."""
        return node not in self._subscribed

    def add(self, subscriber: Subscriber) -> None:
        """Follow a node that it takes."""
        node = subscriber.node
        self._subscribers[node] = subscriber
        self._subscribed.add(node)
        if not self._waiting:
            self._start(self._gather())
        self._waiting.append(node)

    def remove(self, subscriber: Subscriber) -> bool:
        """Follow it no more; whether it was followed by this line."""
        if self._subscribers.get(subscriber.node) is not subscriber:
            return False
        del self._subscribers[subscriber.node]
        return True

    async def close(self) -> None:
        """End what goes on, and close all connections; who follows a node still is told."""
        for subscriber in self._subscribers.values():
            subscriber.lose("it was closed here")
        self._subscribers.clear()
        for task in self._tasks:
            task.cancel()
        await shielded(asyncio.ensure_future(self._end_all()))

    async def _end_all(self) -> None:
        if self._tasks:
            await asyncio.wait(self._tasks)
        if self._client is not None:
            await self._client.close()

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _gather(self) -> None:
        """Subscribe to what waits, in groups."""
        await asyncio.sleep(GATHERING_S)
        if self._client is None:
            try:
                self._client = await self._streams.open_client(self._lose)
            except SeamlessError as error:
                waiting, self._waiting = self._waiting, []
                self._subscribed.difference_update(waiting)
                self._end(waiting, error)
                return
        waiting, self._waiting = self._waiting, []
        for group in self._groups(self._client, waiting):
            self._start(self._subscribe(self._client, group))

    def _groups(self, client: Any, nodes: Sequence[NodeId]) -> Iterator[list[NodeId]]:
        """Nodes that one subscription may be of: those of one kind of market."""
        kinds = defaultdict(list)
        for node in nodes:
            market = client.markets.get(node.symbol) or {}
            kinds[market.get("type"), market.get("linear")].append(node)
        size = GROUP if takes_several(self._streams.exchange, self._streams.streamed) else 1
        for alike in kinds.values():
            yield from (alike[at : at + size] for at in range(0, len(alike), size))

    async def _subscribe(self, client: Any, nodes: Sequence[NodeId]) -> None:
        """Subscribe, and wait until something comes: what fails before that is heard here."""
        for node in nodes:
            self._hear(client, node)
        what = f"stream of {', '.join(map(str, nodes))}"
        try:
            await subscribe_to(client, self._streams.streamed, nodes)
        except ccxt.BaseError as error:
            self._end(nodes, typed(error, [], what, self._streams.secrets))
        except UNREADABLE as error:
            self._end(nodes, ExchangeUnavailable(f"{what}: {type(error).__name__}: {error}", status=None))

    def _hear(self, client: Any, node: NodeId) -> None:
        if self._streams.streamed == "candles":
            client.hear_candles(node.symbol, str(node.timeframe), partial(self._take_candle, node))
        else:
            alike = [one for one in self._subscribers.values() if one.node.symbol == node.symbol]
            client.hear_trades(node.symbol, partial(self._take_trade, alike))

    def _take_candle(self, node: NodeId, row: Any, message: Message) -> None:
        subscriber = self._subscribers.get(node)
        if subscriber is None:
            return
        at, *values = [_number(cell) for cell in (*row, *[None] * 6)[:6]]
        # What opens at no whole second is on no grid.
        ts = int(at) // 1000 if math.isfinite(at) and at % 1000 == 0 else -1
        is_closed = is_marked(self._streams.exchange, message.body, int(at) if ts >= 0 else -1)
        o, high, low, c, volume = values
        subscriber.take(
            CandleUpdate(ts, (o, high, low, c, volume), message.connection, message.number, is_closed)
        )

    def _take_trade(self, alike: Sequence[Subscriber], trade: Any, message: Message) -> None:
        at, price, amount = (_number(trade.get(name)) for name in ("timestamp", "price", "amount"))
        if not all(map(math.isfinite, (at, price, amount))):
            return
        one = Trade(str(trade.get("id") or ""), at / 1000, price, amount)
        for subscriber in alike:
            if self._subscribers.get(subscriber.node) is subscriber:
                for update in subscriber.candles.add([one], message.connection, message.number):
                    subscriber.take(update)

    def _lose(self, connection: int, reason: str) -> None:
        """A connection has ended: so have the updates that came by it, and may have those that never came."""
        for subscriber in self._subscribers.values():
            if subscriber.connection in (None, connection):
                subscriber.lose(reason)

    def _end(self, nodes: Sequence[NodeId], error: SeamlessError) -> None:
        for node in nodes:
            if subscriber := self._subscribers.get(node):
                subscriber.end(error)


def _number(cell: Any) -> float:
    if type(cell) is float:
        return cell
    return float(cell) if isinstance(cell, int | float) and not isinstance(cell, bool) else math.nan
