"""An exchange's clock: asked rarely while it agrees with ours, and again once ours was set."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

CLOCK_AGE_S = 600.0
TRUSTED_SKEW_S = 5.0
SET_S = 0.1
"""Ours was set, or the machine slept, where it differs from the clock that nobody sets by so much more."""


@dataclass(frozen=True, slots=True)
class _Answer:
    """How far the exchange's clock was ahead of ours, and when that was found: on a clock that nobody sets,
    and how far ours was ahead of that one."""

    skew: float
    asked_at: float
    ours: float

    def may_be_wrong(self) -> bool:
        """Whether to ask again. A clock that is far off may stand still; ours may have been set, or slept."""
        return (
            abs(self.skew) > TRUSTED_SKEW_S
            or time.monotonic() - self.asked_at > CLOCK_AGE_S
            or abs(time.time() - time.monotonic() - self.ours) > SET_S
        )


class ExchangeClock:
    """The clock of one exchange; `ask` is a request that gives its epoch seconds."""

    def __init__(self, ask: Callable[[], Awaitable[float]]) -> None:
        self._ask = ask
        self._asking = asyncio.Lock()
        self._answer: _Answer | None = None

    @property
    def skew(self) -> float:
        """How far it is ahead of ours by the last answer, in seconds, however ours was set since; or 0."""
        known = self._answer
        return 0.0 if known is None else known.skew + known.ours + time.monotonic() - time.time()

    async def now(self) -> float:
        """Epoch seconds; at most one request, shared by those who ask meanwhile."""
        began = time.monotonic()
        async with self._asking:
            known = self._answer
            if known is None or (known.asked_at < began and known.may_be_wrong()):
                theirs = await self._ask()
                ours, asked_at = time.time(), time.monotonic()
                known = self._answer = _Answer(theirs - ours, asked_at, ours - asked_at)
        return time.time() + known.skew


def happened_within(seconds: float, then: float, now: float) -> bool:
    """Whether `then` lies at most `seconds` before `now`, both by a clock that may have been set since.

    What lies ahead of `now` was written by a clock that was wrong, and is not recent.
    """
    return now - seconds <= then <= now
