"""The local exchange's clock: the real one until it is set, faster than real if wished."""

from __future__ import annotations

import time
from collections.abc import Callable
from numbers import Real

from seamless_assets.core.bars.epochs import SECONDS_LIMIT
from seamless_assets.errors import InvalidInput

MAX_SPEED = 86_400.0
"""A day in a second."""


Listener = Callable[[float | None], None]
"""Takes where a clock was set back to; None where it was not set back."""


class SandboxClock:
    """Epoch seconds; `set` stops it at an instant, `run` lets it go on at a speed, `release` is real time."""

    def __init__(self, now: float | None = None) -> None:
        self._fixed: float | None = None
        self._ahead = 0.0
        self._run: tuple[float, float, float] | None = None
        self._listeners: list[Listener] = []
        if now is not None:
            self.set(now)

    def now(self) -> float:
        """Epoch seconds."""
        if self._fixed is not None:
            return self._fixed
        if self._run is not None:
            start, begun, speed = self._run
            return min(start + (time.monotonic() - begun) * speed, float(SECONDS_LIMIT))
        return time.time() + self._ahead

    def seconds_until(self, instant: float) -> float | None:
        """Real seconds until it shows `instant`; None while it is stopped."""
        if self._fixed is not None:
            return None
        speed = 1.0 if self._run is None else self._run[2]
        return max(0.0, instant - self.now()) / speed

    def listen(self, listener: Listener) -> Callable[[], None]:
        """Call `listener` after each setting, in the thread of who sets it; what is returned ends that."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    def run_ahead(self, seconds: float) -> None:
        """Run that far before real time; behind it, if negative."""
        self._change(ahead=seconds)

    def set(self, now: float) -> None:
        """Stop at `now`, epoch seconds. Raises `InvalidInput` for what is no time of 1970 to 2099."""
        self._change(fixed=_time(now))

    def run(self, now: float | None = None, speed: float = 1.0) -> None:
        """Go on from `now` (from the present, if None) at `speed` times real time. Raises `InvalidInput`."""
        if isinstance(speed, bool) or not isinstance(speed, Real) or not 0 < speed <= MAX_SPEED:
            raise InvalidInput(
                f"speed is {speed!r}; give a number above 0 up to {MAX_SPEED:g}, such as 60", value=speed
            )
        start = self.now() if now is None else _time(now)
        self._change(run=(start, time.monotonic(), float(speed)))

    def release(self) -> None:
        """Follow real time."""
        self._change()

    def _change(
        self,
        *,
        fixed: float | None = None,
        ahead: float = 0.0,
        run: tuple[float, float, float] | None = None,
    ) -> None:
        before = self.now()
        self._fixed, self._ahead, self._run = fixed, ahead, run
        after = self.now()
        for listener in tuple(self._listeners):
            listener(after if after < before else None)


def _time(now: float) -> float:
    if isinstance(now, bool) or not isinstance(now, Real) or not 0 <= now <= SECONDS_LIMIT:
        raise InvalidInput(f"now is {now!r}; give epoch seconds, or null for real time", value=now)
    return float(now)
