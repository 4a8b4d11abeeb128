"""What a stream says of a candle."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from seamless_assets.core.calendar.timeframe import Timeframe

if TYPE_CHECKING:
    from seamless_assets.core.live.events import Values

Streamed = Literal["candles", "trades"]
"""What an exchange streams that candles are had of: it sends them, or its trades are put together."""


@dataclass(frozen=True, slots=True)
class CandleUpdate:
    """The candle that opens at `ts` (epoch seconds), as it stood when the message was sent.

    `connection` numbers the connections of the source in the order in which they were made, `message` all of
    its messages; rows that came in one message share its number. `is_closed`: whether the
    exchange marks the candle as final; None where it marks none.
    """

    ts: int
    values: Values
    connection: int
    message: int
    is_closed: bool | None = None

    @property
    def is_sound(self) -> bool:
        """Whether such a candle can be: finite numbers, prices above 0, high and low around the others."""
        o, high, low, c, volume = self.values
        if not all(map(math.isfinite, self.values)):
            return False
        return 0 < low <= min(o, c) and max(o, c) <= high and volume >= 0

    def ahead_of(self, now: float, frame: Timeframe) -> float:
        """By how many seconds the exchange's clock must be ahead of `now` for this to be right."""
        return (frame.shift(self.ts, 1) if self.is_closed else self.ts) - now


AtOnce = Callable[[CandleUpdate], bool]
"""What is shown each update in the moment in which it comes, and says whether that was all."""


def never(_: CandleUpdate) -> bool:
    """Take none at once."""
    return False
