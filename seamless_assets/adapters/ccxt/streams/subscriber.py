"""Who follows a node at an exchange's stream."""

from __future__ import annotations

import asyncio

from seamless_assets.core.live.feed.trades import TradeCandles
from seamless_assets.core.live.feed.update import AtOnce, CandleUpdate, never
from seamless_assets.core.node import NodeId
from seamless_assets.errors import ExchangeUnavailable

MAX_WAITING = 2_000
"""Updates of a node that nobody has taken; with more its subscription ends."""


class Subscriber:
    """Who follows a node: `updates` are what came of it, then the error that ends them.

    What `at_once` takes in the moment in which it comes is none of them.
    """

    def __init__(self, node: NodeId, at_once: AtOnce = never) -> None:
        self.node, self._at_once = node, at_once
        self.candles = TradeCandles(node.timeframe)
        """Those of its trades, where the exchange streams no candles."""
        self.updates: asyncio.Queue[CandleUpdate | Exception] = asyncio.Queue()
        self.connection: int | None = None
        """That of the last update; None where none came."""
        self._has_ended = False

    def take(self, update: CandleUpdate) -> None:
        """Show an update, or keep it until it is asked for."""
        if self._has_ended:
            return
        self.connection = update.connection
        if self.updates.empty() and self._is_taken(update):
            return
        if self.updates.qsize() < MAX_WAITING:
            self.updates.put_nowait(update)
        else:
            self.lose(f"{MAX_WAITING} updates wait; they come too fast")

    def lose(self, reason: str) -> None:
        """Let the updates end; they may be asked for anew."""
        self.end(ExchangeUnavailable(f"stream of {self.node}: {reason}", status=None))

    def _is_taken(self, update: CandleUpdate) -> bool:
        try:
            return self._at_once(update)
        except Exception as error:  # noqa: BLE001
            # Whoever awaits the updates raises it; here it would pass for one of the connection.
            self.end(error)
            return True

    def end(self, error: Exception) -> None:
        """Let the updates end with an error, the first one that there is."""
        if not self._has_ended:
            self._has_ended = True
            self.updates.put_nowait(error)
