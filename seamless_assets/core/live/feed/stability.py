"""Whether a stream is stable enough to wait for, or has to cool down while bars are asked for over REST."""

from __future__ import annotations

from collections import deque

FAULTS = 3
WINDOW_S = 600.0
"""So many faults within so many seconds, and a stream cools down."""
FIRST_S = 60.0
LONGEST_S = 1_800.0
"""How long: doubled each time, up to this."""
CALM_S = 3_600.0
"""After so long without a fault the next time is short again."""
SAME_S = 5.0
"""Faults that lie closer together are one: many nodes tell of the same connection."""


class Stability:
    """Counts the faults of one exchange's stream. Times are seconds of a clock that nobody sets."""

    def __init__(self) -> None:
        self._faults: deque[float] = deque(maxlen=FAULTS)
        self._last_fault = -SAME_S
        self._length = FIRST_S
        self.cools_until = 0.0

    def is_cooling(self, now: float) -> bool:
        """Whether the stream is not to be used."""
        return now < self.cools_until

    def fault(self, now: float) -> bool:
        """Count a fault; whether the stream begins to cool down for it."""
        if now - self._last_fault < SAME_S or self.is_cooling(now):
            return False
        if now - self._last_fault > CALM_S:
            self._length = FIRST_S
        self._last_fault = now
        self._faults.append(now)
        if len(self._faults) < FAULTS or now - self._faults[0] > WINDOW_S:
            return False
        self.cools_until = now + self._length
        self._length = min(2 * self._length, LONGEST_S)
        self._faults.clear()
        return True
