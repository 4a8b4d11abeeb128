"""The local exchange's clock: the real one until it is set."""

from __future__ import annotations

import time
from numbers import Real

from seamless_assets.core.bars.epochs import SECONDS_LIMIT
from seamless_assets.errors import InvalidInput


class SandboxClock:
    """Epoch seconds; `set` stops it at an instant, `release` lets it follow real time again."""

    def __init__(self, now: float | None = None) -> None:
        self._fixed: float | None = None
        self._ahead = 0.0
        if now is not None:
            self.set(now)

    def now(self) -> float:
        """Epoch seconds."""
        return time.time() + self._ahead if self._fixed is None else self._fixed

    def run_ahead(self, seconds: float) -> None:
        """Run that far before real time; behind it, if negative."""
        self._fixed, self._ahead = None, seconds

    def set(self, now: float) -> None:
        """Stop at `now`, epoch seconds. Raises `InvalidInput` for what is no time of 1970 to 2099."""
        if isinstance(now, bool) or not isinstance(now, Real) or not 0 <= now <= SECONDS_LIMIT:
            raise InvalidInput(f"now is {now!r}; give epoch seconds, or null for real time", value=now)
        self._fixed = float(now)

    def release(self) -> None:
        """Follow real time."""
        self._fixed, self._ahead = None, 0.0
