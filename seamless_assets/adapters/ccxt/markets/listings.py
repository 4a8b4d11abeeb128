"""What lists of markets say of declared symbols, as it was sent: now, and as it was known at an instant."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import msgspec.json
from cachetools import LRUCache

from seamless_assets.adapters.ccxt.client import dump_markets
from seamless_assets.adapters.ccxt.documented.trading import without_trading
from seamless_assets.adapters.ccxt.memory import ExchangeMemory, MarketList
from seamless_assets.core.wire.listing import Listing

SHARED_TIMES = 2
"""So many times the declared symbols are decoded listings shared by all who look for them."""


class Listings:
    """The listings of declared `symbols` in a client's list of markets, and those that were kept of it.

    What the list says of trading just now is left empty in all of them.
    """

    def __init__(self, client: Any, memory: ExchangeMemory, place: str, symbols: Iterable[str]) -> None:
        self._client, self._memory, self._place, self._symbols = client, memory, place, tuple(symbols)
        self._decoded: LRUCache[bytes, Listing] = LRUCache(max(SHARED_TIMES * len(self._symbols), 1))

    def now(self) -> dict[str, Listing]:
        """Those of the list that the client has, by symbol."""
        return self._of(dump_markets(self._client))

    async def keep(self) -> None:
        """Keep those of now, where they are others than those that were kept last. Raises `StoreError`."""
        encoded = {symbol: msgspec.json.encode(listing) for symbol, listing in self.now().items()}
        if encoded:
            await self._memory.keep_listings(self._place, encoded)

    async def known_at(self, at: float) -> dict[str, Listing] | None:
        """Those that were kept by epoch seconds `at`, for symbols without any the first ones after it.

        At infinity it is the newest list: the client's, or the one that was stored last. That serves where
        none are kept, too, and what is kept where there is no such list; None where there is neither.
        """
        if at != math.inf:
            return await self._kept(at) or await self._newest()
        newest = await self._newest()
        return await self._kept(at) or None if newest is None else newest

    async def _newest(self) -> dict[str, Listing] | None:
        if self._client.markets:
            return self.now()
        stored = await self._memory.load_markets(self._place)
        return None if stored is None else self._of(stored.body)

    async def _kept(self, at: float) -> dict[str, Listing]:
        kept = await self._memory.listings(self._place, self._symbols, at)
        read = {symbol: self._shared(body) for symbol, body in kept.items()}
        return {symbol: listing for symbol, listing in read.items() if listing is not None}

    def _shared(self, body: bytes) -> Listing | None:
        """The listing of a body that was kept, one for all who have the same; None where it is damaged."""
        listing = self._decoded.get(body)
        if listing is None:
            try:
                listing = msgspec.json.decode(body, type=Listing)
            except msgspec.MsgspecError:
                return None
            listing = replace(listing, entry=without_trading(self._client.id, listing.entry))
            self._decoded[body] = listing
        return listing

    def _of(self, listed: MarketList) -> dict[str, Listing]:
        wanted = set(self._symbols)
        return {
            market["symbol"]: self._listing(listed, market, is_gone)
            for markets, is_gone in ((listed.markets, False), (listed.gone, True))
            for market in markets
            if market["symbol"] in wanted and isinstance(market.get("info"), Mapping)
        }

    def _listing(self, listed: MarketList, market: Mapping[str, Any], is_gone: bool) -> Listing:
        entry = without_trading(self._client.id, market["info"])
        return Listing(market["id"], entry, dict(_assets(listed, market)), is_gone)


def _assets(listed: MarketList, market: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """What the list of assets says of both currencies of a market, by its own names of them."""
    for code in (market.get("base"), market.get("quote")):
        asset = listed.assets.get(code) if isinstance(code, str) else None
        if (
            isinstance(asset, Mapping)
            and isinstance(asset.get("info"), Mapping)
            and isinstance(asset.get("id"), str)
        ):
            yield asset["id"], asset["info"]
