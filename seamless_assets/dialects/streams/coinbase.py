"""coinbase (Advanced Trade): the channel `market_trades`, a snapshot first, newest first, all numbered.

Candles are streamed of five minutes alone, and not by ccxt; they are made of trades.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from seamless_assets.dialects.base import by_name, spot, text
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
_CHANNEL = "market_trades"


def streams(data: Listings) -> list[StreamRoute]:
    """The root, `/`."""
    return [StreamRoute("coinbase", "/", partial(_Coinbase, data, by_name(spot(data), market_name)))]


class _Coinbase(StreamProtocol):
    has_closed_flag = False

    def __init__(self, data: Listings, markets: dict[str, Market]) -> None:
        super().__init__()
        self._data, self._markets = data, markets
        self._sequence = -1

    def receive(self, text: str, now: float) -> list[Any]:
        asked = parsed(text)
        asked = asked if isinstance(asked, dict) else {}
        if asked.get("type") not in ("subscribe", "unsubscribe"):
            return [_error("invalid message: type must be subscribe or unsubscribe")]
        if asked.get("channel") != _CHANNEL:
            return [_error(f"channel {str(asked.get('channel'))[:64]} is not supported")]
        names = names_of(asked.get("product_ids"))
        known = {name: self._markets.get(name) for name in names}
        if unknown := [n for n, m in known.items() if m is None or self._data.is_refused(m.symbol)]:
            return [_error(f"failed to subscribe: {unknown[0][:64]} is not a valid product")]
        if not names or len(self.topics) + len(names) > MAX_TOPICS:
            return [_error(f"give 1 to {MAX_TOPICS} product_ids")]
        if asked["type"] == "unsubscribe":
            without(self.topics, names)
        else:
            self.topics.update({Topic(name, market.symbol): None for name, market in known.items() if market})
        followed = [topic.name for topic in self.topics]
        return [
            self._numbered("subscriptions", now, {"subscriptions": {_CHANNEL: followed} if followed else {}})
        ]

    def snapshot_rows(self, topic: Topic) -> int:
        return SNAPSHOT_TRADES

    def encode(self, update: Update) -> Any:
        trades = [
            {
                "trade_id": f"{trade.at:.3f}",
                "product_id": update.topic.name,
                "price": text(trade.price),
                "size": text(trade.amount),
                "side": trade.side.upper(),
                "time": iso(trade.at),
            }
            for trade in reversed(update.trades)
        ]
        kind = "snapshot" if update.is_snapshot else "update"
        return self._numbered(_CHANNEL, update.at, {"type": kind, "trades": trades})

    def _numbered(self, channel: str, now: float, event: Any) -> Any:
        self._sequence += 1
        return {
            "channel": channel,
            "client_id": "",
            "timestamp": iso(now),
            "sequence_num": self._sequence,
            "events": [event],
        }


def _error(reason: str) -> Any:
    return {"type": "error", "message": reason}
