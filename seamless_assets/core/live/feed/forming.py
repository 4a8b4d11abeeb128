"""The candle that forms now, as a stream told it last: shown to whoever asks, and never stored."""

from __future__ import annotations

from seamless_assets.core.calendar.timeframe import Timeframe
from seamless_assets.core.live.feed.finality import AHEAD_S
from seamless_assets.core.live.feed.update import CandleUpdate, Streamed


class FormingCandle:
    """The newest state of the newest candle that one stream has told."""

    def __init__(self, timeframe: Timeframe) -> None:
        self._frame = timeframe
        self._told: CandleUpdate | None = None
        self._connection, self._first = -1, 0

    def hear(self, update: CandleUpdate, now: float, made_of: Streamed) -> None:
        """Take note of an update that came at `now`, by the exchange's clock.

        What cannot be, lies ahead, or is older than what was told, by its bar or connection, changes nothing.
        Of trades nobody knows the first candle of a connection whole.
        """
        is_aligned = self._frame.floor(update.ts) == update.ts
        if not (update.is_sound and is_aligned) or update.ts > now + AHEAD_S:
            return
        if update.connection < self._connection:
            return
        if update.connection != self._connection:
            self._connection, self._first = update.connection, update.ts
        is_whole = made_of == "candles" or update.ts > self._first
        if is_whole and (self._told is None or update.ts >= self._told.ts):
            self._told = update

    def forget(self) -> None:
        """The connection has ended: what it told goes on unheard."""
        self._told, self._connection = None, -1

    def at(self, now: float) -> CandleUpdate | None:
        """The candle that forms at `now` by the exchange's clock; None where it was not told yet."""
        told = self._told
        if told is None or told.is_closed or not told.ts <= now < self._frame.shift(told.ts, 1):
            return None
        return told
