"""Lists of markets are looked up once for all who want them, and a load that takes long is kept."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest

import seamless_assets as sa
from seamless_assets.core.wire.listing import Listing
from seamless_assets.errors import ExchangeUnavailable
from seamless_assets.service.dialects import listings
from seamless_assets.service.dialects.listings import KnownListings

OLD = {symbol: Listing(symbol, {"is": "old"}) for symbol in ("ADA/BTC", "SOL/BTC")}
NEW = {symbol: Listing(symbol, {"is": "new"}) for symbol in OLD}
PAST, EARLIER = "2025-01-10T00:00:00Z", "2025-01-09T00:00:00Z"


class Source:
    """An exchange whose list of before is known, and that tells the new one once it may."""

    def __init__(self) -> None:
        self.known: dict[str, Listing] | None = OLD
        self.looks, self.loads, self.has_ended = list[float](), 0, False
        self.is_asked, self.may_answer = asyncio.Event(), asyncio.Event()
        self.is_looked_at, self.may_be_read = asyncio.Event(), asyncio.Event()
        self.may_be_read.set()

    async def market_list(self, exchange: str, at: float | None = None) -> dict[str, Listing] | None:
        if at is not None:
            self.looks.append(at)
            self.is_looked_at.set()
            await self.may_be_read.wait()
            return self.known
        self.loads += 1
        self.is_asked.set()
        try:
            await self.may_answer.wait()
        finally:
            self.has_ended = True
        return NEW

    async def do(self, work: Callable[[Any], Awaitable[Any]]) -> Any:
        """Work of a portal whose loop is this one."""
        return await work(SimpleNamespace(source=self))


def known_of(source: Source) -> KnownListings:
    aio, settings = SimpleNamespace(portal=source), SimpleNamespace(exchanges={"okx": None})
    return KnownListings(cast(sa.Seamless, SimpleNamespace(aio=aio, settings=settings)), "okx")


async def test_a_load_that_takes_longer_than_it_is_waited_for_is_made_once_and_had_by_who_asks_later(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    source = Source()
    known = known_of(source)
    monkeypatch.setattr(listings, "KNOWN_ANSWER_S", 0.0)
    assert [await known.told(None) for _ in range(3)] == [OLD] * 3
    assert source.loads == 1 and await known.at_hand(None) == OLD
    (loading,) = asyncio.all_tasks() - {asyncio.current_task()}
    source.may_answer.set()
    await loading
    assert await known.at_hand(None) == NEW == known.newest


async def test_a_caller_that_is_cancelled_leaves_the_load_to_the_others() -> None:
    source = Source()
    known = known_of(source)
    first, second = asyncio.create_task(known.told(None)), asyncio.create_task(known.told(None))
    await source.is_asked.wait()
    first.cancel()
    await asyncio.wait({first})
    source.may_answer.set()
    assert await second == NEW and source.loads == 1


async def test_a_load_ends_with_the_service(monkeypatch: pytest.MonkeyPatch) -> None:
    source = Source()
    source.known = None
    known = known_of(source)
    await known.close()
    monkeypatch.setattr(listings, "ANSWER_S", 0.0)
    with pytest.raises(ExchangeUnavailable, match="no market list of okx"):
        await known.told(None)
    await source.is_asked.wait()
    await known.close()
    assert source.has_ended and asyncio.all_tasks() == {asyncio.current_task()}


async def test_a_world_is_looked_up_once_for_all_who_want_it_at_one_time() -> None:
    source = Source()
    known = known_of(source)
    assert await asyncio.gather(*(known.at_hand(PAST) for _ in range(5)), known.told(PAST)) == [OLD] * 6
    assert len(source.looks) == 1


async def test_a_look_that_ends_after_a_newer_list_was_told_does_not_go_before_it() -> None:
    source = Source()
    known = known_of(source)
    telling = asyncio.create_task(known.told(None))
    await source.is_asked.wait()
    source.is_looked_at.clear()
    source.may_be_read.clear()
    looking = asyncio.create_task(known.at_hand(None))
    await source.is_looked_at.wait()
    source.may_answer.set()
    assert await telling == NEW
    source.may_be_read.set()
    assert await looking == NEW == await known.at_hand(None) == known.newest


@pytest.mark.parametrize(("most", "looks"), [(4, 2), (3, 3), (1, 3)])
async def test_listings_of_all_worlds_together_are_bounded(
    most: int, looks: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listings, "MAX_LISTINGS", most)
    source = Source()
    known = known_of(source)
    for world in (PAST, PAST, EARLIER, PAST):
        assert await known.at_hand(world) == OLD
    assert len(source.looks) == looks, "two worlds of two listings each"
