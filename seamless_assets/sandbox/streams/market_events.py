"""What happens on the market, minute by minute: trades, the candles they form, and the closes.

Everything is as it was known at its own time, so that no correction comes in advance.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from cachetools import LRUCache

from seamless_assets.core.calendar.timeframe import Timeframe
from seamless_assets.dialects.streams.base import Candle, Topic, Trade, Update
from seamless_assets.sandbox.book import ONE_MINUTE, Book
from seamless_assets.sandbox.generator import MINUTE, trades_of
from seamless_assets.sandbox.market import Market

HOUR = 3_600
MAX_HOURS = 4_096
"""As many hours of minutes of made-up markets are remembered."""
TRADES_OF_BAR = 4
"""As many trades make up a minute that was made up."""


class MarketEvents:
    """Updates of topics from a book. Instants are epoch seconds; minutes are those that begin at one."""

    def __init__(self, book: Book) -> None:
        self._book = book
        self._hours: LRUCache[tuple[Market, int], dict[int, np.void]] = LRUCache(MAX_HOURS)

    def close(self, topic: Topic, at: int) -> Update | None:
        """The candle that closed at a whole minute; of trades the minute itself. None where nobody traded."""
        frame = topic.timeframe or ONE_MINUTE
        opened = self._open(topic.symbol, frame, at - 1)
        if self._end(topic.symbol, frame, opened) != at:
            return None
        candle = self._first_known(topic, opened, at)
        return None if candle is None else Update(topic, float(at), candles=(candle,))

    def corrected(self, topic: Topic, opened: int, at: float) -> Update | None:
        """A closed candle as it is known at `at`; of trades one for what the minute lacked, if it did."""
        now_known = self._candle(topic, opened, at)
        if now_known is None:
            return None
        if topic.timeframe is not None:
            return Update(topic, at, candles=(now_known,))
        first = self._candle(topic, opened, float(opened + MINUTE))
        lacked = round(now_known.volume - (first.volume if first else 0.0), 8)
        if lacked <= 0:
            return None
        late = Trade(opened + 0.99 * MINUTE, now_known.close, lacked, "sell")
        return Update(topic, at, trades=(late,))

    def trading(self, topic: Topic, minute: int) -> list[Update]:
        """What follows from the trades of `[minute, minute + 60)`: them, or the forming candle after each."""
        if topic.timeframe is None:
            return [Update(topic, trade.at, trades=(trade,)) for trade in self._trades(topic.symbol, minute)]
        return list(self._forming(topic, topic.timeframe, minute))

    def latest(self, topic: Topic, at: float, rows: int) -> Update | None:
        """The last `rows` trades, or candles with the forming one, as of `at`; None where there is none."""
        minute = int(at) // MINUTE * MINUTE
        if topic.timeframe is None:
            begin = int(at - HOUR) // MINUTE * MINUTE
            trades = [t for m in range(begin, minute + 1, MINUTE) for t in self._trades(topic.symbol, m)]
            kept = tuple(trade for trade in trades if trade.at <= at)[-rows:]
            return Update(topic, at, trades=kept, is_snapshot=True) if kept else None
        opened = self._open(topic.symbol, topic.timeframe, minute)
        formed = [update for update in self.trading(topic, minute) if update.at <= at]
        before = self._so_far(topic, topic.timeframe, opened, minute)
        last = formed[-1].candles if formed else (before,) if before else ()
        view = self._as_of(at, topic.symbol)
        closed = view.newest(topic.symbol, topic.timeframe, opened, rows)
        candles = tuple(self._made(topic, row, is_closed=True) for row in closed if row["ts"] < opened)
        kept_candles = (*candles, *last)[-rows:]
        return Update(topic, at, candles=kept_candles, is_snapshot=True) if kept_candles else None

    def stale(self, topic: Topic, at: float, bars: int) -> Update | None:
        """What `latest` would have said `bars` bars ago, in the middle of one."""
        frame = topic.timeframe or ONE_MINUTE
        length = frame.approximate_seconds
        opened = self._open(topic.symbol, frame, max(0, int(at) - bars * length))
        return self.latest(topic, opened + length / 2, 1)

    def _forming(self, topic: Topic, frame: Timeframe, minute: int) -> Iterator[Update]:
        opened = self._open(topic.symbol, frame, minute)
        candle = self._so_far(topic, frame, opened, minute)
        end = self._end(topic.symbol, frame, opened)
        for trade in self._ticks(topic, frame, opened, minute):
            if trade.at >= end:
                # A bar that begins within this minute.
                opened, candle = end, None
                end = self._end(topic.symbol, frame, opened)
            candle = _after(candle, trade, opened, end)
            yield Update(topic, trade.at, candles=(candle,))

    def _so_far(self, topic: Topic, frame: Timeframe, opened: int, minute: int) -> Candle | None:
        """The candle of the minutes before one, as known when that is over; None where it has no trade."""
        if opened >= minute:
            return None
        end = self._end(topic.symbol, frame, opened)
        if self._is_coarse(topic.symbol):
            candle = None
            for trade in self._whole(topic, frame, opened):
                if trade.at < minute:
                    candle = _after(candle, trade, opened, end)
            return candle
        minutes = self._as_of(minute + MINUTE, topic.symbol).candles(topic.symbol, ONE_MINUTE, opened, minute)
        if len(minutes) == 0:
            return None
        return Candle(
            opened,
            end,
            float(minutes["open"][0]),
            float(minutes["high"].max()),
            float(minutes["low"].min()),
            float(minutes["close"][-1]),
            round(float(minutes["volume"].sum()), 8),
            TRADES_OF_BAR * len(minutes),
            is_closed=False,
        )

    def _ticks(self, topic: Topic, frame: Timeframe, opened: int, minute: int) -> list[Trade]:
        """The trades that form a candle within a minute."""
        if not self._is_coarse(topic.symbol):
            return self._trades(topic.symbol, minute)
        return [trade for trade in self._whole(topic, frame, opened) if minute <= trade.at < minute + MINUTE]

    def _whole(self, topic: Topic, frame: Timeframe, opened: int) -> list[Trade]:
        """Trades that make up a whole candle of a series that no minutes were recorded of."""
        length = self._end(topic.symbol, frame, opened) - opened
        bars = self._as_of(opened + length, topic.symbol).candles(topic.symbol, frame, opened, opened + 1)
        return [Trade(*trade) for trade in trades_of(bars, length)]

    def _trades(self, symbol: str, minute: int) -> list[Trade]:
        recorded = self._book.replay.trades(symbol)
        if recorded is not None:
            low, high = np.searchsorted(recorded["at"], [minute, minute + MINUTE])
            return [Trade(*row) for row in recorded[low:high].tolist()]
        bar = self._at_close(symbol, minute)
        is_traded = bar is not None and bar["volume"] > 0
        return [Trade(*trade) for trade in trades_of(np.array([bar]))] if is_traded else []

    def _at_close(self, symbol: str, minute: int) -> np.void | None:
        """A minute's bar as it is known at its close; None where nobody traded."""
        if symbol in self._book.replay.symbols:
            return self._minutes_at_close(symbol, minute, minute + MINUTE).get(minute)
        hour, market = minute // HOUR * HOUR, self._book.markets[symbol]
        known = self._hours.get((market, hour))
        if known is None:
            known = self._hours[market, hour] = self._minutes_at_close(symbol, hour, hour + HOUR)
        return known.get(minute)

    def _minutes_at_close(self, symbol: str, start: int, end: int) -> dict[int, np.void]:
        """Minutes' bars by their opens, each as it is known at its close."""
        view = self._as_of(end, symbol)
        view.generator = view.generator.never_corrected()
        # The row of zeros before a listing is nobody's candle.
        bars = view.candles(symbol, ONE_MINUTE, start, end)
        return {int(bar["ts"]): bar for bar in bars if bar["close"] > 0}

    def _as_of(self, at: float, symbol: str) -> Book:
        """The book as of an instant, with all of a symbol's past: a stream sends what is not kept, too."""
        view = self._book.as_of(at)
        market = view.markets[symbol]
        if market.retention is not None:
            view.markets = {symbol: replace(market, retention=None)}
        return view

    def _is_coarse(self, symbol: str) -> bool:
        replay = self._book.replay
        return symbol in replay.symbols and len(replay.series(symbol, ONE_MINUTE)[0]) == 0

    def _first_known(self, topic: Topic, opened: int, at: int) -> Candle | None:
        """The candle that closes at `at`."""
        if at - opened != MINUTE:
            return self._candle(topic, opened, at)
        bar = self._at_close(topic.symbol, opened)
        return None if bar is None else self._made(topic, bar, is_closed=True)

    def _candle(self, topic: Topic, opened: int, at: float) -> Candle | None:
        frame = topic.timeframe or ONE_MINUTE
        found = self._as_of(at, topic.symbol).candles(topic.symbol, frame, opened, opened + 1)
        return self._made(topic, found[0], is_closed=True) if len(found) else None

    def _made(self, topic: Topic, row: np.void, *, is_closed: bool) -> Candle:
        frame = topic.timeframe or ONE_MINUTE
        ts, open_, high, low, close, volume = row.tolist()
        end = self._end(topic.symbol, frame, ts)
        trades = TRADES_OF_BAR * max(1, (end - ts) // MINUTE)
        return Candle(ts, end, open_, high, low, close, volume, trades, is_closed)

    def _open(self, symbol: str, frame: Timeframe, at: int) -> int:
        """When the bar opened that an instant lies in, whatever the grid of the symbol."""
        offset = self._book.markets[symbol].offsets.get(str(frame), 0)
        return frame.floor(at - offset) + offset

    def _end(self, symbol: str, frame: Timeframe, opened: int) -> int:
        offset = self._book.markets[symbol].offsets.get(str(frame), 0)
        return frame.shift(opened - offset, 1) + offset


def _after(candle: Candle | None, trade: Trade, opened: int, end: int) -> Candle:
    """A forming candle after one more trade."""
    if candle is None:
        price = trade.price
        return Candle(opened, end, price, price, price, price, trade.amount, 1, is_closed=False)
    return replace(
        candle,
        high=max(candle.high, trade.price),
        low=min(candle.low, trade.price),
        close=trade.price,
        volume=round(candle.volume + trade.amount, 8),
        trades=candle.trades + 1,
    )
