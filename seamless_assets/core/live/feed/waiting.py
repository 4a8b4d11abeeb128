"""Updates of a stream that wait to be judged, while something else is done about those before them."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

from seamless_assets.core.calendar.timeframe import Timeframe
from seamless_assets.core.live.feed.update import CandleUpdate


class WaitingUpdates:
    """Updates of one node in the order in which they came.

    When they did is in seconds of any clock that nobody sets. A mark that comes up to `error` seconds before
    the exchange's clock has closed its bar waits for that; one that comes earlier is judged by that clock as
    it was then, however long it waits.
    """

    def __init__(self, timeframe: Timeframe, error: float) -> None:
        self._frame, self._error = timeframe, error
        self._updates: deque[tuple[CandleUpdate, float]] = deque()
        self.held_until: float | None = None
        """When the mark is judged that waits for the clock."""

    def __len__(self) -> int:
        return len(self._updates)

    def __iter__(self) -> Iterator[CandleUpdate]:
        return (update for update, _ in self._updates)

    def append(self, update: CandleUpdate, came_at: float) -> None:
        """Let one wait."""
        self._updates.append((update, came_at))

    def clear(self) -> None:
        """Forget them all."""
        self._updates.clear()
        self.held_until = None

    def due(self, now: float, at: float) -> Iterator[tuple[CandleUpdate, float]]:
        """Take those that can be judged, each with the time of the exchange that it is judged by.

        It is `now` by the exchange's clock, and `at` by that which tells when they came.
        """
        self.held_until = None
        while self._updates:
            update, came_at = self._updates[0]
            end = self._frame.shift(update.ts, 1)
            is_early = update.is_closed is True and end - (now - (at - came_at)) > self._error
            if update.is_closed and not is_early and now < end:
                self.held_until = float(end)
                return
            self._updates.popleft()
            yield update, now - (at - came_at) if is_early else now
