"""kraken (version 2): channels `ohlc` and `trade`, snapshots first, candles after trades alone.

No candle says that it is closed, and none is sent at its close: the last one before its successor stands.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from seamless_assets.core.calendar.timeframe import Timeframe
from seamless_assets.dialects.base import Query, spot
from seamless_assets.dialects.kraken import MINUTES
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
)

SNAPSHOT_CANDLES = 10
SNAPSHOT_TRADES = 50
_CHANNELS = ("ohlc", "trade")


def streams(data: Listings) -> list[StreamRoute]:
    """The address of version 2, `/v2`."""
    markets = {market.symbol: market for market in spot(data)}
    return [StreamRoute("kraken", "/v2", partial(_Kraken, data, markets))]


class _Kraken(StreamProtocol):
    has_closed_flag = False

    def __init__(self, data: Listings, markets: dict[str, Market], _address: Query) -> None:
        super().__init__()
        self._data, self._markets = data, markets
        self._without_snapshot: set[Topic] = set()

    def greeting(self, now: float) -> list[Any]:
        status = {"version": "2.0.10", "system": "online", "api_version": "v2", "connection_id": 1}
        return [{"channel": "status", "type": "update", "data": [status]}]

    @property
    def is_beating(self) -> bool:
        return bool(self.topics)

    def heartbeat(self, now: float) -> Any:
        return {"channel": "heartbeat"}

    def receive(self, text: str, now: float) -> list[Any]:
        asked = parsed(text)
        if not isinstance(asked, dict):
            return [_answer({}, now, error="Malformed request")]
        if asked.get("method") == "ping":
            return [{"method": "pong", **_number(asked), "time_in": iso(now), "time_out": iso(now)}]
        given = asked.get("params")
        params = given if isinstance(given, dict) else {}
        symbols = names_of(params.get("symbol"))
        if asked.get("method") not in ("subscribe", "unsubscribe") or not symbols:
            return [_answer(asked, now, error="Malformed request")]
        if params.get("channel") not in _CHANNELS:
            return [_answer(asked, now, error="Subscription name invalid")]
        return [self._turn(asked, params, symbol, now) for symbol in symbols]

    def snapshot_rows(self, topic: Topic) -> int:
        if topic in self._without_snapshot:
            return 0
        return SNAPSHOT_TRADES if topic.timeframe is None else SNAPSHOT_CANDLES

    def refuse(self, topic: Topic, reason: str, now: float) -> Any:
        asked = {"method": "subscribe", "req_id": self.topics.pop(topic)}
        self._without_snapshot.discard(topic)
        said = f"Subscription {topic.name[:64]} not supported: {reason}"
        return _answer(asked, now, topic.symbol, error=said)

    def encode(self, update: Update) -> Any:
        kind = "snapshot" if update.is_snapshot else "update"
        if update.topic.timeframe is None:
            trades = [
                {
                    "symbol": update.topic.symbol,
                    "side": trade.side,
                    "price": trade.price,
                    "qty": trade.amount,
                    "ord_type": "market",
                    "trade_id": trade.number,
                    "timestamp": iso(trade.at),
                }
                for trade in update.trades
            ]
            return {"channel": "trade", "type": kind, "data": trades}
        candles = [
            {
                "symbol": update.topic.symbol,
                "open": candle.open,
                "high": candle.high,
                "low": candle.low,
                "close": candle.close,
                "trades": candle.trades,
                "volume": candle.volume,
                "vwap": candle.close,
                "interval_begin": iso(candle.ts),
                "interval": int(update.topic.name.rpartition("-")[2]),
                "timestamp": iso(candle.end),
            }
            for candle in update.candles
        ]
        return {"channel": "ohlc", "type": kind, "timestamp": iso(update.at), "data": candles}

    def _turn(self, asked: Any, params: dict[str, Any], symbol: str, now: float) -> Any:
        """Follow one channel of one market, or follow it no more."""
        channel, interval = params["channel"], params.get("interval", 1)
        market = self._markets.get(symbol)
        if market is None or self._data.is_refused(symbol):
            return _answer(asked, now, symbol, error=f"Currency pair not supported {symbol[:64]}")
        if channel == "ohlc" and (type(interval) is not int or str(interval) not in MINUTES):
            return _answer(asked, now, symbol, error="Subscription ohlc interval not supported")
        if channel == "ohlc":
            topic = Topic(f"ohlc:{symbol}-{interval}", symbol, Timeframe(MINUTES[str(interval)]))
        else:
            topic = Topic(f"trade:{symbol}", symbol)
        if not self._data.is_streamed(symbol, topic.timeframe):
            return _answer(
                asked, now, symbol, error=f"Subscription {channel} not supported {topic.name[:64]}"
            )
        if asked["method"] == "unsubscribe":
            self.topics.pop(topic, None)
            self._without_snapshot.discard(topic)
            return _answer(asked, now, symbol, channel)
        if topic in self.topics:
            return _answer(asked, now, symbol, error="Already subscribed")
        if len(self.topics) >= MAX_TOPICS:
            return _answer(asked, now, symbol, error=f"Exceeded {MAX_TOPICS} subscriptions")
        self.topics[topic] = asked.get("req_id")
        if params.get("snapshot") is False:
            self._without_snapshot.add(topic)
        return _answer(asked, now, symbol, channel)


def _number(asked: Any) -> dict[str, int]:
    """The number of a request, where it has one."""
    number = asked.get("req_id")
    return {"req_id": number} if isinstance(number, int) else {}


def _answer(asked: Any, now: float, symbol: str = "", channel: str = "", error: str = "") -> Any:
    """Success for a channel of a symbol, or an error."""
    answer: dict[str, Any] = {
        "method": str(asked.get("method", ""))[:64],
        **_number(asked),
        "success": not error,
        "time_in": iso(now),
        "time_out": iso(now),
    }
    if error:
        return {**answer, "error": error, **({"symbol": symbol[:64]} if symbol else {})}
    return {**answer, "result": {"channel": channel, "symbol": symbol}}
