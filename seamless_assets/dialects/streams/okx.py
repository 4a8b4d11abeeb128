"""okx: channels `candle1m` at the business address and `trades` at the public one, a closed flag.

The newest candle comes as soon as it is subscribed to. Pings are the text `ping`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from seamless_assets.core.calendar.timeframe import Timeframe
from seamless_assets.dialects.base import Query, by_name, spot, swaps, text
from seamless_assets.dialects.market_data import Listings, Market
from seamless_assets.dialects.okx import BARS, market_name, writer_of
from seamless_assets.dialects.streams.base import (
    MAX_TOPICS,
    Candle,
    StreamProtocol,
    StreamRoute,
    Topic,
    Update,
    milliseconds,
    parsed,
    without,
)

_CONNECTION = "a4d3ae55"
_CANDLES = {f"candle{name}": frame for name, frame in BARS.items()}


def streams(data: Listings) -> list[StreamRoute]:
    """Addresses of candles (`business`) and of trades (`public`) below `/ws/v5`."""
    markets = by_name([*spot(data), *swaps(data)], market_name)
    return [
        StreamRoute("okx", "/ws/v5/business", partial(_Okx, data, markets, _CANDLES)),
        StreamRoute("okx", "/ws/v5/public", partial(_Okx, data, markets, {"trades": None})),
    ]


class _Okx(StreamProtocol):
    def __init__(
        self,
        data: Listings,
        markets: dict[str, Market],
        channels: dict[str, str] | dict[str, None],
        _address: Query,
    ) -> None:
        super().__init__()
        self._data, self._markets, self._channels = data, markets, channels

    def receive(self, text: str, now: float) -> list[Any]:
        if text == "ping":
            return ["pong"]
        asked = parsed(text)
        asked = asked if isinstance(asked, dict) else {}
        listed = asked.get("args")
        arguments = listed if isinstance(listed, list) else []
        if asked.get("op") not in ("subscribe", "unsubscribe") or not arguments:
            return [_error("60012", f"Illegal request: {text[:200]}")]
        return [self._turn(asked["op"], argument) for argument in arguments]

    def snapshot_rows(self, topic: Topic) -> int:
        return 0 if topic.timeframe is None else 1

    def refuse(self, topic: Topic, reason: str, now: float) -> Any:
        del self.topics[topic]
        channel, _, market = topic.name.partition(":")
        return _no_channel(channel, market, reason)

    def encode(self, update: Update) -> Any:
        channel, _, market = update.topic.name.partition(":")
        argument = {"channel": channel, "instId": market}
        if update.topic.timeframe is not None:
            known = self._markets[market]
            write = writer_of(known, self._data.known(known.symbol))
            return {"arg": argument, "data": [_row(write, candle) for candle in update.candles]}
        trades = [
            {
                "instId": market,
                "tradeId": str(trade.number),
                "px": text(trade.price),
                "sz": text(trade.amount),
                "side": trade.side,
                "ts": str(milliseconds(trade.at)),
                "count": "1",
            }
            for trade in update.trades
        ]
        return {"arg": argument, "data": trades}

    def _turn(self, operation: str, argument: Any) -> Any:
        """Follow one channel of one market, or follow it no more."""
        channel, name = _named(argument, "channel"), _named(argument, "instId")
        market = self._markets.get(name)
        frame = self._channels.get(channel)
        timeframe = None if frame is None else Timeframe(frame)
        is_known = market is not None and channel in self._channels
        if market is None or not is_known or not self._data.is_streamed(market.symbol, timeframe):
            advice = "Please use the correct URL, channel and parameters referring to API document."
            return _no_channel(channel, name, advice)
        if operation == "unsubscribe":
            without(self.topics, [f"{channel}:{name}"])
        elif len(self.topics) >= MAX_TOPICS:
            return _error("60014", f"Requests too frequent: more than {MAX_TOPICS} channels")
        else:
            self.topics[Topic(f"{channel}:{name}", market.symbol, timeframe)] = None
        return {
            "event": operation,
            "arg": {"channel": channel, "instId": name},
            "connId": _CONNECTION,
        }


def _named(argument: Any, key: str) -> str:
    value = argument.get(key) if isinstance(argument, dict) else None
    return value if isinstance(value, str) else ""


def _row(write: Callable[..., tuple[str, ...]], candle: Candle) -> list[str]:
    values = (candle.open, candle.high, candle.low, candle.close, candle.volume)
    return [*write(candle.ts, *values), "1" if candle.is_closed else "0"]


def _no_channel(channel: str, market: str, detail: str) -> Any:
    said = f"Wrong URL or channel:{channel[:64]},instId:{market[:64]} doesn't exist. {detail}"
    return _error("60018", said)


def _error(code: str, reason: str) -> Any:
    return {"event": "error", "code": code, "msg": reason, "connId": _CONNECTION}
