"""Bars that are told as they come, and stored when no more of them come.

So the last one of many that close at once is told before the first one is stored.
"""

from __future__ import annotations

from collections.abc import Callable

from seamless_assets.aio.timing import call_at, monotonic

QUIET_S = 0.25
"""Told bars are stored so long after the last one of them was told."""
LONGEST_S = 2.0
"""They are stored so long after the first one was told, however many more come."""

Resume = Callable[[], None]


class Burst:
    """Whoever has told a bar waits here to store it: `resume` is called when it is time."""

    def __init__(self) -> None:
        self._waiting: list[Resume] = []
        self._first_at = self._last_at = 0.0

    def hold(self, resume: Resume) -> None:
        """A bar was told just now."""
        self._last_at = monotonic()
        if not self._waiting:
            self._first_at = self._last_at
            self._await_quiet()
        self._waiting.append(resume)

    def _await_quiet(self) -> None:
        at = min(self._last_at + QUIET_S, self._first_at + LONGEST_S)
        call_at(at, lambda: self._look(at))

    def _look(self, due: float) -> None:
        if due < min(self._last_at + QUIET_S, self._first_at + LONGEST_S):
            self._await_quiet()
            return
        waiting, self._waiting = self._waiting, []
        for resume in waiting:
            resume()
