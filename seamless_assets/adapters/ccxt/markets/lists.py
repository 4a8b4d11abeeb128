"""The market list of an exchange: loaded once for all processes, renewed when old, never half believed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

import ccxt.async_support as ccxt

from seamless_assets.adapters.ccxt.answers import calling, judge
from seamless_assets.adapters.ccxt.client import DEFAULT_COOL_DOWN_S, add_gone, dump_markets, restore_markets
from seamless_assets.adapters.ccxt.clock import happened_within
from seamless_assets.adapters.ccxt.markets.listings import Listings
from seamless_assets.adapters.ccxt.markets.types import MarketTypes
from seamless_assets.adapters.ccxt.memory import ExchangeMemory
from seamless_assets.aio.single_flight import SingleFlight
from seamless_assets.core.sharing.token_bucket import LONGEST_COOL_DOWN_S
from seamless_assets.errors import ExchangeUnavailable, RateLimited

DAY_S = 86_400.0
MARKETS_AGE_S = DAY_S
MANY_MARKETS = 10
TURN_S = 5.0
"""The longest time that a process without a list waits for that of another one that asks just now."""
_LOOK_S = 0.05
_LONGEST_LOAD_S = 600.0


class Markets:
    """The markets of one client. `place` is where they are remembered, `secrets` are shown nowhere.

    Of an exchange that lists each type of market by itself, those `types` alone are asked for that are
    wanted, until `widen` is called; None: all. What a list says is kept as `listings`.
    Callers of one process share a load and its failure: one refusal is one, however many wait.
    """

    def __init__(
        self,
        client: Any,
        memory: ExchangeMemory,
        place: str,
        secrets: tuple[str, ...],
        types: MarketTypes | None = None,
        listings: Listings | None = None,
    ) -> None:
        self._client, self._memory, self._place, self._secrets = client, memory, place, secrets
        self._types, self._listings, self._turn = types, listings, asyncio.Lock()
        self._flights = SingleFlight(time.monotonic, _LONGEST_LOAD_S)
        self._refused_until = 0.0
        self.loaded_at = 0.0

    async def load(self) -> None:
        """Have markets, remembered ones or new ones. Raises `ExchangeError`."""
        if not self._client.markets:
            await self._flights.do("load", self._load)

    async def renew(self, max_age: float) -> bool:
        """Ask for the list again where it is more than `max_age` seconds older than this call.

        Whether it was.
        """
        began = time.time()
        await self.load()
        if happened_within(max_age + time.time() - began, self.loaded_at, time.time()):
            return False
        await self._flights.do("ask", self._ask)
        return True

    async def widen(self) -> bool:
        """Ask for the markets of all types; False where no type was left out so far.

        Whoever asks meanwhile waits for the same answer; where it fails, the next one asks again.
        """
        await self.load()
        if self._types is None or not self._types.may_lack:
            return False
        return await self._flights.do("ask for all", partial(self._ask_for_all, self._types))

    async def _load(self) -> None:
        await self._recall()
        if not self._client.markets:
            await self._flights.do("ask", self._hear_or_ask)
        elif not happened_within(MARKETS_AGE_S, self.loaded_at, time.time()):
            # An old list serves as well while there is no new one to be had.
            with suppress(ExchangeUnavailable):
                await self._flights.do("ask", self._ask)

    async def _recall(self) -> None:
        stored = await self._memory.load_markets(self._place)
        if stored is not None and restore_markets(self._client, stored.body):
            self.loaded_at = stored.loaded_at
            await self._keep_listings()

    async def _hear_or_ask(self) -> None:
        """Have the list that another process of this machine asks for just now; ask where none does."""
        until, is_ours = time.monotonic() + TURN_S, False
        try:
            while not is_ours and time.monotonic() < until:
                is_ours = await self._memory.take_turn(self._place, TURN_S)
                await self._recall()
                if self._client.markets:
                    return
                if not is_ours:
                    await asyncio.sleep(_LOOK_S)
            await self._ask()
        finally:
            if is_ours:
                await self._memory.end_turn(self._place)

    async def _ask(self) -> None:
        async with self._turn:
            await self._ask_in_turn(self._choose)

    def _choose(self) -> None:
        if self._types is not None:
            self._types.choose()

    async def _ask_for_all(self, types: MarketTypes) -> bool:
        async with self._turn:
            await self._ask_in_turn(types.choose_all)
            types.stop_choosing()
        return True

    async def _ask_in_turn(self, choose: Callable[[], None]) -> None:
        self._wait_for_the_end_of_a_refusal()
        client, what = self._client, f"{self._client.id} markets"
        before = dict(client.markets or {})
        choose()
        try:
            async with calling(what, self._secrets) as heard:
                await _load_with_or_without_keys(client)
                for answer in heard:
                    judge([answer], what)
            _refuse_remnant(what, len(before) - len(client.gone), len(client.markets or ()))
        except BaseException as error:
            if isinstance(error, RateLimited):
                pause = min(error.retry_after or DEFAULT_COOL_DOWN_S, LONGEST_COOL_DOWN_S)
                self._refused_until = time.monotonic() + pause
            if before:
                client.set_markets(list(before.values()))
            else:
                client.markets = None
            raise
        add_gone(client, [market for symbol, market in before.items() if symbol not in client.markets])
        self.loaded_at = time.time()
        await self._memory.store_markets(self._place, dump_markets(client))
        await self._keep_listings()

    async def _keep_listings(self) -> None:
        if self._listings is not None:
            await self._listings.keep()

    def _wait_for_the_end_of_a_refusal(self) -> None:
        """Raise `RateLimited` while the exchange wants no requests, before any is made."""
        left = self._refused_until - time.monotonic()
        if left > 0:
            message = f"{self._client.id} markets: refused just now, and wanted again in {left:.1f} s"
            raise RateLimited(message, status=None, retry_after=left)


async def _load_with_or_without_keys(client: Any) -> None:
    """Load markets; without keys where a request that was signed with them fails: candles need none of it."""
    try:
        await client.load_markets(reload=True)
    except ccxt.BaseError as error:
        if not getattr(error, "is_signed", False) or isinstance(error, ccxt.DDoSProtection):
            raise
        with client.without_keys():
            await client.load_markets(reload=True)


def _refuse_remnant(what: str, before: int, after: int) -> None:
    """A list that lost most of its markets at once is a fault of the answer, not a day of delistings."""
    if after == 0 or (before >= MANY_MARKETS and 2 * after < before):
        raise ExchangeUnavailable(f"{what}: the list holds {after} markets, {before} before; not believed")
