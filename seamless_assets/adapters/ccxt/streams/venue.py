"""One exchange's streams: nodes that are followed, by as few subscriptions as its client can do with."""

from __future__ import annotations

import asyncio
import math
from collections import defaultdict
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Sequence
from functools import partial
from typing import Any

import ccxt.pro as ccxt

from seamless_assets.adapters.ccxt.answers import UNREADABLE, typed
from seamless_assets.adapters.ccxt.streams.client import Message, subscribe_to, takes_several
from seamless_assets.adapters.ccxt.streams.marks import is_marked
from seamless_assets.aio.shield import shielded
from seamless_assets.core.live.feed.trades import Trade, TradeCandles
from seamless_assets.core.live.feed.update import CandleUpdate, Streamed
from seamless_assets.core.node import NodeId
from seamless_assets.errors import ExchangeUnavailable, SeamlessError

GROUP = 10
"""Nodes of one subscription; some exchanges take no more."""
GATHERING_S = 0.05
"""Nodes that are followed within so short a time are subscribed to together."""
MAX_WAITING = 2_000
"""Updates of a node that nobody has taken; with more its subscription ends."""

OpenClient = Callable[[Callable[[int, str], None]], Awaitable[Any]]
"""Opens a client that has its markets; it is told whom to tell of connections that end."""


class Subscriber:
    """Who follows a node: `updates` are what came of it, then the error that ends them."""

    def __init__(self, node: NodeId) -> None:
        self.node = node
        self.candles = TradeCandles(node.timeframe)
        """Those of its trades, where the exchange streams no candles."""
        self.updates: asyncio.Queue[CandleUpdate | SeamlessError] = asyncio.Queue()
        self.connection: int | None = None
        """That of the last update; None where none came."""
        self._has_ended = False

    def take(self, update: CandleUpdate) -> None:
        """Keep an update until it is asked for."""
        if self._has_ended:
            return
        self.connection = update.connection
        if self.updates.qsize() < MAX_WAITING:
            self.updates.put_nowait(update)
        else:
            self.lose(f"{MAX_WAITING} updates wait; they come too fast")

    def lose(self, reason: str) -> None:
        """Let the updates end; they may be asked for anew."""
        self.end(ExchangeUnavailable(f"stream of {self.node}: {reason}", status=None))

    def end(self, error: SeamlessError) -> None:
        """Let the updates end with an error, the first one that there is."""
        if not self._has_ended:
            self._has_ended = True
            self.updates.put_nowait(error)


class Venue:
    """The nodes of one exchange that one client follows; it is there for as long as any of them is followed.

    `secrets` are shown in no message.
    """

    def __init__(
        self, exchange: str, streamed: Streamed, open_client: OpenClient, secrets: Sequence[str]
    ) -> None:
        self._exchange, self._streamed = exchange, streamed
        self._open_client, self._secrets = open_client, secrets
        self._subscribers: dict[NodeId, Subscriber] = {}
        self._waiting: list[NodeId] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._client: Any = None
        self._generation = 0
        """How many clients there were before this one."""

    async def join(self, node: NodeId) -> Subscriber:
        """Follow a node that nobody follows here."""
        subscriber = self._subscribers[node] = Subscriber(node)
        if not self._waiting:
            self._start(self._gather())
        self._waiting.append(node)
        return subscriber

    async def leave(self, subscriber: Subscriber) -> None:
        """Follow it no more. With the last one all connections are closed."""
        if self._subscribers.get(subscriber.node) is subscriber:
            del self._subscribers[subscriber.node]
        if not self._subscribers:
            await self.close()

    async def close(self) -> None:
        """End what goes on, and close all connections. Whoever joins meanwhile has a client of their own."""
        client, tasks = self._detach()
        await shielded(asyncio.ensure_future(_end_all(client, tasks)))

    def _detach(self) -> tuple[Any, set[asyncio.Task[None]]]:
        """The client and all that goes on by it, none of which is the venue's from now on."""
        client, self._client = self._client, None
        self._generation += 1
        tasks, self._tasks = self._tasks, set()
        self._waiting.clear()
        for task in tasks:
            task.cancel()
        return client, tasks

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _gather(self) -> None:
        """Subscribe to what waits, in groups."""
        await asyncio.sleep(GATHERING_S)
        if self._client is None:
            try:
                self._client = await self._open_client(partial(self._lose, self._generation))
            except SeamlessError as error:
                waiting, self._waiting = self._waiting, []
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
        size = GROUP if takes_several(self._exchange, self._streamed) else 1
        for alike in kinds.values():
            yield from (alike[at : at + size] for at in range(0, len(alike), size))

    async def _subscribe(self, client: Any, nodes: Sequence[NodeId]) -> None:
        """Subscribe, and wait until something comes: what fails before that is heard here."""
        for node in nodes:
            self._hear(client, node)
        what = f"stream of {', '.join(map(str, nodes))}"
        try:
            await subscribe_to(client, self._streamed, nodes)
        except ccxt.BaseError as error:
            self._end(nodes, typed(error, [], what, self._secrets))
        except UNREADABLE as error:
            self._end(nodes, ExchangeUnavailable(f"{what}: {type(error).__name__}: {error}", status=None))

    def _hear(self, client: Any, node: NodeId) -> None:
        if self._streamed == "candles":
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
        is_closed = is_marked(self._exchange, message.body, int(at) if ts >= 0 else -1)
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

    def _lose(self, generation: int, connection: int, reason: str) -> None:
        """A connection has ended: so have the updates that came by it, and may have those that never came.

        Nobody who is here now waits for those of a client that is closed or being closed.
        """
        if generation != self._generation:
            return
        for subscriber in self._subscribers.values():
            if subscriber.connection in (None, connection):
                subscriber.lose(reason)

    def _end(self, nodes: Sequence[NodeId], error: SeamlessError) -> None:
        for node in nodes:
            if subscriber := self._subscribers.get(node):
                subscriber.end(error)


async def _end_all(client: Any, tasks: set[asyncio.Task[None]]) -> None:
    if tasks:
        await asyncio.wait(tasks)
    if client is not None:
        await client.close()


def _number(cell: Any) -> float:
    return float(cell) if isinstance(cell, int | float) and not isinstance(cell, bool) else math.nan
