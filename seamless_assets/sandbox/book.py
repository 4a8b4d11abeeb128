"""The market data that all dialects serve: markets, candles and trades at the exchange's clock."""

from __future__ import annotations

from collections.abc import Iterable
from copy import copy

import numpy as np

from seamless_assets.core.bars.epochs import SECONDS_LIMIT
from seamless_assets.core.calendar.timeframe import Timeframe
from seamless_assets.errors import InvalidInput
from seamless_assets.sandbox.clock import SandboxClock
from seamless_assets.sandbox.generator import BAR, MINUTE, Generator, aggregate, trades_of
from seamless_assets.sandbox.market import DEFAULT_MARKETS, Market
from seamless_assets.sandbox.replay import Replay

MAX_TRADES = 1000
DAY = 86_400
ONE_DAY = Timeframe("1d")
ONE_MINUTE = Timeframe("1m")
LONG_S = 800 * DAY


class Book:
    """Candles and trades by symbol; recorded series go before made-up ones."""

    def __init__(
        self,
        clock: SandboxClock,
        *,
        markets: Iterable[Market] = DEFAULT_MARKETS,
        generator: Generator | None = None,
        replay: Replay | None = None,
    ) -> None:
        self.clock = clock
        self.generator = generator or Generator()
        self.replay = replay or Replay()
        self._closed_days: dict[str, np.ndarray] = {}
        self.markets = {market.symbol: market for market in markets}
        for market in self.replay.markets():
            self.markets.setdefault(market.symbol, market)
        for symbol in sorted(set(self.replay.traded) - self.markets.keys()):
            raise InvalidInput(
                f"trades of {symbol} are replayed, but it is no market; replay its bars too",
                value=symbol,
            )

    def as_of(self, now: float) -> Book:
        """The same book as its exchange knew it at epoch seconds `now`."""
        view = copy(self)
        view.clock = SandboxClock(min(max(now, 0), SECONDS_LIMIT))
        return view

    def candles(self, symbol: str, timeframe: Timeframe, start: int, end: int) -> np.ndarray:
        """Candles that open in `[start, end)`, ascending, the forming one of now included."""
        offset = self.markets[symbol].offsets.get(str(timeframe), 0)
        if offset:
            return self._off_grid(symbol, timeframe, start, end, offset)
        now, market = int(self.clock.now()), self.markets[symbol]
        first, last = (
            max(timeframe.ceil(start), self.kept_from(symbol, timeframe)),
            min(timeframe.ceil(end), now + 1),
        )
        if market.delisted is not None:
            last = min(last, timeframe.ceil(market.delisted))
        if first >= last:
            return np.empty(0, dtype=BAR)
        if symbol in self.replay.symbols:
            series, is_exact = self.replay.series(symbol, timeframe)
            reach = last if is_exact else min(timeframe.ceil(last), now + 1)
            low, high = np.searchsorted(series["ts"], [first, reach])
            return series[low:high] if is_exact else aggregate(series[low:high], timeframe)
        is_long = timeframe.approximate_seconds % DAY == 0 and last - first > LONG_S
        if is_long and market.delisted is None:
            days = self._days(market)
            low, high = np.searchsorted(days["ts"], [first, timeframe.ceil(last)])
            return aggregate(days[low:high], timeframe)
        minutes = self.generator.minutes(market, first, timeframe.ceil(last), self.clock.now())
        if len(minutes) == 0 and market.has_zero_row and first < market.listed:
            return np.array([(first, 0.0, 0.0, 0.0, 0.0, 0.0)], dtype=BAR)
        return minutes if timeframe.seconds == MINUTE else aggregate(minutes, timeframe)

    def _off_grid(self, symbol: str, timeframe: Timeframe, start: int, end: int, offset: int) -> np.ndarray:
        """The same for bars that open `offset` seconds after the grid, made of the minutes they hold."""
        opened = int(self.clock.now()) - offset + 1
        first, last = timeframe.ceil(start - offset), min(timeframe.ceil(end - offset), opened)
        if first >= last:
            return np.empty(0, dtype=BAR)
        minutes = self.candles(symbol, ONE_MINUTE, first + offset, timeframe.ceil(last) + offset).copy()
        minutes["ts"] -= offset
        bars = aggregate(minutes, timeframe)
        bars["ts"] += offset
        return bars

    def kept_from(self, symbol: str, timeframe: Timeframe) -> int:
        """Open of the oldest bar that the venue still keeps; 0 where it keeps all."""
        kept = self.markets[symbol].retention
        return 0 if kept is None else timeframe.shift(int(self.clock.now()), 1 - kept)

    def is_too_old(self, symbol: str, timeframe: Timeframe, start: int) -> bool:
        """Whether the venue refuses a page that begins at `start` for its age."""
        return self.markets[symbol].too_old == "refused" and start < self.kept_from(symbol, timeframe)

    def known(self, symbol: str) -> None:
        """None: what the list of markets says of it follows from its terms."""

    def is_refused(self, symbol: str) -> bool:
        """Whether the venue knows a symbol no more, not even its past."""
        market = self.markets[symbol]
        return market.afterwards == "refused" and market.is_halted(self.clock.now())

    def is_streamed(self, symbol: str, timeframe: Timeframe | None) -> bool:
        """Whether its candles and trades are streamed: for as long as the venue knows it."""
        return not self.is_refused(symbol)

    def is_listed(self, symbol: str) -> bool:
        """Whether the venue's list of markets names a symbol now."""
        market = self.markets[symbol]
        return market.afterwards == "halted" or not market.is_halted(self.clock.now())

    def _days(self, market: Market) -> np.ndarray:
        """Daily bars from the listing to now; those long closed are made once."""
        now = self.clock.now()
        settled = int(now) // DAY * DAY - DAY
        held = self._closed_days.get(market.symbol, np.empty(0, dtype=BAR))
        made_until = int(held["ts"][-1]) + DAY if len(held) else market.listed
        if made_until < settled:
            more = self.generator.minutes(market, made_until, settled, now)
            held = self._closed_days[market.symbol] = np.concatenate((held, aggregate(more, ONE_DAY)))
        recent = self.generator.minutes(market, settled, int(now) + 1, now)
        return np.concatenate((held[held["ts"] < settled], aggregate(recent, ONE_DAY)))

    def newest(self, symbol: str, timeframe: Timeframe, end: int, count: int) -> np.ndarray:
        """The candles of the last `count` opens before `end`; fewer where nobody traded."""
        start = timeframe.shift(min(end, int(self.clock.now()) + 1), -count - 1)
        return self.candles(symbol, timeframe, start, end)[-count:]

    def trades(
        self, symbol: str, start: float, end: float, limit: int
    ) -> list[tuple[float, float, float, str]]:
        """The first `limit` trades in `[start, end)`."""
        recorded = self.replay.trades(symbol)
        if recorded is not None:
            low, high = np.searchsorted(recorded["at"], [start, min(end, self.clock.now() + 1)])
            return [tuple(row) for row in recorded[low:high][: min(limit, MAX_TRADES)].tolist()]
        most, reach = min(limit, MAX_TRADES), min(end, self.clock.now() + 1)
        first = max(int(start), self.markets[symbol].listed) // MINUTE * MINUTE
        span, found = DAY, list[tuple[float, float, float, str]]()
        # A day holds enough for a page of most markets; a quiet one is walked in ever longer steps.
        while first < reach and len(found) < most:
            last = min(first + span, int(reach) + 1)
            made = trades_of(self.candles(symbol, ONE_MINUTE, first, last)[: most // 4 + 2])
            found += [trade for trade in made if start <= trade[0] < end]
            first, span = last, 2 * span
        return found[:most]
