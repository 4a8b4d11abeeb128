"""Timeframes and the grids that bars open on.

A grid is a row of bar opens. Fixed grids step by whole seconds from an anchor (the epoch; whole
weeks open on Monday); calendar grids step by whole months from January 1970.
"""

from __future__ import annotations

import operator
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property, total_ordering
from typing import Any, Protocol, SupportsIndex

import numpy as np

from seamless_assets.errors import InvalidTimeframe, InvalidTimestamp

WEEK = 604_800
MONDAY = 345_600
"""1970-01-05T00:00Z, the first Monday after the epoch, in epoch seconds."""

_UNIT_SECONDS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": WEEK}
_UNIT_MONTHS = {"M": 1, "y": 12}
_FORM = re.compile(r"([1-9][0-9]{0,5})([smhdwMy])", re.ASCII)


class Grid(Protocol):
    """Bar opens as a row of numbered steps."""

    def index(self, ts: int) -> int:
        """Number of the step that `ts` (epoch seconds) lies in."""

    def open(self, index: int) -> int:
        """Epoch seconds at which step `index` opens."""


@dataclass(frozen=True, slots=True)
class FixedGrid:
    """Steps of `seconds` each, counted from `anchor`."""

    seconds: int
    anchor: int

    def index(self, ts: int) -> int:
        return (ts - self.anchor) // self.seconds

    def open(self, index: int) -> int:
        return self.anchor + index * self.seconds


@dataclass(frozen=True, slots=True)
class CalendarGrid:
    """Steps of whole months, counted from January 1970, UTC."""

    months: int

    def index(self, ts: int) -> int:
        try:
            moment = datetime.fromtimestamp(ts, UTC)
        except (ValueError, OverflowError, OSError) as error:
            raise InvalidTimestamp(
                f"{ts} lies in no year of the calendar; give epoch seconds", value=ts
            ) from error
        return ((moment.year - 1970) * 12 + moment.month - 1) // self.months

    def open(self, index: int) -> int:
        year, month = divmod(index * self.months, 12)
        try:
            return int(datetime(1970 + year, month + 1, 1, tzinfo=UTC).timestamp())
        except (ValueError, OverflowError) as error:
            raise InvalidTimestamp(
                f"a bar of {self.months} months ends in the year {1970 + year}, past the calendar",
                value=index,
            ) from error


