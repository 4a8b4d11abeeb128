"""What is remembered of an exchange beside what is found out meanwhile."""

from __future__ import annotations

import asyncio
import gc
import json
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, ClassVar

import pytest

from seamless_assets.adapters.ccxt.memory import ExchangeMemory, MarketList, Remembered
from seamless_assets.adapters.ccxt.settings import ClientSettings
from seamless_assets.adapters.ccxt.source import CcxtSource
from seamless_assets.aio.priority import Slots
from seamless_assets.core.calendar.segment import Segment
from seamless_assets.core.coverage.proof import Reach
from seamless_assets.core.node import NodeId
from seamless_assets.core.sharing.token_bucket import Budget
from seamless_assets.core.wire.listing import Listing
from seamless_assets.testing import DAY, START

NODE = NodeId.parse("ohlcv:binance:BTC/USDT:1m")


@pytest.fixture
async def source(tmp_path: Path) -> AsyncIterator[CcxtSource]:
    settings = ClientSettings(
        budget_key="rl:binance",
        budget=Budget(1, 1, 1),
        concurrency=1,
        base_url=None,
        sandbox=False,
        symbols=("BTC/USDT", "ETH/USDT"),
    )
    gate: Any = None
    made = CcxtSource({"binance": settings}, gate, ExchangeMemory(tmp_path / "exchanges.sqlite"))
    yield made
    await made.close()


@pytest.mark.parametrize("listed", [None, START - 7 * DAY])
async def test_what_is_found_out_while_memory_is_asked_stays(
    source: CcxtSource, monkeypatch: pytest.MonkeyPatch, listed: int | None
) -> None:
    reach = source._reach
    searched: list[NodeId] = []

    async def recall(*_: object) -> dict[str, Remembered]:
        await asyncio.sleep(0)
        reach._known[NODE] = Reach(listed=listed, oldest=9)
        return {"listed": Remembered(START, time.time())}

    async def search(node: NodeId) -> int | None:
        searched.append(node)
        return reach._recalled.pop(node)

    monkeypatch.setattr(source._memory, "recall", recall)
    monkeypatch.setattr(reach, "_search_listing", search)
    await reach.recall(NODE)
    assert reach.known(NODE) == Reach(listed=listed, oldest=9)
    window = Segment(START - 9 * DAY, START)
    assert await source.reach(NODE, window) == Reach(listed=listed or START, oldest=9)
    assert searched == ([] if listed else [NODE])


async def test_an_end_that_was_searched_under_an_older_market_list_is_searched_anew(
    source: CcxtSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    found, reach = iter([1, 2]), source._reach

    async def search(*_: object) -> int:
        await asyncio.sleep(0)
        return next(found)

    monkeypatch.setattr(reach, "_by_usable", search)
    searching = asyncio.ensure_future(reach.last_traded(NODE))
    await asyncio.sleep(0)
    reach.markets_changed("binance")
    assert await searching == 1
    assert [await reach.last_traded(NODE) for _ in range(2)] == [2, 2]


async def test_a_list_that_was_stored_serves_worlds_of_the_past_where_nothing_else_was_kept(
    source: CcxtSource,
) -> None:
    market = {"symbol": "BTC/USDT", "id": "BTCUSDT", "base": "BTC", "quote": "USDT", "info": {"tick": "0.01"}}
    gone = {"symbol": "ETH/USDT", "id": "ETHUSDT", "base": "ETH", "quote": "USDT", "info": {"tick": "1"}}
    assert await source.market_list("binance", START) is None
    listed = MarketList([market, {"symbol": "A/B", "id": "AB", "info": {}}], [gone], {}, {})
    await source._memory.store_markets(source.place("binance"), listed)
    assert await source.market_list("binance", START) == {
        "BTC/USDT": Listing("BTCUSDT", {"tick": "0.01"}),
        "ETH/USDT": Listing("ETHUSDT", {"tick": "1"}, is_gone=True),
    }


async def test_a_page_waits_for_what_reads_its_rows_and_the_loop_does_not(
    source: CcxtSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent, imported = asyncio.Event(), asyncio.Event()

    class Client:
        has: ClassVar[dict[str, bool]] = {}

        async def fetch_ohlcv(self, *_: object, **__: object) -> list[list[float]]:
            sent.set()
            return [[START * 1000, 1.0, 2.0, 1.0, 2.0, 3.0]]

    async def ready(_: str) -> Client:
        source._client("binance")
        return Client()

    monkeypatch.setattr(source, "_ready_client", ready)
    monkeypatch.setattr(source._pandas, "ended", imported.wait)
    page = asyncio.create_task(source.fetch_candles(NODE, Segment(START, START + 60)))
    await sent.wait()
    for _ in range(10):
        await asyncio.sleep(0)
    assert not page.done()
    imported.set()
    assert (await page).candles.num_rows == 1


async def test_no_cycles_are_looked_for_while_a_page_is_read(
    source: CcxtSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Looks find its thousand rows alive: soon all objects of the process are looked through for them."""
    bars = 1_000
    sent = json.dumps([[(START + 60 * bar) * 1_000, 1.0, 1.0, 1.0, 1.0, 1.0] for bar in range(bars)])

    class Client:
        timeframes: ClassVar = {"1m": "1m"}

        async def fetch_ohlcv(self, *_: object, **__: object) -> Any:
            await asyncio.sleep(0)
            return json.loads(sent)

    async def ready(_: str) -> Client:
        return Client()

    monkeypatch.setattr(source, "_ready_client", ready)
    monkeypatch.setattr(source, "documented_page", lambda _: bars)
    monkeypatch.setattr(source._reach, "usable_frames", lambda _: ["1m"])
    source._slots["binance"] = Slots(1, 0)
    await source._pandas.ended()
    looks: list[str] = []
    window = Segment(START, START + 60 * bars)
    await source.fetch_candles(NODE, window)
    gc.collect()

    def look(phase: str, _: dict[str, int]) -> None:
        looks.append(phase)

    gc.callbacks.append(look)
    try:
        assert (await source.fetch_candles(NODE, window)).served == bars
    finally:
        gc.callbacks.remove(look)
    assert not looks
