"""The tape: trades of one page after another, all that there were between two instants."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

import numpy as np
import pyarrow as pa

from seamless_assets.core.bars.table import empty_bars
from seamless_assets.core.bars.trades import bars_of_trades
from seamless_assets.core.calendar.segment import Segment
from seamless_assets.core.calendar.timeframe import Timeframe
from seamless_assets.core.canonical import sha256_text
from seamless_assets.core.coverage.witnesses import Trades

_Values = tuple[np.ndarray, np.ndarray, np.ndarray]


@dataclass(frozen=True, slots=True)
class TapeBars:
    """The bars of `known`, and which trades made them: `evidence` tells how many, and their SHA-256."""

    known: Segment
    bars: pa.Table
    evidence: str


@dataclass(frozen=True, slots=True)
class Tape:
    """Every trade after `start` and before `end` (epoch seconds), in the order in which they were made.

    Of `start` and `end` themselves there may be more. `parts` are its times, prices and amounts as pages
    brought them, each of the shape `(trades,)`.
    """

    start: float
    end: float
    parts: tuple[_Values, ...] = field(repr=False)

    @classmethod
    def of(cls, page: Trades) -> Tape:
        """The tape of one page that is not empty."""
        return cls(float(page.times[0]), float(page.times[-1]), (_values(page),))

    @property
    def values(self) -> _Values:
        """Its times, prices and amounts."""
        times, prices, amounts = (np.concatenate(columns) for columns in zip(*self.parts, strict=True))
        return times, prices, amounts

    @property
    def asked_next(self) -> int:
        """The whole second from which on the next page is asked for, so that it begins with the last trade.

        Whether or not an exchange sends what was traded in that very instant.
        """
        return math.ceil(self.end) - 1

    def extended(self, page: Trades) -> Tape | None:
        """The same with the trades of a page that was asked for from `asked_next` on.

        None where that page does not begin with those that this one ends with: there may be others between.
        """
        sent = tuple(values[page.times > page.asked.start] for values in _values(page))
        held = self._after(page.asked.start)
        count = len(held[0])
        if not all(np.array_equal(new[:count], old) for new, old in zip(sent, held, strict=True)):
            return None
        times, prices, amounts = (values[count:] for values in sent)
        if not len(times):
            return self
        return Tape(self.start, float(times[-1]), (*self.parts, (times, prices, amounts)))

    def _after(self, since: float) -> _Values:
        """Its trades after an instant near its end."""
        near = len(self.parts) - 1
        while near > 0 and self.parts[near][0][0] > since:
            near -= 1
        times, prices, amounts = (np.concatenate(columns) for columns in zip(*self.parts[near:], strict=True))
        is_after = times > since
        return times[is_after], prices[is_after], amounts[is_after]

    def quiet_until(self, end: float) -> Tape:
        """The same, where nobody traded from its last trade up to `end`."""
        return replace(self, end=max(self.end, end))

    def quiet_since(self, start: int) -> Tape:
        """The same, where nobody traded from `start`, a whole second, up to its first trade."""
        return replace(self, start=min(self.start, float(start - 1)))

    def bars(self, timeframe: Timeframe, window: Segment) -> TapeBars | None:
        """The bars of what it knows whole of `window` (on the grid); None where it knows no bar of it."""
        first = max(window.start, timeframe.ceil(math.floor(self.start) + 1))
        last = min(window.end, timeframe.floor(math.floor(self.end)))
        if first >= last:
            return None
        times, prices, amounts = self.values
        inside = slice(*np.searchsorted(times, [first, last]))
        times, prices, amounts = times[inside], prices[inside], amounts[inside]
        made = bars_of_trades(np.floor(times).astype(np.int64), prices, amounts, timeframe)
        stamped = np.rint(times * 1000).astype("<i8").tobytes()
        digest = sha256_text(stamped + prices.astype("<f8").tobytes() + amounts.astype("<f8").tobytes())
        return TapeBars(
            Segment(first, last), made if len(times) else empty_bars(), f"{len(times)} trades, {digest}"
        )


def _values(page: Trades) -> _Values:
    assert page.prices is not None
    assert page.amounts is not None
    return page.times, page.prices, page.amounts
