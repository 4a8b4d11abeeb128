"""What lists of markets say of declared symbols, as it was sent: now, and as it was known at an instant."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import msgspec.json

from seamless_assets.adapters.ccxt.client import dump_markets
from seamless_assets.adapters.ccxt.memory import ExchangeMemory, MarketList
from seamless_assets.core.wire.listing import Listing


class Listings:
    """The listings of declared `symbols` in a client's list of markets, and those that were kept of it."""

    def __init__(self, client: Any, memory: ExchangeMemory, place: str, symbols: Iterable[str]) -> None:
        self._client, self._memory, self._place, self._symbols = client, memory, place, tuple(symbols)

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

        Where none are, those of the list that was stored last; None where there is no such list either.
        """
        kept = await self._memory.listings(self._place, self._symbols, at)
        read = {symbol: _decoded(body) for symbol, body in kept.items()}
        found = {symbol: listing for symbol, listing in read.items() if listing is not None}
        if found:
            return found
        stored = await self._memory.load_markets(self._place)
        return None if stored is None else self._of(stored.body)

    def _of(self, listed: MarketList) -> dict[str, Listing]:
        wanted = set(self._symbols)
        return {
            market["symbol"]: Listing(market["id"], market["info"], dict(_assets(listed, market)), is_gone)
            for markets, is_gone in ((listed.markets, False), (listed.gone, True))
            for market in markets
            if market["symbol"] in wanted and isinstance(market.get("info"), Mapping)
        }


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


def _decoded(body: bytes) -> Listing | None:
    """The listing of a body that was kept; None where that is damaged."""
    try:
        return msgspec.json.decode(body, type=Listing)
    except msgspec.MsgspecError:
        return None
