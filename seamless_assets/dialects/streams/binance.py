"""binance: streams named `btcusdt@kline_1m` and `btcusdt@trade`, a closed flag, no word when nobody trades.

An address may name what is followed from the beginning: `/ws/btcusdt@kline_1m`, and `/stream?streams=` with
several, whose messages say of which stream they are.

A stream of an unknown symbol is subscribed to without a word, and nothing comes. One of a market that is
known and not followed is refused, so that nobody waits for it.
"""

from __future__ import annotations

import re
from functools import partial
from typing import Any

from seamless_assets.core.calendar.timeframe import Timeframe
from seamless_assets.dialects.base import Query, by_name, spot, swaps
from seamless_assets.dialects.binance import FRAMES, market_name, places_of_market, turnover, written
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

_COMBINED = "/stream"
_NAME = re.compile(r"(?P<market>[^@\s]+)@(?P<channel>trade|aggTrade|kline_(?P<frame>\w+))")
_STREAMED = FRAMES[FRAMES.index("1m") :]
"""Candles of a second are not streamed."""


def streams(data: Listings) -> list[StreamRoute]:
    """Addresses of spot (`/ws`) and of linear swaps (`/market/ws` and `/public/ws`), with a number or a stream.

    For several streams there is `stream` in place of `ws`.
    """
    bases = {"": spot(data), "/market": swaps(data), "/public": swaps(data)}
    return [
        StreamRoute(
            "binance",
            f"{base}{path}",
            partial(_Binance, data, by_name(markets, market_name), path),
        )
        for base, markets in bases.items()
        for path in ("/ws", "/ws/{number}", _COMBINED)
    ]


class _Binance(StreamProtocol):
    def __init__(
        self,
        data: Listings,
        markets: dict[str, Market],
        path: str,
        address: Query,
    ) -> None:
        super().__init__()
        self._data, self._markets = data, markets
        self._is_combined, self._address = path == _COMBINED, address

    def greeting(self, now: float) -> list[Any]:
        named = self._address.get("streams") if self._is_combined else self._address.get("number")
        if self._address.get("timeUnit", "millisecond").lower() != "millisecond":
            return [_error(None, 2, "Invalid request: times are told in milliseconds here")]
        # A number tells connections apart, and follows nothing.
        if not named or named.isdecimal():
            return []
        answer = self._follow(None, named.split("/"))
        return [answer] if "error" in answer else []

    def receive(self, text: str, now: float) -> list[Any]:
        asked = parsed(text)
        if not isinstance(asked, dict) or not isinstance(asked.get("method"), str):
            return [_error(None, 2, "Invalid request: not a valid JSON object with a method")]
        number, names = asked.get("id"), names_of(asked.get("params"))
        if asked["method"] == "LIST_SUBSCRIPTIONS":
            return [{"result": [topic.name for topic in self.topics], "id": number}]
        if asked["method"] not in ("SUBSCRIBE", "UNSUBSCRIBE"):
            return [_error(number, 2, f"Invalid request: unknown method {asked['method'][:40]!r}")]
        if asked["method"] == "SUBSCRIBE":
            return [self._follow(number, names)]
        if not names or not all(_NAME.fullmatch(name) for name in names):
            return [_error(number, 2, "Invalid request: invalid stream")]
        without(self.topics, names)
        return [{"result": None, "id": number}]

    def _follow(self, number: Any, names: list[str]) -> Any:
        """Follow streams, all of them or none, and say so to the request of a number."""
        if not names or not all(_NAME.fullmatch(name) for name in names):
            return _error(number, 2, "Invalid request: invalid stream")
        if len(self.topics) + len(names) > MAX_TOPICS:
            return _error(number, 2, f"Invalid request: more than {MAX_TOPICS} streams")
        followed = {name: self._topic(name) for name in names}
        topics = [topic for topic in followed.values() if topic is not None]
        away = [topic for topic in topics if not self._data.is_streamed(topic.symbol, topic.timeframe)]
        if away:
            return _error(number, 2, f"Invalid request: stream {away[0].name[:64]} is not available")
        self.topics.update(dict.fromkeys(topics, number))
        return {"result": None, "id": number}

    def refuse(self, topic: Topic, reason: str, now: float) -> Any:
        said = f"Invalid request: stream {topic.name[:64]} is not available: {reason}"
        return _error(self.topics.pop(topic), 2, said)

    def encode(self, update: Update) -> Any:
        told = self._encoded(update)
        return {"stream": update.topic.name, "data": told} if self._is_combined else told

    def _encoded(self, update: Update) -> Any:
        market = update.topic.name.partition("@")[0].upper()
        now = milliseconds(update.at)
        if update.topic.timeframe is None:
            trade = update.trades[-1]
            is_whole = update.topic.name.endswith("@trade")
            return {
                "e": "trade" if is_whole else "aggTrade",
                "E": now,
                "s": market,
                **(
                    {"t": trade.number}
                    if is_whole
                    else {"a": trade.number, "f": trade.number, "l": trade.number}
                ),
                "p": written(trade.price),
                "q": written(trade.amount),
                "T": milliseconds(trade.at),
                "m": trade.side == "sell",
                "M": True,
            }
        candle, known = update.candles[-1], self._markets[market]
        price, amount = places = places_of_market(known, self._data.known(known.symbol))
        return {
            "e": "kline",
            "E": now,
            "s": market,
            "k": {
                "t": candle.ts * 1000,
                "T": candle.end * 1000 - 1,
                "s": market,
                "i": str(update.topic.timeframe),
                # The numbers of its first trade and of its last one; none where nobody counted them.
                "f": candle.ts * 1000 if candle.trades else -1,
                "L": candle.ts * 1000 + candle.trades - 1 if candle.trades else -1,
                "o": written(candle.open, price),
                "c": written(candle.close, price),
                "h": written(candle.high, price),
                "l": written(candle.low, price),
                "v": written(candle.volume, amount),
                "n": candle.trades,
                "x": candle.is_closed,
                "q": turnover(candle.volume, candle.close, places),
                "V": written(0.0, amount),
                "Q": turnover(0.0, candle.close, places),
                "B": "0",
            },
        }

    def _topic(self, name: str) -> Topic | None:
        """What a name means; None for a stream of which nothing ever comes."""
        found = _NAME.fullmatch(name)
        market = self._markets.get(found["market"].upper()) if found else None
        if found is None or market is None or self._data.is_refused(market.symbol):
            return None
        frame = found["frame"]
        if frame is None:
            return Topic(name, market.symbol)
        return Topic(name, market.symbol, Timeframe(frame)) if frame in _STREAMED else None


def _error(number: Any, code: int, reason: str) -> Any:
    return {"error": {"code": code, "msg": reason}, "id": number}
