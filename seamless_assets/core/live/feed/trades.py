"""Candles of trades, for exchanges that stream no candles.

Prices and amounts are summed as the decimals that they were written as, so that a candle has just the values
that the exchange writes for it.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from seamless_assets.core.calendar.timeframe import Timeframe
from seamless_assets.core.live.feed.update import CandleUpdate

REMEMBERED = 5_000
"""Ids of trades that are known when they are sent again."""
KEPT_CANDLES = 3


@dataclass(frozen=True, slots=True)
class Trade:
    """A trade at epoch seconds `at`; `number`, where it is not empty, tells it from all others."""

    number: str
    at: float
    price: float
    amount: float


@dataclass(slots=True)
class _Candle:
    first_at: float
    last_at: float
    open: float
    high: float
    low: float
    close: float
    volume: Decimal


class TradeCandles:
    """Makes the candles of one node out of its trades, message by message."""

    def __init__(self, timeframe: Timeframe) -> None:
        self._frame = timeframe
        self._candles: dict[int, _Candle] = {}
        self._seen: dict[str, None] = {}
        self._connection = -1

    def add(self, trades: list[Trade], connection: int, message: int) -> list[CandleUpdate]:
        """The candles that a message's trades belong to, as they are after it, ascending."""
        if connection != self._connection:
            self._connection = connection
            self._candles.clear()
        touched = {self._take(trade) for trade in trades if self._is_new(trade)}
        updates = [self._update(ts, connection, message) for ts in sorted(touched)]
        for ts in sorted(self._candles)[:-KEPT_CANDLES]:
            del self._candles[ts]
        return updates

    def _is_new(self, trade: Trade) -> bool:
        if not trade.number:
            return True
        if trade.number in self._seen:
            return False
        self._seen[trade.number] = None
        if len(self._seen) > REMEMBERED:
            del self._seen[next(iter(self._seen))]
        return True

    def _take(self, trade: Trade) -> int:
        ts = self._frame.floor(int(trade.at))
        amount, price = Decimal(repr(trade.amount)), trade.price
        candle = self._candles.get(ts)
        if candle is None:
            self._candles[ts] = _Candle(trade.at, trade.at, price, price, price, price, amount)
            return ts
        if trade.at < candle.first_at:
            candle.first_at, candle.open = trade.at, price
        if trade.at >= candle.last_at:
            candle.last_at, candle.close = trade.at, price
        candle.high, candle.low = max(candle.high, price), min(candle.low, price)
        candle.volume += amount
        return ts

    def _update(self, ts: int, connection: int, message: int) -> CandleUpdate:
        candle = self._candles[ts]
        values = (candle.open, candle.high, candle.low, candle.close, float(candle.volume))
        return CandleUpdate(ts, values, connection, message)
