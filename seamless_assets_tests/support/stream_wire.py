"""The streams of the local exchange as they are on the wire, whatever the venue."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import aiohttp
from support.streams import PATIENCE_S

from seamless_assets.sandbox.server import Sandbox


@dataclass(frozen=True)
class Said:
    """One message about a market: candles `(ts, close, volume, closed)` or trades `(at, price, amount)`."""

    kind: str
    rows: tuple[tuple[Any, ...], ...]

    @property
    def ts(self) -> int:
        """When the last bar opens that it is about, epoch seconds."""
        return int(self.rows[-1][0]) // 60 * 60


@dataclass(frozen=True)
class Venue:
    """How one venue is asked for the one-minute candles (or the trades) of a market."""

    name: str
    path: str
    asked: Any

    def said(self, message: Any) -> Said | None:
        """What a message says of the market; None for acknowledgements and the like."""
        rows = getattr(self, f"_{self.name}")(message)
        return Said("trades" if self.name == "coinbase" else "candles", tuple(rows)) if rows else None

    def _binance(self, message: Any) -> list[tuple[Any, ...]]:
        candle = message.get("k")
        return [(candle["t"] // 1000, float(candle["c"]), float(candle["v"]), candle["x"])] if candle else []

    def _bybit(self, message: Any) -> list[tuple[Any, ...]]:
        rows = message.get("data") or []
        return [(r["start"] // 1000, float(r["close"]), float(r["volume"]), r["confirm"]) for r in rows]

    def _okx(self, message: Any) -> list[tuple[Any, ...]]:
        rows = message.get("data") or []
        return [(int(row[0]) // 1000, float(row[4]), float(row[5]), row[8] == "1") for row in rows]

    def _kraken(self, message: Any) -> list[tuple[Any, ...]]:
        rows = message["data"] if message.get("channel") == "ohlc" else []
        return [(_epoch(row["interval_begin"]), row["close"], row["volume"], None) for row in rows]

    def _coinbase(self, message: Any) -> list[tuple[Any, ...]]:
        trades = message["events"][0]["trades"] if message.get("channel") == "market_trades" else []
        return [(_epoch(t["time"]), float(t["price"]), float(t["size"])) for t in reversed(trades)]


def _epoch(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


VENUES = {
    venue.name: venue
    for venue in (
        Venue("binance", "/ws/0", {"method": "SUBSCRIBE", "params": ["btcusdt@kline_1m"], "id": 1}),
        Venue("bybit", "/v5/public/spot", {"op": "subscribe", "args": ["kline.1.BTCUSDT"], "req_id": "1"}),
        Venue("coinbase", "/", {"type": "subscribe", "product_ids": ["BTC-USD"], "channel": "market_trades"}),
        Venue(
            "kraken",
            "/v2",
            {"method": "subscribe", "params": {"channel": "ohlc", "symbol": ["BTC/USD"], "interval": 1}},
        ),
        Venue(
            "okx",
            "/ws/v5/business",
            {"op": "subscribe", "args": [{"channel": "candle1m", "instId": "BTC-USDT"}]},
        ),
    )
}


class Line:
    """One connection to a venue, which follows its market."""

    def __init__(self, venue: Venue, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.venue, self.socket = venue, socket

    async def next(self) -> Said | None:
        """What is said next of the market; None once the connection is gone."""
        while (message := await self.raw()) is not None:
            if (said := self.venue.said(json.loads(message))) is not None:
                return said
        return None

    async def raw(self) -> str | None:
        """The next message; None once the connection is gone."""
        async with asyncio.timeout(PATIENCE_S):
            message = await self.socket.receive()
        return message.data if message.type is aiohttp.WSMsgType.TEXT else None

    async def until(self, ts: int) -> list[Said]:
        """All that is said until something is said of a bar that opens at or after `ts`, that included."""
        heard: list[Said] = []
        while not heard or heard[-1].ts < ts:
            said = await self.next()
            assert said is not None, heard
            heard.append(said)
        return heard


async def line(exchange: Sandbox, session: aiohttp.ClientSession, name: str) -> Line:
    """Follow a venue's market; what it sends at once is not taken yet."""
    venue, before = VENUES[name], len(exchange.topics())
    socket = await session.ws_connect(exchange.url + venue.path)
    await socket.send_json(venue.asked)
    async with asyncio.timeout(PATIENCE_S):
        while len(exchange.topics()) == before:  # noqa: ASYNC110
            await asyncio.sleep(0.001)
    return Line(venue, socket)
