"""Who follows a node at an exchange's stream."""

from __future__ import annotations

import asyncio

from seamless_assets.core.live.feed.trades import TradeCandles
from seamless_assets.core.live.feed.update import CandleUpdate
from seamless_assets.core.node import NodeId
from seamless_assets.errors import ExchangeUnavailable, SeamlessError

MAX_WAITING = 2_000
"""Updates of a node that nobody has taken; with more its subscription ends."""


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
