"""The exchanges' clocks for the live world, asked rarely."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from dataclasses import dataclass, field

from seamless_assets.aio.timing import monotonic
from seamless_assets.errors import CoordinationError, ExchangeError
from seamless_assets.flows.ports import Ports
from seamless_assets.pipeline.connect import Seamless

SHORTEST_AGE_S, LONGEST_AGE_S = 1.0, 60.0
"""How long a clock is reckoned on; the longer, the more often it was found to be where it was reckoned."""
TOLERANCE_S = 0.5
FIRST_ANSWER_S, ANSWER_S = 8.0, 2.0
"""How long an answer is waited for: the first one comes after the exchange's markets were asked for."""


@dataclass
class _Clock:
    ahead: float | None = None
    """How far it is ahead of the one that nobody sets."""
    asked_at: float = 0.0
    age: float = SHORTEST_AGE_S
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


class ExchangeClocks:
    """The earlier of our clock and each exchange's; ours where an exchange was never heard."""

    def __init__(self, pipeline: Seamless) -> None:
        self._aio = pipeline.aio
        self._known: defaultdict[str, _Clock] = defaultdict(_Clock)

    async def now(self, exchange: str) -> float:
        """Epoch seconds."""
        known = self._known[exchange]
        if self._is_stale(known):
            async with known.lock:
                if self._is_stale(known):
                    await self._ask(exchange, known)
        ours = time.time()
        return ours if known.ahead is None else min(ours, monotonic() + known.ahead)

    def _is_stale(self, known: _Clock) -> bool:
        return not known.asked_at or monotonic() - known.asked_at > known.age

    async def _ask(self, exchange: str, known: _Clock) -> None:
        async def ask(ports: Ports) -> float:
            async with asyncio.timeout(FIRST_ANSWER_S if known.ahead is None else ANSWER_S):
                return await ports.source.exchange_now(exchange)

        try:
            theirs = await self._aio.portal.do(ask)
        except (ExchangeError, CoordinationError, TimeoutError):
            # It goes on as it went; the bars that it has not are told late by their own rule.
            known.asked_at = monotonic()
            return
        ahead = theirs - monotonic()
        is_as_reckoned = known.ahead is not None and abs(ahead - known.ahead) < TOLERANCE_S
        known.age = min(2 * known.age, LONGEST_AGE_S) if is_as_reckoned else SHORTEST_AGE_S
        known.ahead, known.asked_at = ahead, monotonic()
