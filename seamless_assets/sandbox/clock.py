"""The local exchange's clock: the real one until it is set."""

from __future__ import annotations

import time


class SandboxClock:
    """Epoch seconds; `set` stops it at an instant, `release` lets it follow real time again."""

    def __init__(self, now: float | None = None) -> None:
        self._fixed = now
        self._ahead = 0.0

    def now(self) -> float:
        """Epoch seconds."""
        return time.time() + self._ahead if self._fixed is None else self._fixed

    def run_ahead(self, seconds: float) -> None:
        """Run that far before real time; behind it, if negative."""
        self._fixed, self._ahead = None, seconds

    def set(self, now: float) -> None:
        """Stop at `now`."""
        self._fixed = float(now)

    def release(self) -> None:
        """Follow real time."""
        self._fixed, self._ahead = None, 0.0
