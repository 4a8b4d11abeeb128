"""Processes of one machine that need the list of an exchange's markets at one time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from seamless_assets.adapters.ccxt.markets import lists
from seamless_assets.adapters.ccxt.markets.lists import Markets
from seamless_assets.adapters.ccxt.memory import ExchangeMemory
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

    async def take_turn(self, place: str, seconds: float) -> bool:
        is_ours = await super().take_turn(place, seconds)
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


async def test_a_process_that_was_killed_in_its_turn_holds_nobody_up_for_long(
    pair: tuple[Process, Process], monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = pair
    monkeypatch.setattr(lists, "TURN_S", 0.2)
    assert await first.memory.take_turn("okx", 0.2)
    second.client.may_answer.set()
    await second.markets.load()
    assert second.client.loads == 1


async def test_each_waits_for_one_turn_alone(
    pair: tuple[Process, Process], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Whoever has the turn may hang until its request is given up, and so may the next one.
    first, second = pair
    assert await first.memory.take_turn("okx", 3_600.0)
    monkeypatch.setattr(lists, "TURN_S", 0.2)
    second.client.may_answer.set()

    async def taken_by_another(_: str, __: float) -> bool:
        return False

    monkeypatch.setattr(second.memory, "take_turn", taken_by_another)
    await second.markets.load()
    assert second.client.loads == 1


async def test_the_turn_is_one_of_each_place(pair: tuple[Process, Process]) -> None:
    first, second = pair
    assert await first.memory.take_turn("okx", 60.0)
    assert await second.memory.take_turn("binance", 60.0)
    assert not await second.memory.take_turn("okx", 60.0)
    await first.memory.end_turn("okx")
    assert await second.memory.take_turn("okx", 60.0)
