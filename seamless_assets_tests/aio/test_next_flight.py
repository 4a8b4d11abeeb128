"""Work that is shared by those who asked before it began, and by nobody else."""

from __future__ import annotations

import asyncio

import pytest

from seamless_assets.aio.next_flight import NextFlight
from seamless_assets.testing import run_on_virtual_time


class Counter:
    """Work that says how often it was begun, and ends when it is let go on."""

    def __init__(self) -> None:
        self.begun = 0
        self.gate = asyncio.Event()

    async def work(self, key: str) -> tuple[str, int]:
        self.begun += 1
        number = self.begun
        await self.gate.wait()
        if key == "bad":
            raise ValueError(key)
        return key, number


async def rest() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def test_who_comes_while_it_is_under_way_shares_the_next_time() -> None:
    counter = Counter()
    flight = NextFlight(counter.work)
    first = [asyncio.create_task(flight.ask("a")) for _ in range(3)]
    await rest()
    later = [asyncio.create_task(flight.ask("a")) for _ in range(5)]
    other = asyncio.create_task(flight.ask("b"))
    await rest()
    assert counter.begun == 2, "one of each key, and none twice at once"
    counter.gate.set()
    assert await asyncio.gather(*first) == [("a", 1)] * 3 and await other == ("b", 2)
    assert await asyncio.gather(*later) == [("a", 3)] * 5
    assert await flight.ask("a") == ("a", 4)


def test_nobody_waits_longer_than_the_patience_for_work_before_its_own() -> None:
    async def work() -> None:
        counter = Counter()
        flight = NextFlight(counter.work, 0.25)
        first = asyncio.create_task(flight.ask("a"))
        await rest()
        later = [asyncio.create_task(flight.ask("a")) for _ in range(3)]
        await asyncio.sleep(0.2)
        assert counter.begun == 1
        await asyncio.sleep(0.1)
        assert counter.begun == 2 and not first.done()
        counter.gate.set()
        assert await first == ("a", 1) and await asyncio.gather(*later) == [("a", 2)] * 3
        assert await flight.ask("a") == ("a", 3)

    run_on_virtual_time(work)


async def test_an_error_is_told_to_all_who_share_it_and_to_nobody_after_them() -> None:
    counter = Counter()
    flight = NextFlight(counter.work)
    asking = [asyncio.create_task(flight.ask("bad")) for _ in range(3)]
    await rest()
    later = asyncio.create_task(flight.ask("bad"))
    await rest()
    counter.gate.set()
    outcomes = await asyncio.gather(*asking, later, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [ValueError] * 4 and counter.begun == 2
    with pytest.raises(ValueError, match="bad"):
        await flight.ask("bad")


async def test_who_is_cancelled_cancels_no_other() -> None:
    counter = Counter()
    flight = NextFlight(counter.work)
    one, other = asyncio.create_task(flight.ask("a")), asyncio.create_task(flight.ask("a"))
    await rest()
    waiting, staying = asyncio.create_task(flight.ask("a")), asyncio.create_task(flight.ask("a"))
    await rest()
    one.cancel()
    waiting.cancel()
    counter.gate.set()
    assert await other == ("a", 1) and await staying == ("a", 2)
