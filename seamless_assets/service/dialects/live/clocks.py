"""The exchanges' clocks for the live world, asked rarely: one that goes evenly is reckoned on.

A clock that is far from ours is a local exchange's: it stands, is set, or runs faster than real time.
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from dataclasses import dataclass, field

from seamless_assets.aio.timing import monotonic
from seamless_assets.errors import CoordinationError, ExchangeError
from seamless_assets.flows.filling.clocks import TRUSTED_SKEW_S
from seamless_assets.flows.ports import Ports
from seamless_assets.pipeline.connect import Seamless

SHORTEST_AGE_S, LONGEST_AGE_S = 0.5, 60.0
"""How long a clock is reckoned on; the longer, the more often it was found to be where it was reckoned."""
TOLERANCE_S = 0.5
EVENNESS = 0.05
"""By so much of itself a rate may differ from the one before."""
FIRST_ANSWER_S, ANSWER_S = 8.0, 2.0
"""How long an answer is waited for: the first one comes after the exchange's markets were asked for."""


@dataclass
class ReckonedClock:
    """A clock by what it showed when it was asked, and the rate at which it goes."""

    shown: float | None = None
    asked_at: float = 0.0
    rate: float = 0.0
    age: float = 0.0
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    _last: float = 0.0
    """The rate that was measured last."""

    def now(self, at: float) -> float | None:
        """What it shows at `at`, by the clock that nobody sets; None where it was never heard."""
        return None if self.shown is None else self.shown + self.rate * (at - self.asked_at)

    def is_stale(self, at: float) -> bool:
        """Whether it has to be asked again."""
        return at - self.asked_at >= self.age

    def hear(self, shown: float, at: float, ours: float) -> None:
        """Take what it shows at `at`, while ours shows `ours`."""
        reckoned = self.now(at)
        is_even = reckoned is not None and abs(shown - reckoned) < TOLERANCE_S * max(1.0, self.rate)
        if abs(ours - shown) <= TRUSTED_SKEW_S:
            self.rate = 1.0
        elif not is_even or self.rate == 0:
            # One that stands may be set at any time; it runs once it went as fast twice.
            measured = self._measured(shown, at)
            self.rate = measured if abs(measured - self._last) <= EVENNESS * measured else 0.0
            self._last = measured
        is_trusted = is_even and self.rate > 0
        self.age = min(max(2 * self.age, SHORTEST_AGE_S), LONGEST_AGE_S) if is_trusted else SHORTEST_AGE_S
        self.shown, self.asked_at = shown, at

    def _measured(self, shown: float, at: float) -> float:
        if self.shown is None or at <= self.asked_at:
            return 0.0
        return max(0.0, (shown - self.shown) / (at - self.asked_at))


class ExchangeClocks:
    """The earlier of our clock and each exchange's; ours where an exchange was never heard."""

    def __init__(self, pipeline: Seamless) -> None:
        self._aio = pipeline.aio
        self._known: defaultdict[str, ReckonedClock] = defaultdict(ReckonedClock)

    async def now(self, exchange: str) -> float:
        """Epoch seconds."""
        known = self._known[exchange]
        if known.is_stale(monotonic()):
            async with known.lock:
                if known.is_stale(monotonic()):
                    await self._ask(exchange, known)
        return _earlier(known)

    def reckoned(self, exchange: str) -> float:
        """The same as far as it is known, whoever would have to be asked."""
        return _earlier(self._known[exchange])

    def now_at_hand(self, exchange: str) -> float | None:
        """The same, said at once; None where the exchange has to be asked."""
        known = self._known[exchange]
        return None if known.is_stale(monotonic()) else _earlier(known)

    async def _ask(self, exchange: str, known: ReckonedClock) -> None:
        async def ask(ports: Ports) -> float:
            async with asyncio.timeout(FIRST_ANSWER_S if known.shown is None else ANSWER_S):
                return await ports.source.exchange_now(exchange)

        try:
            shown = await self._aio.portal.do(ask)
        except (ExchangeError, CoordinationError, TimeoutError):
            # It goes on as it went: bars that the exchange does not have yet are late by a rule of their own.
            now, known.age = monotonic(), max(known.age, SHORTEST_AGE_S)
            reckoned = known.now(now)
            known.shown, known.asked_at = reckoned, now
            return
        known.hear(shown, monotonic(), time.time())


def _earlier(known: ReckonedClock) -> float:
    ours, theirs = time.time(), known.now(monotonic())
    return ours if theirs is None else min(ours, theirs)
