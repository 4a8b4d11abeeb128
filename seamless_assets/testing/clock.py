"""Clocks that wait for nobody: one that tests turn by hand, and an event loop on virtual time."""

from __future__ import annotations

import asyncio
import math
import selectors
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, TypeVar

from seamless_assets.testing.bars import DAY, START

T = TypeVar("T")
_RESOLUTION_S = time.get_clock_info("monotonic").resolution
"""How near its time an event loop lets a timer go off."""


@dataclass
class ManualClock:
    """A clock at `time` (epoch seconds) that moves when somebody waits on it, or by `advance`.

    Who waits goes on at once, with the time moved; a wait without end lasts.
    """

    time: float = START + 10 * DAY

    def now(self) -> float:
        """Epoch seconds."""
        return self.time

    def advance(self, seconds: float) -> None:
        """Move it; backwards where `seconds` are below zero."""
        self.time += seconds

    async def sleep(self, seconds: float) -> None:
        """Let so much time pass at once."""
        if math.isinf(seconds):
            await asyncio.Event().wait()
        self.time += seconds


class Deadlock(AssertionError):
    """Every task waits for something that will never happen."""


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop that leaps to its next timer where others would wait for it; its time begins at 0.

    It waits for nothing outside itself: threads, sockets and child processes are not for it. Raises
    `Deadlock` where no timer is left and nobody can go on.
    """

    def __init__(self) -> None:
        self._leaping = _LeapingSelector()
        super().__init__(self._leaping)

    def time(self) -> float:
        """Virtual seconds since the loop was made."""
        return self._leaping.passed


class VirtualClock:
    """The clock of a `VirtualLoop`: epoch seconds from `start` on. Any `asyncio.sleep` moves it too."""

    def __init__(self, start: float = START) -> None:
        self._start = start

    def now(self) -> float:
        """Epoch seconds."""
        return self._start + asyncio.get_running_loop().time()

    async def sleep(self, seconds: float) -> None:
        """Wait on virtual time."""
        await asyncio.sleep(seconds)


def run_on_virtual_time(work: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Run `work` to its end on a `VirtualLoop` and return its result; hours of waiting take no time."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(work())


class _LeapingSelector(selectors.SelectSelector):
    """Never waits: what would have been waited for is time that has passed."""

    passed = 0.0

    def select(self, timeout: float | None = None) -> list[Any]:
        if timeout is None:
            raise Deadlock("every task waits for something that will never happen")
        if timeout > 0:
            self.passed += timeout
            # A timer is due before the time plus this: after half a year that is lost in rounding.
            if self.passed + _RESOLUTION_S == self.passed:
                self.passed = math.nextafter(self.passed, math.inf)
        return super().select(0)
