"""What the exchanges' own lists of markets say, in the world that is asked."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping
from contextlib import suppress

from cachetools import TTLCache

from seamless_assets.aio.timing import monotonic
from seamless_assets.core.calendar.instant import epoch_micros
from seamless_assets.core.wire.listing import Listing
from seamless_assets.errors import CoordinationError, ExchangeError, ExchangeUnavailable
from seamless_assets.flows.ports import Ports
from seamless_assets.pipeline.connect import Seamless

ANSWER_S, KNOWN_ANSWER_S = 8.0, 4.0
"""How long the exchange is waited for; the shorter where there is a list that may be told in its place."""
MAX_WORLDS, KEPT_S = 200, 60.0
"""Lists of worlds that are kept at hand, and for how long."""
_LIVE = ""
_Found = Mapping[str, Listing]


class KnownListings:
    """The list of one exchange: of now, asked for anew each hour, or as it was known at an instant."""

    def __init__(self, pipeline: Seamless, exchange: str) -> None:
        self._aio, self._exchange = pipeline.aio, exchange
        self._at_hand: TTLCache[str, _Found] = TTLCache(MAX_WORLDS, KEPT_S, timer=monotonic)
        self.newest: _Found = {}
        """Those of the live world that were looked up last."""

    async def told(self, as_of: str | None) -> _Found:
        """What a list of markets is made of. Raises `ExchangeUnavailable` where nothing is known of it."""
        found = await self._ask(_instant(as_of))
        if as_of is None:
            # The one that was kept last serves as well, where no newer one is to be had.
            with suppress(ExchangeError, CoordinationError, TimeoutError):
                async with asyncio.timeout(ANSWER_S if found is None else KNOWN_ANSWER_S):
                    found = await self._ask(None)
        if found is None:
            raise ExchangeUnavailable(
                f"no market list of {self._exchange} is known yet, and the exchange cannot be asked now; "
                "try again once it answers the live world",
                status=None,
            )
        self._keep(as_of, found)
        return found

    async def at_hand(self, as_of: str | None) -> _Found:
        """What is known without asking the exchange, for pages of candles."""
        found = self._at_hand.get(as_of or _LIVE)
        if found is None:
            found = await self._ask(_instant(as_of)) or {}
            self._keep(as_of, found)
        return found

    def _keep(self, as_of: str | None, found: _Found) -> None:
        self._at_hand[as_of or _LIVE] = found
        if as_of is None:
            self.newest = found

    async def _ask(self, at: float | None) -> _Found | None:
        async def ask(ports: Ports) -> _Found | None:
            return await ports.source.market_list(self._exchange, at)

        return await self._aio.portal.do(ask)


def _instant(as_of: str | None) -> float:
    """By which a list was kept: in the live world the last one, whatever the exchange's clock shows."""
    return math.inf if as_of is None else epoch_micros(as_of) / 1e6
