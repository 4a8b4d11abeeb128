"""Streams of candles of any exchange that ccxt.pro follows."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping
from functools import partial
from itertools import count
from typing import Any

from seamless_assets.adapters.ccxt.client import restore_markets
from seamless_assets.adapters.ccxt.settings import ClientSettings, Gate
from seamless_assets.adapters.ccxt.source import CcxtSource
from seamless_assets.adapters.ccxt.streams.client import streamed_by, streaming_client, takes_several
from seamless_assets.adapters.ccxt.streams.line import Streams
from seamless_assets.adapters.ccxt.streams.venue import Venue
from seamless_assets.aio.gather import gather
from seamless_assets.core.live.feed.update import AtOnce, CandleUpdate, Streamed, never
from seamless_assets.core.node import NodeId
from seamless_assets.errors import ExchangeRefused, ExchangeUnavailable


class CcxtStream:
    """Satisfies the flows' `CandleStream`: one client of ccxt.pro for each exchange that is followed.

    Markets are those of `source`.
    """

    def __init__(self, exchanges: Mapping[str, ClientSettings], gate: Gate, source: CcxtSource) -> None:
        self._settings, self._gate, self._source = exchanges, gate, source
        self._venues: dict[tuple[str, str], Venue] = {}
        self._connections = count(1)
        self._is_closed = False

    async def streamed(self, exchange: str) -> Streamed | None:
        """What the exchange streams; None where that is neither candles nor trades."""
        return streamed_by(exchange)

    async def updates(self, node: NodeId, at_once: AtOnce = never) -> AsyncGenerator[CandleUpdate, None]:
        """What the exchange sends of a node, from now on until it is closed, and `at_once` says no to.

        Raises `ExchangeUnavailable` where the connection ends, is closed or cannot be made,
        `ExchangeRefused`, and `BudgetUnavailable` where the exchange's markets could not be asked for.
        """
        if self._is_closed:
            raise ExchangeUnavailable(f"stream of {node}: all streams were closed here", status=None)
        venue = self._venue(node)
        subscriber = await venue.join(node, at_once)
        try:
            while True:
                update = await subscriber.updates.get()
                if not isinstance(update, CandleUpdate):
                    raise update
                yield update
        finally:
            await venue.leave(subscriber)

    async def close(self) -> None:
        """Close all connections; whoever follows a node is told by `ExchangeUnavailable`."""
        self._is_closed = True
        await gather(venue.close() for venue in self._venues.values())

    def _venue(self, node: NodeId) -> Venue:
        exchange, streamed = node.exchange, streamed_by(node.exchange)
        if streamed is None:
            raise ExchangeRefused(f"{exchange} streams neither candles nor trades through ccxt", status=None)
        # Of exchanges that are asked for one symbol at a time ccxt takes its timeframes for one another.
        part = "" if takes_several(exchange, streamed) else str(node.timeframe)
        if (exchange, part) not in self._venues:
            opening = partial(self._open, exchange)
            secrets = self._settings[exchange].secrets
            self._venues[exchange, part] = Venue(Streams(exchange, streamed, opening, secrets))
        return self._venues[exchange, part]

    async def _open(self, exchange: str, on_lost: Callable[[int, str], None]) -> Any:
        markets = await self._source.markets(exchange)
        client = streaming_client(exchange, self._settings[exchange], self._gate, self._connections, on_lost)
        if not restore_markets(client, markets):
            raise ExchangeUnavailable(
                f"{exchange}: ccxt.pro can make nothing of its market list", status=None
            )
        return client