@total_ordering
@dataclass(frozen=True)
class Timeframe:
    """An exchange's name for the length of a bar: `Timeframe("1m")`, `1s` to `1y`.

    Raises `InvalidTimeframe` for anything else.
    """

    text: str

    def __post_init__(self) -> None:
        if not isinstance(self.text, str) or not _FORM.fullmatch(self.text):
            raise InvalidTimeframe(
                f"{self.text!r} is not a timeframe; write a whole number and one of "
                "s, m, h, d, w, M, y, such as 1m, 4h, 1d, 1w or 1M",
                value=self.text,
            )

    @classmethod
    def parse(cls, text: str | Timeframe) -> Timeframe:
        """The timeframe of a text; a `Timeframe` is returned as it is."""
        return text if isinstance(text, cls) else cls(text)  # type: ignore[arg-type]

    def __str__(self) -> str:
        return self.text

    def __lt__(self, other: Timeframe) -> bool:
        """Shorter bars come first."""
        if not isinstance(other, Timeframe):
            return NotImplemented
        return (self.approximate_seconds, self.text) < (other.approximate_seconds, other.text)

    @cached_property
    def seconds(self) -> int | None:
        """Length in seconds; None for months and years, which have no one length."""
        unit = _UNIT_SECONDS.get(self.text[-1])
        return None if unit is None else int(self.text[:-1]) * unit

    @property
    def is_calendar(self) -> bool:
        """Whether bars follow the calendar (months and years)."""
        return self.text[-1] in _UNIT_MONTHS

    @property
    def approximate_seconds(self) -> int:
        """Length in seconds, a month counted as 30 days; for budgets and sizes, never for grids."""
        return self.seconds or int(self.text[:-1]) * _UNIT_MONTHS[self.text[-1]] * 30 * 86_400

    @property
    def interval(self) -> Interval:
        """What an interval argument takes: seconds, or the timeframe itself where it has none."""
        return self.seconds or self

    @cached_property
    def grid(self) -> Grid:
        """The grid its bars open on."""
        if self.seconds is None:
            return CalendarGrid(int(self.text[:-1]) * _UNIT_MONTHS[self.text[-1]])
        return _fixed_grid(self.seconds)

    def floor(self, ts: int) -> int:
        """Open of the bar that holds `ts`."""
        return self.grid.open(self.grid.index(ts))

    def ceil(self, ts: int) -> int:
        """First open at or after `ts`."""
        return ceil_to(self.grid, ts)

    def shift(self, ts: int, bars: int) -> int:
        """Open `bars` steps after (before, if negative) the bar that holds `ts`."""
        return self.grid.open(self.grid.index(ts) + bars)

    def count(self, start: int, end: int) -> int:
        """Whole bars inside `[start, end)`."""
        return max(0, self.grid.index(end) - self.grid.index(self.ceil(start)))

    def opens(self, start: int, end: int) -> range | list[int]:
        """Opens of the whole bars inside `[start, end)`, ascending."""
        first = self.ceil(start)
        if self.seconds is not None:
            return range(first, first + self.count(start, end) * self.seconds, self.seconds)
        index = self.grid.index(first)
        return [self.grid.open(index + step) for step in range(self.count(start, end))]

    def opens_array(self, start: int, end: int) -> np.ndarray:
        """The same as int64."""
        opens = self.opens(start, end)
        if isinstance(opens, range):
            return np.arange(opens.start, opens.stop, opens.step, dtype=np.int64)
        return np.array(opens, dtype=np.int64)


Interval = int | Timeframe
"""A bar's length: seconds, or a `Timeframe` (which alone can say months)."""


def interval_of(interval: Any) -> Interval:
    """Seconds (or a calendar `Timeframe`) of an interval argument; raises `InvalidTimeframe`."""
    if isinstance(interval, Timeframe):
        return interval.interval
    seconds = whole_number(interval)
    if seconds is not None and seconds > 0:
        return seconds
    raise InvalidTimeframe(
        f"{interval!r} is not an interval; give a positive whole number of seconds or a Timeframe",
        value=interval,
    )


def whole_number(value: Any) -> int | None:
    """The integer that a value is; None for booleans, fractions and all else that is no integer."""
    if type(value) is int:  # what it nearly always is, and the question below is slow
        return value
    if isinstance(value, bool) or not isinstance(value, SupportsIndex):
        return None
    try:
        return operator.index(value)
    except TypeError:  # arrays and numpy's booleans promise an index and refuse it
        return None


def grid_of(interval: Any, anchor: int = 0) -> Grid:
    """The grid of an interval; a non-zero `anchor` (epoch seconds) replaces the usual one.

    Raises `InvalidTimeframe` for an anchor on a calendar grid, which has none to move.
    """
    known = interval_of(interval)
    if isinstance(known, int):
        return FixedGrid(known, anchor) if anchor else _fixed_grid(known)
    if anchor:
        raise InvalidTimeframe(
            f"{known} follows the calendar and takes no anchor; leave anchor at 0", value=known
        )
    return known.grid


def ceil_to(grid: Grid, ts: int) -> int:
    """First open of `grid` at or after `ts`."""
    index = grid.index(ts)
    opened = grid.open(index)
    return opened if opened == ts else grid.open(index + 1)


def _fixed_grid(seconds: int) -> FixedGrid:
    return FixedGrid(seconds, MONDAY if seconds % WEEK == 0 else 0)
