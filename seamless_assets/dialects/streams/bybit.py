"""bybit: topics named `kline.1.BTCUSDT` and `publicTrade.BTCUSDT`, a closed flag, spot takes ten at a time."""

from __future__ import annotations

from functools import partial
from typing import Any

from seamless_assets.core.calendar.timeframe import Timeframe
from seamless_assets.dialects.base import Query, by_name, futures, spot, swaps, text
from seamless_assets.dialects.bybit import INTERVALS, market_name
from seamless_assets.dialects.market_data import Listings, Market
from seamless_assets.dialects.streams.base import (
    MAX_TOPICS,
    StreamProtocol,
    StreamRoute,
    Topic,
    Update,
    milliseconds,
    names_of,
    parsed,
    without,
)

MOST_AT_ONCE = 10
"""Topics in one request of spot."""
_CONNECTION = "8f6f3a52-7d0e-4f0b-9b1c-2c5d4a1e0001"


def streams(data: Listings) -> list[StreamRoute]:
    """Addresses of spot and linear markets below `/v5/public`."""
    categories = {"spot": spot(data), "linear": [*swaps(data), *futures(data)]}
    return [
        StreamRoute(
            "bybit", f"/v5/public/{category}", partial(_Bybit, data, by_name(markets, market_name), category)
        )
        for category, markets in categories.items()
    ]


class _Bybit(StreamProtocol):
    def __init__(self, data: Listings, markets: dict[str, Market], category: str, _address: Query) -> None:
        super().__init__()
        self._data, self._markets, self._category = data, markets, category

    def receive(self, text: str, now: float) -> list[Any]:
        asked = parsed(text)
        asked = asked if isinstance(asked, dict) else {}
        operation, names = asked.get("op"), names_of(asked.get("args"))
        if operation == "ping":
            return [self._answer(asked, "pong")]
        if operation == "unsubscribe":
            without(self.topics, names)
            return [self._answer(asked)]
        if operation != "subscribe":
            return [self._answer(asked, "error:invalid op", success=False)]
        if self._category == "spot" and len(names) > MOST_AT_ONCE:
            return [self._answer(asked, f"args size >{MOST_AT_ONCE}", success=False)]
        if len(self.topics) + len(names) > MAX_TOPICS:
            return [self._answer(asked, f"error:more than {MAX_TOPICS} topics", success=False)]
        topics = {name: self._topic(name) for name in names}
        if unknown := [name for name, topic in topics.items() if topic is None]:
            reason = f"error:handler not found,topic:{unknown[0][:100]}"
            return [self._answer(asked, reason, success=False)]
        known = [topic for topic in topics.values() if topic is not None]
        self.topics.update(dict.fromkeys(known, asked.get("req_id", "")))
        return [self._answer(asked)]

    def refuse(self, topic: Topic, reason: str, now: float) -> Any:
        asked = {"op": "subscribe", "req_id": self.topics.pop(topic)}
        return self._answer(asked, f"error:handler not found,topic:{topic.name}: {reason}", success=False)

    def encode(self, update: Update) -> Any:
        now = milliseconds(update.at)
        market = update.topic.name.rpartition(".")[2]
        envelope = {"topic": update.topic.name, "type": "snapshot", "ts": now}
        if update.topic.timeframe is None:
            trades = [
                {
                    "T": milliseconds(trade.at),
                    "s": market,
                    "S": trade.side.capitalize(),
                    "v": text(trade.amount),
                    "p": text(trade.price),
                    "L": "PlusTick",
                    "i": str(trade.number),
                    "BT": False,
                }
                for trade in update.trades
            ]
            return {**envelope, "data": trades}
        candles = [
            {
                "start": candle.ts * 1000,
                "end": candle.end * 1000 - 1,
                "interval": update.topic.name.split(".")[1],
                "open": text(candle.open),
                "close": text(candle.close),
                "high": text(candle.high),
                "low": text(candle.low),
                "volume": text(candle.volume),
                "turnover": text(candle.volume * candle.close),
                "confirm": candle.is_closed,
                "timestamp": now,
            }
            for candle in update.candles
        ]
        return {**envelope, "data": candles}

    def _topic(self, name: str) -> Topic | None:
        frame: Timeframe | None = None
        match name.split("."):
            case ["kline", interval, market] if interval in INTERVALS:
                frame = Timeframe(INTERVALS[interval])
            case ["publicTrade", market]:
                pass
            case _:
                return None
        known = self._markets.get(market)
        if known is None or not self._data.is_streamed(known.symbol, frame):
            return None
        return Topic(name, known.symbol, frame)

    def _answer(self, asked: Any, reason: str = "", *, success: bool = True) -> Any:
        return {
            "success": success,
            "ret_msg": reason,
            "conn_id": _CONNECTION,
            "req_id": str(asked.get("req_id", ""))[:64],
            "op": str(asked.get("op", ""))[:64],
        }
