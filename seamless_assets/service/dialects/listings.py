"""What the exchanges' own lists of markets say, in the world that is asked."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping
from contextlib import suppress
from functools import partial

from cachetools import TTLCache

from seamless_assets.aio.shield import shielded
from seamless_assets.aio.single_flight import SingleFlight
from seamless_assets.aio.timing import monotonic
from seamless_assets.core.calendar.instant import epoch_micros
from seamless_assets.core.wire.listing import Listing
from seamless_assets.errors import CoordinationError, ExchangeError, ExchangeUnavailable
from seamless_assets.flows.ports import Ports
from seamless_assets.pipeline.connect import Seamless

ANSWER_S, KNOWN_ANSWER_S = 8.0, 4.0
"""How long the exchange is waited for; the shorter where there is a list that may be told in its place."""
MAX_LISTINGS, KEPT_S = 10_000, 60.0
"""Listings of an exchange that are kept at hand, those of each world by themselves, and for how long."""
_LONGEST_LOOK_S = 60.0
_LIVE = ""
_Found = Mapping[str, Listing]


class KnownListings:
    """The list of one exchange: of now, asked for anew each hour, or as it was known at an instant.

    An exchange that is not in the settings lists nothing: the nodes under its name are derived ones.
    """

    def __init__(self, pipeline: Seamless, exchange: str) -> None:
        self._aio, self._exchange = pipeline.aio, exchange
        self._is_in_settings = exchange in pipeline.settings.exchanges
        self._at_hand: TTLCache[str, _Found] = TTLCache(
            MAX_LISTINGS, KEPT_S, timer=monotonic, getsizeof=_size
        )
        self._looks = SingleFlight(monotonic, _LONGEST_LOOK_S)
        self._renewal: asyncio.Task[_Found | None] | None = None
        self.newest: _Found = {}
        """Those of the live world that were looked up last."""

    async def told(self, as_of: str | None) -> _Found:
        """What a list of markets is made of. Raises `ExchangeUnavailable` where nothing is known of it."""
        found = await self._look(as_of)
        if as_of is None and self._is_in_settings:
            newer = await self._renewed(ANSWER_S if found is None else KNOWN_ANSWER_S)
            # The one that is known serves as well, where no newer one is to be had.
            found = found if newer is None else newer
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
        if found is not None:
            return found
        found = await self._look(as_of) or {}
        # What was told meanwhile is newer.
        newer = self._at_hand.get(as_of or _LIVE)
        if newer is not None:
            return newer
        self._keep(as_of, found)
        return found

    async def close(self) -> None:
        """End the load that goes on, if one does."""
        if self._renewal is not None:
            self._renewal.cancel()
            await shielded(asyncio.ensure_future(asyncio.wait({self._renewal})))

    def _keep(self, as_of: str | None, found: _Found) -> None:
        self._at_hand[as_of or _LIVE] = found
        if as_of is None:
            self.newest = found

    async def _renewed(self, seconds: float) -> _Found | None:
        """The list of now; None where the exchange cannot be asked, or its answer takes longer than that.

        It goes on being loaded then, for who asks later.
        """
        if self._renewal is None or self._renewal.done():
            self._renewal = asyncio.create_task(self._renew())
        renewal = self._renewal
        await asyncio.wait({renewal}, timeout=seconds)
        return renewal.result() if renewal.done() else None

    async def _renew(self) -> _Found | None:
        with suppress(ExchangeError, CoordinationError):
            found = await self._ask(None)
            if found is not None:
                self._keep(None, found)
            return found
        return None

    async def _look(self, as_of: str | None) -> _Found | None:
        """What is known without asking the exchange, looked up once for all who want it at one time."""
        if not self._is_in_settings:
            return {}
        return await self._looks.do(as_of or _LIVE, partial(self._ask, _instant(as_of)))

    async def _ask(self, at: float | None) -> _Found | None:
        async def ask(ports: Ports) -> _Found | None:
            return await ports.source.market_list(self._exchange, at)

        return await self._aio.portal.do(ask)


def _instant(as_of: str | None) -> float:
    """When a list was known: in the live world the newest one, whatever the exchange's clock shows."""
    return math.inf if as_of is None else epoch_micros(as_of) / 1e6


def _size(found: _Found) -> int:
    # One world always fits, and one without listings counts too.
    return min(max(len(found), 1), MAX_LISTINGS)
