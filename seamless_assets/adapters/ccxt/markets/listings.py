"""What lists of markets say of declared symbols, as it was sent: now, and as it was known at an instant."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import msgspec.json

from seamless_assets.adapters.ccxt.client import OF_PUBLIC_ASSETS
from seamless_assets.adapters.ccxt.memory import ExchangeMemory
from seamless_assets.core.wire.listing import Listing


class Listings:
    """The listings of declared `symbols` in a client's list of markets, and those that were kept of it."""

    def __init__(self, client: Any, memory: ExchangeMemory, place: str, symbols: Iterable[str]) -> None:
        self._client, self._memory, self._place, self._symbols = client, memory, place, tuple(symbols)

    def now(self) -> dict[str, Listing]:
        """Those of the list that the client has, by symbol."""
        markets, gone = self._client.markets or {}, self._client.gone
        found = ((symbol, markets[symbol]) for symbol in self._symbols if symbol in markets)
        return {
            symbol: Listing(market["id"], market["info"], dict(self._assets(market)), symbol in gone)
            for symbol, market in found
            if isinstance(market.get("info"), Mapping)
        }

    async def keep(self) -> None:
        """Keep those of now, where they are others than those that were kept last. Raises `StoreError`."""
        encoded = {symbol: msgspec.json.encode(listing) for symbol, listing in self.now().items()}
        if encoded:
            await self._memory.keep_listings(self._place, encoded)

    async def known_at(self, at: float) -> dict[str, Listing] | None:
        """Those that were kept by epoch seconds `at`, for symbols without any the first ones after it.

        None where nothing is kept.
        """
        kept = await self._memory.listings(self._place, self._symbols, at)
        read = {symbol: _decoded(body) for symbol, body in kept.items()}
        return {symbol: listing for symbol, listing in read.items() if listing is not None} or None

    def _assets(self, market: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
        if self._client.id not in OF_PUBLIC_ASSETS:
            return
        for code in (market["base"], market["quote"]):
            currency = (self._client.currencies or {}).get(code) or {}
            if isinstance(currency.get("info"), Mapping) and isinstance(currency.get("id"), str):
                yield currency["id"], currency["info"]


def _decoded(body: bytes) -> Listing | None:
    """The listing of a body that was kept; None where that is damaged."""
    try:
        return msgspec.json.decode(body, type=Listing)
    except msgspec.MsgspecError:
        return None
