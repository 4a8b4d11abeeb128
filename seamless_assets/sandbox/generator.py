"""Made-up markets: seeded, endless, the same at every look, and quick to enter anywhere.

The price is a sum of smooth noises of several lengths, so any minute is computed without walking there.
Coarser bars are exact aggregates of the one-minute ones.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence

import numpy as np

from seamless_assets.core.bars.sorted_sets import require_ascending
from seamless_assets.core.calendar.timeframe import Timeframe
from seamless_assets.dialects.market_data import CANDLE
from seamless_assets.sandbox.market import Market

MINUTE = 60
TRADES_IN_MINUTE = 4
BAR = CANDLE
_OCTAVES = ((43_200, 0.35), (4_320, 0.12), (720, 0.04), (97, 0.012), (13, 0.004), (1, 0.0008))
_PERIOD = 30 * 1440
"""Minutes between two outages."""


class Generator:
    """Bars of made-up markets. `outage_minutes` of every 30 days all symbols lack the same minutes."""

    def __init__(self, seed: int = 7, *, outage_minutes: int = 20, correction_seconds: float = 90) -> None:
        self.seed = seed
        self.outage_minutes = outage_minutes
        self.correction_seconds = correction_seconds

    def never_corrected(self) -> Generator:
        """The same markets, whose bars stay as they were known at their close."""
        return Generator(
            self.seed,
            outage_minutes=self.outage_minutes,
            correction_seconds=math.inf if self.correction_seconds > 0 else 0,
        )

    def minutes(self, market: Market, start: int, end: int, now: float) -> np.ndarray:
        """One-minute bars that open in `[start, end)` and have opened by `now`, as a `BAR` array."""
        first = -(-max(start, market.listed) // MINUTE)
        index = np.arange(first, min(-(-end // MINUTE), int(now // MINUTE) + 1), dtype=np.int64)
        key = self._key(market.symbol)
        index = index[_uniform(index, key + 1) >= market.quiet]
        index = index[~self._outage(index)]
        bars = np.empty(len(index), dtype=BAR)
        opens, closes = self._price(market, key, index)
        wick = 1 + 0.0006 * np.stack([_uniform(index, key + 2), _uniform(index, key + 3)])
        bars["ts"] = index * MINUTE
        bars["open"], bars["close"] = opens, closes
        bars["high"] = np.maximum(opens, closes) * wick[0]
        bars["low"] = np.minimum(opens, closes) / wick[1]
        bars["volume"] = np.round(1e-6 - np.log1p(-_uniform(index, key + 4)) * 1e5 / market.price, 6)
        self._before_correction(bars, now)
        return _rounded(bars, market.places)

    def _before_correction(self, bars: np.ndarray, now: float) -> None:
        """Shortly after a bar closes an exchange still counts late trades: the volume is smaller at first."""
        late = bars["ts"] + MINUTE + self.correction_seconds > now
        bars["volume"][late] = np.round(bars["volume"][late] * 0.97, 7)

    def _outage(self, index: np.ndarray) -> np.ndarray:
        where = _uniform(index // _PERIOD, self.seed) * (_PERIOD - self.outage_minutes)
        into = index % _PERIOD - where.astype(np.int64)
        return (into >= 0) & (into < self.outage_minutes)

    def _price(self, market: Market, key: int, index: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Where the price is when each of the minutes opens and closes; one opens where another closed."""
        if not len(index):
            return np.empty(0), np.empty(0)
        every = np.arange(index[0], index[-1] + 2)
        drift = np.zeros(len(every))
        for octave, (length, size) in enumerate(_OCTAVES):
            drift += size * _smooth_noise(every, length, key + 10 + octave)
        price: np.ndarray = market.price * np.exp(drift)
        return price[index - index[0]], price[index - index[0] + 1]

    def _key(self, symbol: str) -> int:
        digest = hashlib.sha256(f"{self.seed}:{symbol}".encode()).digest()
        return int.from_bytes(digest[:7], "big")


def aggregate(minutes: np.ndarray, timeframe: Timeframe) -> np.ndarray:
    """Coarser bars of one-minute bars (or any finer ones) that ascend by `ts`, a `BAR` array."""
    if len(minutes) == 0:
        return minutes
    require_ascending(minutes["ts"], "bars to be joined")
    opens = _opens(minutes["ts"], timeframe)
    edges = np.flatnonzero(np.append(True, opens[1:] != opens[:-1]))
    bars = np.empty(len(edges), dtype=BAR)
    bars["ts"] = opens[edges]
    bars["open"] = minutes["open"][edges]
    bars["close"] = minutes["close"][np.append(edges[1:], len(minutes)) - 1]
    bars["high"] = np.maximum.reduceat(minutes["high"], edges)
    bars["low"] = np.minimum.reduceat(minutes["low"], edges)
    bars["volume"] = np.round(np.add.reduceat(minutes["volume"], edges), 8)
    return bars


def trades_of(bars: np.ndarray, step: int = MINUTE) -> list[tuple[float, float, float, str]]:
    """Trades `(time in s, price, amount, side)` that make exactly these bars: open, high, low, close."""
    trades: list[tuple[float, float, float, str]] = []
    for bar in bars:
        part = round(float(bar["volume"]) / TRADES_IN_MINUTE, 8)
        last = round(float(bar["volume"]) - 3 * part, 8)
        times: Sequence[float] = [float(bar["ts"]) + step * share for share in (0.02, 0.3, 0.6, 0.98)]
        prices = (bar["open"], bar["high"], bar["low"], bar["close"])
        for at, price, amount, side in zip(
            times, prices, (part, part, part, last), ("buy", "buy", "sell", "sell"), strict=True
        ):
            trades.append((at, float(price), amount, side))
    return trades


def _opens(ts: np.ndarray, timeframe: Timeframe) -> np.ndarray:
    if timeframe.seconds is None:
        days, at = np.unique(ts // 86_400, return_inverse=True)
        return np.array([timeframe.floor(int(day) * 86_400) for day in days], dtype=np.int64)[at]
    anchor = timeframe.floor(0)
    opens: np.ndarray = (ts - anchor) // timeframe.seconds * timeframe.seconds + anchor
    return opens


def _smooth_noise(index: np.ndarray, length: int, key: int) -> np.ndarray:
    """Noise at indices that ascend, between the ends of cells so long."""
    cell = index // length
    into = (index - cell * length) / length
    ends = _uniform(np.arange(cell[0], cell[-1] + 2), key) * 2 - 1
    left, right = ends[cell - cell[0]], ends[cell - cell[0] + 1]
    eased = into * into * (3 - 2 * into)
    noise: np.ndarray = left + (right - left) * eased
    return noise


def _uniform(index: np.ndarray, key: int) -> np.ndarray:
    """Numbers in [0, 1) that depend on index and key alone (splitmix64)."""
    with np.errstate(over="ignore"):
        x = index.astype(np.uint64) + np.uint64(key % 2**64) * np.uint64(0x9E3779B97F4A7C15)
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        x ^= x >> np.uint64(31)
    uniform: np.ndarray = (x >> np.uint64(11)).astype(np.float64) / 2**53
    return uniform


def _rounded(bars: np.ndarray, places: int) -> np.ndarray:
    """Prices with so many decimals, as exchanges quote them; rounding keeps their order."""
    for name in ("open", "high", "low", "close"):
        bars[name] = np.round(bars[name], places)
    return bars
