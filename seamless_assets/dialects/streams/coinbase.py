"""coinbase (Advanced Trade): `market_trades`, `candles` of five minutes alone, `heartbeats`; all is numbered.

Snapshots come first.
ccxt follows trades and no candles; none says that it is closed: the last one before its successor stands.
"""

from __future__ import annotations

from datetime import UTC, datetime
from functools import partial
from typing import Any

from seamless_assets.core.calendar.timeframe import Timeframe
from seamless_assets.dialects.base import Query, by_name, spot, text
from seamless_assets.dialects.coinbase import market_name
from seamless_assets.dialects.market_data import Listings, Market
from seamless_assets.dialects.streams.base import (
    MAX_TOPICS,
    StreamProtocol,
    StreamRoute,
    Topic,
    Update,
    iso,
    names_of,
    parsed,
    without,
)

SNAPSHOT_TRADES = 100
SNAPSHOT_CANDLES = 10
TRADES, CANDLES, HEARTBEATS = "market_trades", "candles", "heartbeats"
_FRAMES = {TRADES: None, CANDLES: Timeframe("5m")}


def streams(data: Listings) -> list[StreamRoute]:
    """The root, `/`."""
    return [StreamRoute("coinbase", "/", partial(_Coinbase, data, by_name(spot(data), market_name)))]


class _Coinbase(StreamProtocol):
    has_closed_flag = False
    beats_beside_messages = True

    def __init__(self, data: Listings, markets: dict[str, Market], _address: Query) -> None:
        super().__init__()
        self._data, self._markets = data, markets
        self._sequence = -1
        self._beats: int | None = None
        """How many heartbeats were sent; None where nobody wants any."""

    def receive(self, text: str, now: float) -> list[Any]:
        asked = parsed(text)
        asked = asked if isinstance(asked, dict) else {}
        channel = asked.get("channel")
        if asked.get("type") not in ("subscribe", "unsubscribe"):
            return [_error("invalid message: type must be subscribe or unsubscribe")]
        if channel == HEARTBEATS:
            self._beats = (self._beats or 0) if asked["type"] == "subscribe" else None
            return [_message("subscriptions", now, {"subscriptions": self._followed()})]
        if not isinstance(channel, str) or channel not in _FRAMES:
            return [_error(f"channel {str(channel)[:64]} is not supported")]
        names = names_of(asked.get("product_ids"))
        topics = {name: self._topic(channel, name) for name in names}
        if unknown := [name for name, topic in topics.items() if topic is None]:
            return [_error(f"failed to subscribe: {unknown[0][:64]} is not a valid product of {channel}")]
        if not names or len(self.topics) + len(names) > MAX_TOPICS:
            return [_error(f"give 1 to {MAX_TOPICS} product_ids")]
        known = {topic: None for topic in topics.values() if topic is not None}
        if asked["type"] == "unsubscribe":
            without(self.topics, [topic.name for topic in known])
        else:
            self.topics.update(known)
        return [_message("subscriptions", now, {"subscriptions": self._followed()})]

    @property
    def is_beating(self) -> bool:
        return self._beats is not None

    def heartbeat(self, now: float) -> Any:
        self._beats = (self._beats or 0) + 1
        told = f"{datetime.fromtimestamp(now, UTC):%Y-%m-%d %H:%M:%S.%f}000 +0000 UTC"
        return _message(HEARTBEATS, now, {"current_time": told, "heartbeat_counter": self._beats})

    def snapshot_rows(self, topic: Topic) -> int:
        return SNAPSHOT_TRADES if topic.timeframe is None else SNAPSHOT_CANDLES

    def refuse(self, topic: Topic, reason: str, now: float) -> Any:
        del self.topics[topic]
        channel, _, product = topic.name.partition(":")
        return _error(f"failed to subscribe: {product[:64]} is not a valid product of {channel}: {reason}")

    def sealed(self, message: Any) -> Any:
        if "channel" not in message:
            return message
        self._sequence += 1
        return {**message, "sequence_num": self._sequence}

    def encode(self, update: Update) -> Any:
        channel, _, product = update.topic.name.partition(":")
        kind = "snapshot" if update.is_snapshot else "update"
        if channel == CANDLES:
            candles = [
                {
                    "start": str(candle.ts),
                    "high": text(candle.high),
                    "low": text(candle.low),
                    "open": text(candle.open),
                    "close": text(candle.close),
                    "volume": text(candle.volume),
                    "product_id": product,
                }
                for candle in reversed(update.candles)
            ]
            return _message(CANDLES, update.at, {"type": kind, "candles": candles})
        trades = [
            {
                "trade_id": f"{trade.at:.3f}",
                "product_id": product,
                "price": text(trade.price),
                "size": text(trade.amount),
                "side": trade.side.upper(),
                "time": iso(trade.at),
            }
            for trade in reversed(update.trades)
        ]
        return _message(TRADES, update.at, {"type": kind, "trades": trades})

    def _topic(self, channel: str, name: str) -> Topic | None:
        market, frame = self._markets.get(name), _FRAMES[channel]
        if market is None or not self._data.is_streamed(market.symbol, frame):
            return None
        return Topic(f"{channel}:{name}", market.symbol, frame)

    def _followed(self) -> dict[str, list[str]]:
        """What is followed now, by channel."""
        found: dict[str, list[str]] = {} if self._beats is None else {HEARTBEATS: [HEARTBEATS]}
        for topic in self.topics:
            channel, _, product = topic.name.partition(":")
            found.setdefault(channel, []).append(product)
        return found


def _message(channel: str, now: float, event: Any) -> Any:
    """A message that has its number when it is sent."""
    return {"channel": channel, "client_id": "", "timestamp": iso(now), "events": [event]}


def _error(reason: str) -> Any:
    return {"type": "error", "message": reason}
