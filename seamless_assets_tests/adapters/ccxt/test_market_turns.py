"""Processes of one machine that need the list of an exchange's markets at one time."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from seamless_assets.adapters.ccxt import memory as memory_module
from seamless_assets.adapters.ccxt.markets import lists
from seamless_assets.adapters.ccxt.markets.lists import DAY_S, Markets
from seamless_assets.adapters.ccxt.memory import ExchangeMemory, MarketList
from seamless_assets.errors import ExchangeUnavailable


class Client:
    """As much of a ccxt client as a first load needs; it answers once it may."""

    def __init__(self) -> None:
        self.id, self.options = "okx", dict[str, Any]()
        self.markets: dict[str, Any] | None = None
        self.markets_by_id, self.gone = dict[str, list[Any]](), dict[str, Any]()
        self.currencies = dict[str, Any]()
        self.loads, self.listed = 0, ["BTC/USDT"]
        self.is_asked, self.may_answer = asyncio.Event(), asyncio.Event()

    async def load_markets(self, reload: bool = False) -> None:
        self.loads += 1
        self.is_asked.set()
        await self.may_answer.wait()
        self.set_markets([{"symbol": symbol, "id": symbol, "active": True} for symbol in self.listed])

    def set_markets(self, markets: list[Any], _: Any = None) -> None:
        self.markets = {market["symbol"]: market for market in markets}
        self.markets_by_id = {market["id"]: [market] for market in markets}


class Process:
    """A process that has opened the memory of the machine."""

    def __init__(self, folder: Path) -> None:
        self.client, self.memory = Client(), Memory(folder / "exchanges.sqlite")
        client: Any = self.client
        self.markets = Markets(client, self.memory, "okx", ())


class Memory(ExchangeMemory):
    """The memory; `has_looked` once it was asked for a turn that another one has."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.has_looked = asyncio.Event()

    async def take_turn(self, place: str, seconds: float, holder: int) -> bool:
        is_ours = await super().take_turn(place, seconds, holder)
        if not is_ours:
            self.has_looked.set()
        return is_ours


@pytest.fixture
async def pair(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[Process, Process]]:
    # However slow the machine is, no turn ends by itself but where a test says so.
    monkeypatch.setattr(lists, "TURN_S", 3_600.0)
    first, second = Process(tmp_path), Process(tmp_path)
    yield first, second
    await asyncio.gather(first.memory.close(), second.memory.close())


async def _both_begun(first: Process, second: Process) -> tuple[asyncio.Task[None], asyncio.Task[None]]:
    """The load of the one that asks, and that of the other one, which has seen that it does."""
    asking = asyncio.create_task(first.markets.load())
    await first.client.is_asked.wait()
    waiting = asyncio.create_task(second.markets.load())
    await second.memory.has_looked.wait()
    return asking, waiting


async def test_the_list_that_another_process_asks_for_is_waited_for(pair: tuple[Process, Process]) -> None:
    first, second = pair
    loads = await _both_begun(first, second)
    first.client.may_answer.set()
    await asyncio.gather(*loads)
    assert (first.client.loads, second.client.loads) == (1, 0)
    assert second.client.markets == first.client.markets
    assert second.markets.loaded_at == pytest.approx(first.markets.loaded_at, abs=5.0)


async def test_where_the_other_process_gets_none_the_turn_is_ours_at_once(
    pair: tuple[Process, Process],
) -> None:
    first, second = pair
    asking, waiting = await _both_begun(first, second)
    first.client.listed = []
    second.client.may_answer.set()
    first.client.may_answer.set()
    with pytest.raises(ExchangeUnavailable, match="not believed"):
        await asking
    await waiting
    assert second.client.loads == 1 and second.client.markets


async def test_a_process_that_is_cancelled_gives_its_turn_up(pair: tuple[Process, Process]) -> None:
    first, second = pair
    asking, waiting = await _both_begun(first, second)
    second.client.may_answer.set()
    asking.cancel()
    await waiting
    assert asking.cancelled() and second.client.loads == 1


