"""What was kept of an exchange's lists, and which of them is the newest."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec.json
import pytest

from seamless_assets.adapters.ccxt.markets.listings import Listings
from seamless_assets.adapters.ccxt.memory import ExchangeMemory, MarketList
from seamless_assets.core.wire.listing import Listing

SYMBOL, PLACE = "ADA/BTC", "okx"


def listing(size: int) -> Listing:
    return Listing("ADA-BTC", {"size": size})


def market(size: int) -> dict[str, Any]:
    return {"symbol": SYMBOL, "id": "ADA-BTC", "info": {"size": size}}


@pytest.fixture
async def memory(tmp_path: Path) -> AsyncIterator[ExchangeMemory]:
    """One that keeps a list of size 1."""
    made = ExchangeMemory(tmp_path / "exchanges.sqlite")
    await made.keep_listings(PLACE, {SYMBOL: msgspec.json.encode(listing(1))})
    yield made
    await made.close()


def listings_of(memory: ExchangeMemory, *markets: dict[str, Any]) -> Listings:
    """Those of a client that has these markets."""
    listed = {one["symbol"]: one for one in markets}
    client = SimpleNamespace(id="okx", options={}, currencies={}, gone={}, markets=listed)
    return Listings(client, memory, PLACE, (SYMBOL,))


async def test_the_newest_list_is_that_of_the_client_else_the_one_stored_else_the_one_kept(
    memory: ExchangeMemory,
) -> None:
    assert await listings_of(memory).known_at(math.inf) == {SYMBOL: listing(1)}
    await memory.store_markets(PLACE, MarketList([market(2)], [], {}, {}))
    assert await listings_of(memory).known_at(math.inf) == {SYMBOL: listing(2)}
    assert await listings_of(memory, market(3)).known_at(math.inf) == {SYMBOL: listing(3)}
    assert await listings_of(memory, market(3)).known_at(0.0) == {SYMBOL: listing(1)}


async def test_worlds_of_which_the_same_was_kept_share_it(memory: ExchangeMemory) -> None:
    listings = listings_of(memory)
    first, second = await listings.known_at(0.0), await listings.known_at(1e9)
    assert first is not None and second is not None
    assert first[SYMBOL] == listing(1) and first[SYMBOL] is second[SYMBOL]
