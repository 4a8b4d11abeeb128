"""What a stream of bars tells: small frozen records, each with the cursor that resumes after it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from seamless_assets.core.live.cursor import Place, WrittenPlace

Source = Literal["release", "hot_store", "stream"]
"""Where a bar was read: what is released, what is known beyond it, or what is about to be stored."""
Values = tuple[float, float, float, float, float]
"""Open, high, low, close and volume."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """What all events have. Equal are events that tell the same, wherever it was read."""

    node_id: str
    place: Place | WrittenPlace = field(compare=False, repr=False)

    @property
    def cursor(self) -> str:
        """A text that resumes the stream after this event, in any process."""
        return self.place.cursor


@dataclass(frozen=True, slots=True, kw_only=True)
class _Valued(Event):
    """An event of one bar: it covers `[ts, end)` in epoch seconds. `evidence` says why it is final."""

    ts: int
    end: int
    open: float
    high: float
    low: float
    close: float
    volume: float
    source: Source = field(compare=False)
    evidence: str = field(compare=False)

    @property
    def values(self) -> Values:
        """Open, high, low, close and volume."""
        return self.open, self.high, self.low, self.close, self.volume


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar(_Valued):
    """A closed bar, told once and in its turn."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Filled(_Valued):
    """A bar that came after all, in a range that a `Gap` was told of."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Revised(_Valued):
    """Other values of a bar that was told before. `before` are those it had, `recorded_at` (epoch seconds)
    is when the correction was seen."""

    before: Values
    recorded_at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Gap(Event):
    """No bars in `[start, end)`, for `reason`: one that is proven (`no_trades`, `outage`, ...) or `missing`.

    A range whose reason changes is told again.
    """

    start: int
    end: int
    reason: str
    evidence: str = field(compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class CaughtUp(Event):
    """All that has closed until `end` was told; what follows comes as it closes. `at` in epoch seconds."""

    end: int
    at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Stale(Event):
    """The bar that opened at `end` closed `lag` seconds ago by the exchange's clock, and was not told yet.

    `at` is that clock's time in epoch seconds. A `CaughtUp` follows when it is over.
    """

    end: int
    lag: float
    at: float
    evidence: str = field(compare=False)
