"""ccxt.pro clients that pass on all that is sent, number their connections, and go to `base_url`.

What ccxt.pro returns is the newest of what came since it was asked last, and of many symbols that of one: a
candle's last state may be lost. So every row is heard as ccxt puts it into its cache, and ccxt.pro's own
methods only subscribe.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import count
from typing import Any

import ccxt.pro as ccxt
from ccxt.async_support.base.ws.cache import ArrayCache, ArrayCacheByTimestamp

from seamless_assets.adapters.ccxt.answers import UNREADABLE
from seamless_assets.adapters.ccxt.client import new_client
from seamless_assets.adapters.ccxt.settings import ClientSettings, Gate
from seamless_assets.core.live.feed.update import Streamed
from seamless_assets.core.node import NodeId

CACHED_ROWS = 100


@dataclass(frozen=True, slots=True)
class Message:
    """A message: which one of all, on which connection, as it was sent."""

    connection: int
    number: int
    body: Any


Heard = Callable[[Any, Message], None]
"""Takes a row that ccxt made of a message."""


class StreamingClient:
    """Mixed into a ccxt.pro exchange. `on_lost` is called with a connection that has ended, and why."""

    def listen(self, connections: Iterator[int], on_lost: Callable[[int, str], None]) -> None:
        """Begin; `connections` are the numbers of those that will be made."""
        self._connections, self._on_lost = connections, on_lost
        self._messages = count(1)
        self._message = Message(0, 0, None)

    def hear_candles(self, symbol: str, timeframe: str, heard: Heard) -> None:
        """Let `heard` take every candle of a symbol from now on."""
        by_frame = self.ohlcvs.setdefault(symbol, {})  # type: ignore[attr-defined]
        by_frame[timeframe] = _HeardCandles(lambda row: heard(row, self._message))

    def hear_trades(self, symbol: str, heard: Heard) -> None:
        """Let `heard` take every trade of a symbol from now on."""
        self.trades[symbol] = _HeardTrades(lambda trade: heard(trade, self._message))  # type: ignore[attr-defined]

    def client(self, url: str) -> Any:
        """The connection to an address, made where there is none."""
        is_new = url not in (self.clients or {})  # type: ignore[attr-defined]
        made = super().client(url)  # type: ignore[misc]
        if is_new:
            made.connection_number = next(self._connections)
            self._redirect(made)
            _survive_nonsense(made)
        return made

    def handle_message(self, client: Any, message: Any) -> Any:
        """Take a message apart; rows of it are heard meanwhile."""
        self._message = Message(client.connection_number, next(self._messages), message)
        return super().handle_message(client, message)  # type: ignore[misc]

    def on_error(self, client: Any, error: Any) -> None:
        """A connection could not be made, or broke."""
        super().on_error(client, error)  # type: ignore[misc]
        self._on_lost(client.connection_number, str(error))

    def on_close(self, client: Any, error: Any) -> None:
        """A connection was closed."""
        super().on_close(client, error)  # type: ignore[misc]
        self._on_lost(client.connection_number, f"closed with {error}")

    def _redirect(self, made: Any) -> None:
        """Connect to `base_url`; ccxt tells markets by the address that it believes to be at."""
        connect, told = made.create_connection, made.url
        if self.authorization:  # type: ignore[attr-defined]
            headers = {**(made.options.get("headers") or {}), "Authorization": self.authorization}  # type: ignore[attr-defined]
            made.options = {**made.options, "headers": headers}

        def connect_there(session: Any) -> Any:
            made.url = self.redirected(told)  # type: ignore[attr-defined]
            try:
                return connect(session)
            finally:
                made.url = told

        made.create_connection = connect_there


def streaming_client(
    exchange: str,
    settings: ClientSettings,
    gate: Gate,
    connections: Iterator[int],
    on_lost: Callable[[int, str], None],
) -> Any:
    """A client of an exchange's streams, nothing connected yet. Raises `UnknownExchange`."""
    client = new_client(exchange, settings, gate, ccxt, (StreamingClient,))
    client.listen(connections, on_lost)
    return client


def streamed_by(exchange: str) -> Streamed | None:
    """What ccxt.pro follows of an exchange."""
    if _has(exchange, "watchOHLCV"):
        return "candles"
    return "trades" if _has(exchange, "watchTrades") else None


def takes_several(exchange: str, streamed: Streamed) -> bool:
    """Whether one subscription may be of several nodes, and of timeframes side by side."""
    return _has(exchange, "watchOHLCVForSymbols" if streamed == "candles" else "watchTradesForSymbols")


@cache
def _has(exchange: str, method: str) -> bool:
    kind = getattr(ccxt, exchange, None) if exchange in ccxt.exchanges else None
    return kind is not None and kind().has.get(method) is True


async def subscribe_to(client: Any, streamed: Streamed, nodes: Sequence[NodeId]) -> None:
    """Subscribe to nodes, and return once something of them has come. Raises what ccxt does."""
    symbols = [node.symbol for node in nodes]
    if streamed == "trades":
        if len(symbols) > 1:
            await client.watch_trades_for_symbols(symbols)
        else:
            await client.watch_trades(symbols[0])
    elif len(nodes) > 1:
        await client.watch_ohlcv_for_symbols([[node.symbol, str(node.timeframe)] for node in nodes])
    else:
        await client.watch_ohlcv(symbols[0], str(nodes[0].timeframe))


class _HeardCandles(ArrayCacheByTimestamp):  # type: ignore[misc]
    def __init__(self, heard: Callable[[Any], None]) -> None:
        super().__init__(CACHED_ROWS)
        self._heard = heard

    def append(self, item: Any) -> None:
        super().append(item)
        self._heard(item)


class _HeardTrades(ArrayCache):  # type: ignore[misc]
    def __init__(self, heard: Callable[[Any], None]) -> None:
        super().__init__(CACHED_ROWS)
        self._heard = heard

    def append(self, item: Any) -> None:
        super().append(item)
        self._heard(item)


def _survive_nonsense(made: Any) -> None:
    """A message that is no JSON, or is JSON of another shape, ends the connection; ccxt would go deaf."""
    handle = made.handle_message

    def handle_or_end(message: Any) -> None:
        try:
            handle(message)
        except (ccxt.BaseError, *UNREADABLE) as error:
            made.on_error(ccxt.NetworkError(f"a message could not be read: {type(error).__name__}: {error}"))

    made.handle_message = handle_or_end
