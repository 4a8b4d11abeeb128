"""A clock that was wrong once: nothing that was written by it holds anything up once it is right again."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from adapters.conftest import table
from redis.asyncio import Redis
from support.services import RedisServer

from seamless_assets.adapters.ccxt.clock import ExchangeClock, happened_within
from seamless_assets.adapters.machine.budget import MachineBudget
from seamless_assets.adapters.machine.leases import MachineLeases
from seamless_assets.adapters.redis.leases import RedisLeases
from seamless_assets.adapters.sqlite.store import SqliteHotStore
from seamless_assets.aio.single_flight import SingleFlight
from seamless_assets.core.calendar.segment import Segment
from seamless_assets.core.coverage.ledger import Fact, next_look
from seamless_assets.core.node import NodeId
from seamless_assets.core.sharing.lease import Fence
from seamless_assets.core.sharing.token_bucket import Budget
from seamless_assets.errors import LeaseLost, StaleToken
from seamless_assets.testing import DAY, START, random_walk

NODE = NodeId.parse("ohlcv:binance:BTC/USDT:1m")
CHUNK = Segment(START, START + 600)
BUDGET = Budget(tokens_per_interval=10, interval_ms=1_000, burst=4)
TTL = 60.0
SHIFTS = {
    "an hour ahead": 3_600,
    "40 days ahead": 40 * DAY,
    "10 years ahead": 3_650 * DAY,
    "an hour behind": -3_600,
    "40 days behind": -40 * DAY,
    "10 years behind": -3_650 * DAY,
}
real_time = time.time


class Machine:
    """The clock of this machine, and the stores of a process on it; a new one where it is not `kept`."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, shift: float, is_kept: bool) -> None:
        self._folder, self._patch, self._kept = folder, monkeypatch, is_kept
        self._opened: dict[type, Any] = {}
        self._all: list[Any] = []
        self.farthest = self.nearest = 0.0
        self.set(shift)

    def set(self, shift: float) -> None:
        """Set the clock."""
        self.shift = shift
        self.farthest, self.nearest = max(shift, self.farthest), min(shift, self.nearest)
        self._patch.setattr(time, "time", lambda: real_time() + shift)

    def set_right(self) -> None:
        """Set it right, under a process that goes on or before a new one begins."""
        self.set(0.0)
        if not self._kept:
            self._opened.clear()

    def open(self, kind: type) -> Any:
        """The process's store of a kind."""
        if kind not in self._opened:
            self._opened[kind] = kind(self._folder / f"{kind.__name__}.sqlite")
            self._all.append(self._opened[kind])
        return self._opened[kind]

    async def close(self) -> None:
        for store in self._all:
            await store.close()


async def a_key_is_free_again(machine: Machine) -> None:
    crashed = await machine.open(MachineLeases).claim("k", "crashed", TTL)
    machine.set_right()
    leases = machine.open(MachineLeases)
    lease = await leases.claim("k", "next", TTL)
    assert lease is not None and lease.holder == "next" and lease.token > crashed.token
    assert real_time() < lease.until <= real_time() + TTL
    for lost in (leases.renew(crashed, TTL), leases.complete(crashed)):
        with pytest.raises(LeaseLost):
            await lost
    await leases.complete(lease)
    assert ("NTP" in (await leases.status()).warning) == (machine.farthest > 0)


async def a_chunk_is_written_to(machine: Machine) -> None:
    before, old = table(random_walk(*CHUNK)), await machine.open(MachineLeases).claim("k", "w", TTL)
    await machine.open(SqliteHotStore).write_bars(
        NODE, before, [], recorded_at=time.time(), fence=Fence(CHUNK, old.token)
    )
    await machine.open(MachineLeases).complete(old)
    machine.set_right()
    leases, hot = machine.open(MachineLeases), machine.open(SqliteHotStore)
    lease = await leases.claim("another key, so that no token is remembered", "w", TTL)
    bars = table(random_walk(*CHUNK, seed=3))
    try:
        await hot.write_bars(NODE, bars, [], recorded_at=2.0, fence=Fence(CHUNK, lease.token))
    except StaleToken as stale:
        lease = await leases.renew(lease, TTL, stale.newest)
        await hot.write_bars(NODE, bars, [], recorded_at=2.0, fence=Fence(CHUNK, lease.token))
    assert await hot.load_bars(NODE, CHUNK) == bars
    with pytest.raises(StaleToken):
        await hot.write_bars(NODE, before, [], recorded_at=3.0, fence=Fence(CHUNK, lease.token - 1))
    assert ("NTP" in (await hot.status()).warning) == (machine.farthest > 0)


async def a_look_is_due_when_it_would_be(machine: Machine) -> None:
    now = time.time()
    soon, rarely = (
        Fact(START, START + 60, "missing", "", now, looks, now + next_look(looks)) for looks in (1, 5)
    )
    machine.set_right()
    assert not soon.rests_at(time.time())
    # An hour behind, it is due an hour before its day is over.
    assert rarely.rests_at(time.time()) == (-DAY < machine.farthest + machine.nearest < 0)


async def a_request_waits_no_longer(machine: Machine) -> None:
    budget = machine.open(MachineBudget)
    for _ in range(6):
        await budget.take("k", BUDGET, 1.0)
    await budget.cool_down("k", BUDGET, 5.0)
    machine.set_right()
    place = await machine.open(MachineBudget).take("k", BUDGET, 1.0)
    assert 0.0 <= place.wait <= 5.0 + 0.7


