"""Which world a path asks: the live one, one that stands still at an instant, or one whose clock runs."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping

from cachetools import TTLCache

from seamless_assets.aio.timing import monotonic
from seamless_assets.core.calendar.instant import epoch_micros, instant_text, typed_instant
from seamless_assets.dialects.base import NUMBER
from seamless_assets.errors import AsOfInFuture, InvalidInput
from seamless_assets.service.dialects.live.clocks import ExchangeClocks
from seamless_assets.service.dialects.visit import Visit

PREFIXES = (
    "",
    "/as-of/{as_of}",
    "/replay/{speed}/{start}",
    "/replay/{speed}/{start}/as-of/{as_of}",
)
"""What may stand before an exchange's own path."""
_NAMES = frozenset({"as_of", "speed", "start"})
MAX_SPEED = 86_400.0
"""A day in a second."""
MAX_CLOCKS, IDLE_S = 1_000, 3_600.0
"""Clocks that run at once, and how long one is kept that nobody looks at."""
_Begun = tuple[float, str]
"""When a clock was begun, and the knowledge that its world has."""


class Worlds:
    """The worlds of paths; a clock that runs begins with the first request of its bearer for it."""

    def __init__(self, clocks: ExchangeClocks) -> None:
        self._clocks = clocks
        self._begun: TTLCache[tuple[str, ...], _Begun] = TTLCache(MAX_CLOCKS, IDLE_S, timer=monotonic)

    async def visit(self, exchange: str, asked: Mapping[str, str], caller: str) -> Visit:
        """The visit of a request by what its path says. Raises `InvalidInput`, `AsOfInFuture`."""
        if "speed" in asked:
            return self._replayed(asked, caller)
        if "as_of" in asked:
            as_of = _past(asked["as_of"], "as-of")
            return Visit(epoch_micros(as_of) / 1e6, as_of, is_frozen=True)
        return Visit(await self._clocks.now(exchange))

    async def glance(self, exchange: str, asked: Mapping[str, str], caller: str) -> Visit:
        """The same for who gets nothing of it: no clock begins or is kept by that, no exchange is asked."""
        if "speed" in asked:
            return self._replayed(asked, caller, is_kept=False)
        if asked:
            return await self.visit(exchange, asked, caller)
        return Visit(self._clocks.reckoned(exchange))

    def _replayed(self, asked: Mapping[str, str], caller: str, *, is_kept: bool = True) -> Visit:
        speed, start = speed_of(asked["speed"]), epoch_micros(_past(asked["start"], "start")) / 1e6
        key = (caller, *(asked.get(name, "") for name in ("speed", "start", "as_of")))
        begun, as_of = self._begun.get(key, (monotonic(), ""))
        if not as_of:
            as_of = _past(asked["as_of"], "as-of") if "as_of" in asked else _text(time.time())
        if is_kept:
            # Whoever looks at it keeps it.
            self._begun[key] = begun, as_of
        now = start + (monotonic() - begun) * speed
        return Visit(min(now, max(start, epoch_micros(as_of) / 1e6)), as_of, uses_clock=True)


def world_of(parameters: Mapping[str, str]) -> dict[str, str]:
    """What the parameters of a path say of its world."""
    return {name: parameters[name] for name in parameters.keys() & _NAMES}


def _past(text: str, name: str) -> str:
    """An instant of a path as an `as_of`. Raises `InvalidTimestamp`, and `AsOfInFuture` for one to come."""
    micros = epoch_micros(typed_instant(text), name)
    if micros > time.time() * 1_000_000:
        raise AsOfInFuture(
            f"{name} {text[:100]} lies after now; what is known then would still change", as_of=text[:100]
        )
    return instant_text(micros)


def _text(at: float) -> str:
    return instant_text(int(at * 1_000_000))


def speed_of(text: str) -> float:
    """How many seconds of history pass in one. Raises `InvalidInput`."""
    speed = float(text) if NUMBER.fullmatch(text) else math.nan
    if not 0 < speed <= MAX_SPEED:
        raise InvalidInput(
            f"speed is {text[:100]!r}; give a number above 0 up to {MAX_SPEED:g}, such as 60",
            value=text[:100],
        )
    return speed
