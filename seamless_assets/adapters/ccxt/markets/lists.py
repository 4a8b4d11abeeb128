"""The market list of an exchange: loaded once for all processes, renewed when old, never half believed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial
from secrets import randbits
from typing import Any, NamedTuple

import ccxt.async_support as ccxt

from seamless_assets.adapters.ccxt.answers import calling, judge
from seamless_assets.adapters.ccxt.client import DEFAULT_COOL_DOWN_S, add_gone, dump_markets, restore_markets
from seamless_assets.adapters.ccxt.clock import happened_within
from seamless_assets.adapters.ccxt.markets.listings import Listings
from seamless_assets.adapters.ccxt.markets.types import MarketTypes
from seamless_assets.adapters.ccxt.memory import ExchangeMemory, MarketList
from seamless_assets.aio.single_flight import SingleFlight
from seamless_assets.core.sharing.token_bucket import LONGEST_COOL_DOWN_S
from seamless_assets.errors import ExchangeUnavailable, RateLimited

DAY_S = 86_400.0
MARKETS_AGE_S = DAY_S
MANY_MARKETS = 10
TURN_S = 5.0
"""The longest time that a process which needs a list waits for that of another one that asks just now."""
_LOOK_S = 0.05
_LONGEST_LOAD_S = 600.0
_IsRecent = Callable[[float], bool]
"""Whether a list that was loaded at these epoch seconds serves."""


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
        self._unfit: float | None = None
        self.loaded_at = 0.0

    async def load(self) -> None:
        """Have markets, remembered ones or new ones. Raises `ExchangeError`."""
        if not self._client.markets:
            await self._flights.do("load", self._load)

    async def renew(self, max_age: float) -> bool:
        """Have a list that is at most `max_age` seconds older than this call, another process's or a new one.

        Whether another one was taken than was there.
        """
        began = time.time()
        await self.load()

        def is_recent(loaded_at: float) -> bool:
            return happened_within(max_age + time.time() - began, loaded_at, time.time())

        if is_recent(self.loaded_at):
            return False
        await self._flights.do(("renew", max_age), partial(self._hear_or_ask, is_recent))
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
        if not await self._hear(_whenever):
            await self._hear_or_ask(_whenever)
        elif not _within_a_day(self.loaded_at):
            # An old list serves as well while there is no new one to be had.
            with suppress(ExchangeUnavailable):
                await self._ask_unless_others_do()

    async def _hear(self, is_recent: _IsRecent) -> bool:
        """Take the list that was stored last, where it serves and ours does not. Whether ours does then."""
        if self._serves(is_recent):
            return True
        stored_at = await self._memory.markets_loaded_at(self._place)
        if stored_at is None or stored_at == self._unfit or not is_recent(stored_at):
            return False
        async with self._turn:
            if not self._serves(is_recent) and not await self._take_stored():
                self._unfit = stored_at
            return self._serves(is_recent)

    def _serves(self, is_recent: _IsRecent) -> bool:
        return bool(self._client.markets) and is_recent(self.loaded_at)

    async def _take_stored(self) -> bool:
        """Take the list that was stored last; False where it cannot be read or lacks what ours has."""
        stored = await self._memory.load_markets(self._place)
        client, known = self._client, _Known.of(self._client)
        if stored is None or not known.is_part_of(stored.body):
            return False
        if not restore_markets(client, stored.body):
            known.put_back(client)
            return False
        self.loaded_at = stored.loaded_at
        await self._keep_listings()
        return True

    async def _hear_or_ask(self, is_recent: _IsRecent) -> None:
        """Have the list that another process of this machine asks for just now; ask where none does."""
        until, is_ours = time.monotonic() + TURN_S, False
        async with self._turns() as take_turn:
            while not is_ours and time.monotonic() < until:
                is_ours = await take_turn()
                if await self._hear(is_recent):
                    return
                if not is_ours:
                    await asyncio.sleep(_LOOK_S)
            await self._flights.do("ask", self._ask)

    async def _ask_unless_others_do(self) -> None:
        """Ask where no other process of this machine does, nor did since our list was read."""
        async with self._turns() as take_turn:
            if await take_turn() and not await self._hear(_within_a_day):
                await self._flights.do("ask", self._ask)

    @asynccontextmanager
    async def _turns(self) -> AsyncIterator[Callable[[], Awaitable[bool]]]:
        """A way to take the turn among processes, which is given up at the end, however that comes."""
        holder = randbits(62)
        try:
            yield partial(self._memory.take_turn, self._place, TURN_S, holder)
        finally:
            # One that was cancelled while it took the turn may have it too.
            await self._memory.end_turn(self._place, holder)

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
        known = _Known.of(client)
        before = known.markets
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
            known.put_back(client)
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


class _Known(NamedTuple):
    """What a client knows of an exchange before another list is tried."""

    markets: dict[str, Any]
    currencies: dict[str, Any]
    gone: dict[str, Any]

    @classmethod
    def of(cls, client: Any) -> _Known:
        return cls(dict(client.markets or {}), dict(client.currencies or {}), client.gone)

    def is_part_of(self, listed: MarketList) -> bool:
        """Whether a list has all these markets; one of fewer types of markets has not."""
        return self.markets.keys() <= {market["symbol"] for market in (*listed.markets, *listed.gone)}

    def put_back(self, client: Any) -> None:
        """Let the client know this again, and nothing else."""
        if not self.markets:
            client.markets = None
            return
        # Currencies that ccxt makes of markets hold nothing of what the exchange says of assets.
        client.currencies = self.currencies
        client.set_markets(list(self.markets.values()), self.currencies)
        client.gone = self.gone


def _whenever(_: float) -> bool:
    return True


def _within_a_day(loaded_at: float) -> bool:
    return happened_within(MARKETS_AGE_S, loaded_at, time.time())


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
