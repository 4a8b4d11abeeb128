"""The local exchange's clock: the real one until it is set."""

from __future__ import annotations

import time


class SandboxClock:
    """Epoch seconds; `set` stops it at an instant, `release` lets it follow real time again."""

    def __init__(self, now: float | None = None) -> None:
        self._fixed = now

    def now(self) -> float:
        """Epoch seconds."""
        return time.time() if self._fixed is None else self._fixed

    def set(self, now: float) -> None:
        """Stop at `now`."""
        self._fixed = float(now)

    def release(self) -> None:
        """Follow real time."""
        self._fixed = None