async def a_cool_down_is_over_when_it_is(machine: Machine) -> None:
    shift = machine.shift
    machine.set(0.0)
    await machine.open(MachineBudget).cool_down("k", BUDGET, 30.0)
    machine.set(shift)
    await machine.open(MachineBudget).take("k", BUDGET, 1.0)
    machine.set_right()
    assert (await machine.open(MachineBudget).take("k", BUDGET, 1.0)).wait <= 30.0 + 0.5


async def nobody_joins_what_is_too_old(machine: Machine) -> None:
    flights, runs, go = SingleFlight(lambda: time.time(), 100.0), 0, asyncio.Event()

    async def work() -> None:
        nonlocal runs
        runs += 1
        await go.wait()

    first = asyncio.create_task(flights.do("k", work))
    await asyncio.sleep(0)
    machine.set_right()
    second = asyncio.create_task(flights.do("k", work))
    await asyncio.sleep(0)
    go.set()
    await asyncio.gather(first, second)
    assert runs == 2


async def the_exchange_s_clock_is_asked_again(machine: Machine) -> None:
    asked = 0

    async def ask() -> float:
        nonlocal asked
        asked += 1
        return real_time()

    clock = ExchangeClock(ask)
    assert await clock.now() == pytest.approx(real_time(), abs=5)
    machine.set_right()
    assert await clock.now() == pytest.approx(real_time(), abs=5) and asked == 2
    assert await clock.now() == pytest.approx(real_time(), abs=5) and asked == 2


async def what_was_learned_is_not_fresh(machine: Machine) -> None:
    learned = time.time()
    machine.set_right()
    assert not happened_within(600.0, learned, time.time())
    assert happened_within(600.0, time.time(), time.time())


async def leases_are_counted_as_what_they_were(machine: Machine) -> None:
    leases = machine.open(MachineLeases)
    await leases.complete(await leases.claim("done", "w", TTL))
    await leases.claim("crashed", "w", TTL)
    machine.set_right()
    leases = machine.open(MachineLeases)
    for number in range(3):
        await leases.complete(await leases.claim(f"more {number}", "w", TTL))
    assert await leases.claim("crashed", "w2", TTL)
    tally = await leases.tally()
    assert (tally.completed, tally.failed, tally.held) == (4, 1, 1)


Decision = Callable[[Machine], Awaitable[None]]
DECISIONS: list[Decision] = [
    a_key_is_free_again,
    a_chunk_is_written_to,
    a_look_is_due_when_it_would_be,
    a_request_waits_no_longer,
    a_cool_down_is_over_when_it_is,
    nobody_joins_what_is_too_old,
    the_exchange_s_clock_is_asked_again,
    what_was_learned_is_not_fresh,
    leases_are_counted_as_what_they_were,
]


@pytest.mark.parametrize("is_kept", [True, False], ids=["set right while running", "right for a new process"])
@pytest.mark.parametrize("shift", list(SHIFTS.values()), ids=list(SHIFTS))
@pytest.mark.parametrize("decision", DECISIONS, ids=lambda decision: decision.__name__)
async def test_once_the_clock_is_right(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, decision: Decision, shift: float, is_kept: bool
) -> None:
    machine = Machine(tmp_path, monkeypatch, shift, is_kept)
    try:
        await decision(machine)
    finally:
        await machine.close()


@pytest.mark.parametrize("shift", [shift for shift in SHIFTS.values() if shift > 0])
async def test_a_server_s_clock_that_was_ahead_holds_no_key(redis_server: RedisServer, shift: float) -> None:
    key, leases = f"k{uuid4()}", RedisLeases(redis_server.url)
    crashed = await leases.claim(key, "crashed", TTL)
    assert crashed is not None
    # As that server would have left it.
    ahead = {"token": crashed.token + shift * 1_000_000, "until": (crashed.until + shift) * 1_000_000}
    async with Redis.from_url(redis_server.url) as client:
        await client.hset(f"lease:{key}", mapping={name: f"{value:.0f}" for name, value in ahead.items()})
    lease = await leases.claim(key, "next", TTL)
    assert lease is not None and lease.token > ahead["token"] and lease.until < real_time() + 2 * TTL
    await leases.close()


@pytest.mark.parametrize("shift", SHIFTS.values(), ids=SHIFTS)
async def test_how_far_an_exchanges_clock_is_ahead_is_known_however_ours_is_set(
    shift: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = Machine(tmp_path, monkeypatch, 0.0, True)

    async def ask() -> float:
        return real_time() + 40.0

    clock = ExchangeClock(ask)
    assert clock.skew == 0.0, "nobody has asked"
    await clock.now()
    assert clock.skew == pytest.approx(40.0, abs=1.0)
    machine.set(shift)
    assert clock.skew == pytest.approx(40.0 - shift, abs=1.0)


@pytest.mark.parametrize("shift", [-3.0, 0.3, 3.0])
async def test_an_exchanges_clock_is_asked_again_where_ours_was_set_by_little(
    shift: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a clock that is set ahead a bar that still forms would be asked for as closed."""
    machine = Machine(tmp_path, monkeypatch, 0.0, True)

    async def ask() -> float:
        return real_time()

    clock = ExchangeClock(ask)
    await clock.now()
    machine.set(shift)
    assert await clock.now() == pytest.approx(real_time(), abs=0.2)