class Clock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now = 1_700_000_000.0

    def time(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(memory_module, "time", made)
    return made


async def test_a_process_that_was_killed_in_its_turn_holds_nobody_up_for_long(
    pair: tuple[Process, Process], clock: Clock
) -> None:
    first, second = pair
    assert await first.memory.take_turn("okx", 5.0, 1)
    clock.now += 4.0
    assert not await second.memory.take_turn("okx", 5.0, 2)
    clock.now += 2.0
    assert await second.memory.take_turn("okx", 5.0, 2)
    # One that comes back gives up no turn but its own.
    await first.memory.end_turn("okx", 1)
    assert not await first.memory.take_turn("okx", 5.0, 1)
    await second.memory.end_turn("okx", 2)
    assert await first.memory.take_turn("okx", 5.0, 1)


async def test_a_turn_that_a_clock_ahead_has_written_is_over(
    pair: tuple[Process, Process], clock: Clock
) -> None:
    first, second = pair
    assert await first.memory.take_turn("okx", 5.0, 1)
    clock.now -= 3_600.0
    assert await second.memory.take_turn("okx", 5.0, 2)


async def test_a_process_that_is_cancelled_while_it_takes_its_turn_gives_it_up(
    pair: tuple[Process, Process], monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = pair
    take_turn, has_it = first.memory.take_turn, asyncio.Event()

    async def taken_but_not_told(place: str, seconds: float, holder: int) -> bool:
        assert await take_turn(place, seconds, holder)
        has_it.set()
        return await asyncio.Future[bool]()

    monkeypatch.setattr(first.memory, "take_turn", taken_but_not_told)
    asking = asyncio.create_task(first.markets.load())
    await has_it.wait()
    assert not await second.memory.take_turn("okx", 3_600.0, 2)
    asking.cancel()
    await asyncio.wait({asking})
    assert asking.cancelled() and await second.memory.take_turn("okx", 3_600.0, 2)


async def test_each_waits_for_one_turn_alone(
    pair: tuple[Process, Process], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Whoever has the turn may hang until its request is given up, and so may the next one.
    first, second = pair
    assert await first.memory.take_turn("okx", 3_600.0, 1)
    monkeypatch.setattr(lists, "TURN_S", 0.2)
    second.client.may_answer.set()

    async def taken_by_another(*_: object) -> bool:
        return False

    monkeypatch.setattr(second.memory, "take_turn", taken_by_another)
    await second.markets.load()
    assert second.client.loads == 1


async def test_the_turn_is_one_of_each_place(pair: tuple[Process, Process]) -> None:
    first, second = pair
    assert await first.memory.take_turn("okx", 60.0, 1)
    assert await second.memory.take_turn("binance", 60.0, 2)
    assert not await second.memory.take_turn("okx", 60.0, 2)
    await first.memory.end_turn("okx", 1)
    assert await second.memory.take_turn("okx", 60.0, 2)


async def _with_a_list_of(age: float, folder: Path, process: Process) -> None:
    """Let a list be stored that is so many seconds old, which a process asked for that has none now."""
    process.client.may_answer.set()
    await process.markets.load()
    with closing(sqlite3.connect(folder / "exchanges.sqlite")) as db, db:
        db.execute("UPDATE markets SET loaded_at = loaded_at - ?", (age,))
    process.client.may_answer.clear()
    process.client.is_asked.clear()
    process.client.loads, process.client.markets = 0, None
    process.markets.loaded_at = 0.0


async def test_of_those_with_an_old_list_one_asks_and_the_others_go_on_with_it(
    pair: tuple[Process, Process], tmp_path: Path
) -> None:
    first, second = pair
    await _with_a_list_of(90_000.0, tmp_path, first)
    asking = asyncio.create_task(first.markets.load())
    await first.client.is_asked.wait()
    # It does not wait for the one that asks, which does not hear an answer here.
    await second.markets.load()
    assert second.client.markets and second.client.loads == 0
    first.client.may_answer.set()
    await asking
    assert first.client.loads == 1 and first.markets.loaded_at > second.markets.loaded_at + DAY_S


async def test_an_old_list_that_was_renewed_before_it_was_our_turn_is_not_asked_for(
    pair: tuple[Process, Process], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = pair
    await _with_a_list_of(90_000.0, tmp_path, first)
    first.client.may_answer.set()
    take_turn = second.memory.take_turn

    async def taken_late(place: str, seconds: float, holder: int) -> bool:
        await first.markets.load()
        return await take_turn(place, seconds, holder)

    monkeypatch.setattr(second.memory, "take_turn", taken_late)
    await second.markets.load()
    assert (first.client.loads, second.client.loads) == (1, 0)
    assert second.markets.loaded_at == pytest.approx(first.markets.loaded_at, abs=5.0)


async def test_a_renewal_takes_the_list_that_another_process_has_had_since(
    pair: tuple[Process, Process], tmp_path: Path
) -> None:
    first, second = pair
    await _with_a_list_of(7_200.0, tmp_path, first)
    await asyncio.gather(first.markets.load(), second.markets.load())
    first.client.listed = ["BTC/USDT", "ETH/USDT"]
    asking = asyncio.create_task(first.markets.renew(3_600.0))
    await first.client.is_asked.wait()
    waiting = asyncio.create_task(second.markets.renew(3_600.0))
    await second.memory.has_looked.wait()
    first.client.may_answer.set()
    assert await asyncio.gather(asking, waiting) == [True, True]
    assert (first.client.loads, second.client.loads) == (1, 0)
    assert second.client.markets == first.client.markets and not await second.markets.renew(3_600.0)
    # What was loaded before the call is too old for one that wants a list of now.
    second.client.may_answer.set()
    assert await second.markets.renew(0.0) and second.client.loads == 1


async def test_a_list_without_markets_that_ours_has_is_not_taken_in_its_place(
    pair: tuple[Process, Process], tmp_path: Path
) -> None:
    first, second = pair
    await _with_a_list_of(7_200.0, tmp_path, first)
    await asyncio.gather(first.markets.load(), second.markets.load())
    # It asked for more types of markets.
    second.client.set_markets([{"symbol": s, "id": s, "active": True} for s in ("BTC/USDT", "BTC/USDT:USDT")])
    second.client.listed = ["BTC/USDT", "BTC/USDT:USDT"]
    first.client.may_answer.set()
    await first.markets.renew(3_600.0)
    second.client.may_answer.set()
    assert await second.markets.renew(3_600.0) and second.client.loads == 1
    assert {*second.client.markets} == {*second.client.listed}


async def test_a_list_that_a_client_cannot_read_leaves_it_the_one_it_has(
    pair: tuple[Process, Process], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = pair
    await _with_a_list_of(7_200.0, tmp_path, first)
    await asyncio.gather(first.markets.load(), second.markets.load())
    first.client.may_answer.set()
    first.client.listed = ["BTC/USDT", "ETH/USDT"]
    await first.markets.renew(3_600.0)
    before, set_markets, tried = second.client.markets, second.client.set_markets, list[list[Any]]()

    def fails_once(markets: list[Any], currencies: Any = None) -> None:
        tried.append(markets)
        if len(tried) == 1:
            raise KeyError("precision")
        set_markets(markets, currencies)

    monkeypatch.setattr(second.client, "set_markets", fails_once)
    asking = asyncio.create_task(second.markets.renew(3_600.0))
    await second.client.is_asked.wait()
    assert len(tried) == 2 and second.client.markets == before
    second.client.may_answer.set()
    assert await asking and second.client.loads == 1


async def test_a_list_is_not_taken_amid_a_load_that_may_put_an_older_one_back(
    pair: tuple[Process, Process], tmp_path: Path
) -> None:
    first, second = pair
    await _with_a_list_of(7_200.0, tmp_path, first)
    await first.markets.load()
    asking = asyncio.create_task(first.markets.renew(0.0))
    await first.client.is_asked.wait()
    stored = [{"symbol": symbol, "id": symbol, "active": True} for symbol in ("BTC/USDT", "ETH/USDT")]
    await second.memory.store_markets("okx", MarketList(stored, [], {}, {}))
    hearing = asyncio.create_task(first.markets.renew(3_600.0))
    assert await asyncio.wait({hearing}, timeout=0.2) == (set(), {hearing})
    first.client.listed = []
    first.client.may_answer.set()
    with pytest.raises(ExchangeUnavailable, match="not believed"):
        await asking
    assert await hearing and {*(first.client.markets or ())} == {"BTC/USDT", "ETH/USDT"}
