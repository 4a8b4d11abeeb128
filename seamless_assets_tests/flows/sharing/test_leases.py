"""Holding leases on virtual time: waiting, renewing, losing, cancelling, and never leaving one behind."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import TypeVar

import pytest
from support.ports import embedded_ports

from seamless_assets.core.calendar.segment import Segment
from seamless_assets.core.sharing.events import LeaseWait
from seamless_assets.core.sharing.lease import Fence, Lease
from seamless_assets.core.sharing.policy import Policy
from seamless_assets.errors import LeaseLost, LeaseStoreUnavailable, StaleToken
from seamless_assets.flows.ports import LeaseStore, Ports
from seamless_assets.flows.sharing.failover import FailoverLeases
from seamless_assets.flows.sharing.leases import TOLD_AFTER_S, holding
from seamless_assets.flows.sharing.quota import CLAIMS_PER_SECOND, HELD_AT_ONCE
from seamless_assets.testing import (
    DAY,
    START,
    InMemoryExchange,
    InMemoryLeaseStore,
    ManualClock,
    RecordingObserver,
    VirtualClock,
    run_on_virtual_time,
)

KEY = "ohlcv:binance:BTC/USDT:1m@0-60"
TTL = 30.0
T = TypeVar("T")


def world(tmp_path: Path, leases: LeaseStore) -> Ports:
    base = embedded_ports(tmp_path, InMemoryExchange({}, ManualClock()))
    return replace(base, clock=VirtualClock(), leases=leases, policy=Policy(lease_ttl_ms=TTL * 1000))


def now() -> float:
    return asyncio.get_running_loop().time()


def test_a_lease_is_renewed_while_the_work_lasts_and_completed_after_it(tmp_path: Path) -> None:
    async def work() -> None:
        leases = InMemoryLeaseStore()
        async with holding(world(tmp_path, leases), KEY) as lease:
            for _ in range(100):
                await asyncio.sleep(TTL / 10)
                assert await leases.claim(KEY, "another", TTL) is None
        assert leases.ended == [(KEY, lease.token, "completed")] and not leases.live
        assert leases.calls.count("renew") == pytest.approx(10 * TTL / (TTL / 3), abs=1)

    run_on_virtual_time(work)


def test_a_slow_store_is_renewed_in_time(tmp_path: Path) -> None:
    async def work() -> None:
        leases = InMemoryLeaseStore(delay=TTL / 3.5)
        async with holding(world(tmp_path, leases), KEY):
            for _ in range(50):
                await asyncio.sleep(TTL / 5)
                assert leases.live[KEY].until > now()

    run_on_virtual_time(work)


def test_who_waits_gets_the_lease_soon_after_it_is_given_back(tmp_path: Path) -> None:
    async def work() -> None:
        shared = world(tmp_path, InMemoryLeaseStore())
        order: list[tuple[str, float]] = []

        async def hold(name: str, seconds: float) -> None:
            async with holding(shared, KEY):
                order.append((name, now()))
                await asyncio.sleep(seconds)

        await asyncio.gather(hold("first", 200.0), hold("second", 1.0))
        assert [name for name, _ in order] == ["first", "second"]
        assert 200 <= order[1][1] <= 202

    run_on_virtual_time(work)


@pytest.mark.parametrize(("held_s", "told"), [(1.5, 0), (40.0, 1)])
def test_who_waits_long_for_a_lease_says_so_once(tmp_path: Path, held_s: float, told: int) -> None:
    async def work() -> None:
        observer = RecordingObserver()
        shared = replace(world(tmp_path, InMemoryLeaseStore()), observer=observer)

        assert await shared.leases.claim(KEY, "another", held_s)
        async with holding(shared, KEY):
            pass
        waits = [event for event in observer.events if isinstance(event, LeaseWait)]
        assert len(waits) == told and all(TOLD_AFTER_S <= wait.waited_s < 5 for wait in waits)
        assert all((wait.key, wait.worker) == (KEY, shared.worker) for wait in waits)

    run_on_virtual_time(work)


def test_what_a_crashed_holder_left_is_taken_over_when_its_time_is_up(tmp_path: Path) -> None:
    async def work() -> None:
        leases = InMemoryLeaseStore()
        crashed = await leases.claim(KEY, "crashed", TTL)
        assert crashed
        async with holding(world(tmp_path, leases), KEY) as lease:
            assert TTL <= now() <= TTL + 1.5
            assert lease.token > crashed.token

    run_on_virtual_time(work)


@pytest.mark.parametrize("away", [False, True], ids=["taken over", "store away"])
def test_a_lease_that_cannot_be_renewed_stops_the_work_before_it_ends(tmp_path: Path, away: bool) -> None:
    async def work() -> None:
        leases = InMemoryLeaseStore()
        stopped: list[float] = []

        async def body() -> None:
            async with holding(world(tmp_path, leases), KEY):
                if away:
                    leases.is_away = True
                else:
                    del leases.live[KEY]
                try:
                    await asyncio.sleep(1000)
                finally:
                    stopped.append(now())

        with pytest.raises(LeaseLost, match="claim it again"):
            await body()
        assert stopped[0] <= TTL and asyncio.current_task().cancelling() == 0  # type: ignore[union-attr]

    run_on_virtual_time(work)


def test_a_store_that_is_away_for_a_moment_stops_nothing(tmp_path: Path) -> None:
    async def work() -> None:
        leases = InMemoryLeaseStore()
        async with holding(world(tmp_path, leases), KEY):
            for _ in range(20):
                leases.is_away = True
                await asyncio.sleep(TTL / 2)
                leases.is_away = False
                await asyncio.sleep(TTL / 2)
        assert not leases.live

    run_on_virtual_time(work)


async def test_an_error_gives_the_lease_back_with_its_reason(tmp_path: Path) -> None:
    leases = InMemoryLeaseStore(clock=ManualClock())  # type: ignore[arg-type]
    with pytest.raises(ZeroDivisionError):
        async with holding(world(tmp_path, leases), KEY):
            _ = 1 / 0
    assert [outcome for _, _, outcome in leases.ended] == ["ZeroDivisionError: division by zero"]


async def test_work_that_came_to_nothing_is_given_back_as_failed(tmp_path: Path) -> None:
    leases = InMemoryLeaseStore(clock=ManualClock())  # type: ignore[arg-type]
    async with holding(world(tmp_path, leases), KEY) as lease:
        lease.fail("the exchange is away " * 1_000)
    ((_, _, outcome),) = leases.ended
    assert outcome.startswith("the exchange is away") and outcome.endswith("(cut from 21,000 characters)")


class Fences:
    """A store that has seen a token."""

    def __init__(self, newest: int) -> None:
        self.newest = newest
        self.chunks: list[Segment] = []

    async def write(self, fence: Fence) -> int:
        self.chunks.append(fence.chunk)
        if fence.token < self.newest:
            raise StaleToken("a later holder", token=fence.token, newest=self.newest)
        self.newest = fence.token
        return fence.token


def test_a_holder_outranks_a_token_from_a_clock_that_was_wrong(tmp_path: Path) -> None:
    async def work() -> None:
        leases, ahead = InMemoryLeaseStore(), int((START + 40 * DAY) * 1_000_000)
        fences, chunk = Fences(ahead), Segment(0, 60)
        async with holding(world(tmp_path, leases), KEY) as lease:
            claimed = lease.token
            assert await lease.fenced(chunk, fences.write) == lease.token == ahead + 1 > claimed
            assert await lease.fenced(chunk, fences.write) == ahead + 1
            await asyncio.sleep(3 * TTL)
        assert leases.ended == [(KEY, ahead + 1, "completed")] and set(fences.chunks) == {chunk}

    run_on_virtual_time(work)


def test_who_lost_its_lease_outranks_nobody(tmp_path: Path) -> None:
    async def work() -> None:
        leases = InMemoryLeaseStore()
        fences = Fences(int((START + 40 * DAY) * 1_000_000))

        async def body() -> None:
            async with holding(world(tmp_path, leases), KEY) as lease:
                leases.expire(KEY)
                await leases.claim(KEY, "another", TTL)
                await lease.fenced(Segment(0, 60), fences.write)

        with pytest.raises(LeaseLost):
            await body()
        assert len(fences.chunks) == 1 and leases.live[KEY].holder == "another"

    run_on_virtual_time(work)


def test_where_nobody_can_say_who_holds_it_the_newer_token_stands(tmp_path: Path) -> None:
    async def work() -> None:
        leases, fences = InMemoryLeaseStore(), Fences(int((START + 40 * DAY) * 1_000_000))

        async def body() -> None:
            async with holding(world(tmp_path, leases), KEY) as lease:
                leases.is_away = True
                await lease.fenced(Segment(0, 60), fences.write)

        with pytest.raises(StaleToken):
            await body()

    run_on_virtual_time(work)


@pytest.mark.parametrize("away", [False, True], ids=["coordinator there", "coordinator away"])
def test_a_raised_token_is_held_by_both_halves_of_a_claim(tmp_path: Path, away: bool) -> None:
    async def work() -> None:
        shared, local = InMemoryLeaseStore(), InMemoryLeaseStore()
        leases, _ = failover(shared, local)
        lease = await leases.claim(KEY, "us", TTL)
        assert lease
        shared.is_away = away
        raised = await leases.renew(lease, TTL, lease.token + 5)
        assert raised.token >= lease.token + 6
        shared.is_away = False
        await asyncio.sleep(2.0)
        assert (await leases.renew(raised, TTL)).token == raised.token
        await leases.complete(raised)
        assert not shared.live and not local.live

    run_on_virtual_time(work)


@pytest.mark.parametrize("steps", range(60))
def test_a_cancellation_at_any_step_leaves_no_lease(tmp_path: Path, steps: int) -> None:
    async def work() -> None:
        leases = InMemoryLeaseStore(delay=0.03)

        async def body() -> None:
            async with holding(world(tmp_path, leases), KEY):
                await asyncio.sleep(0.2)

        task = asyncio.create_task(body())
        await asyncio.sleep(steps * 0.005)
        task.cancel()
        await asyncio.wait({task})
        assert task.cancelled() or steps >= 50
        assert not leases.live and len(asyncio.all_tasks()) == 1

    run_on_virtual_time(work)


def test_a_lease_lost_while_the_caller_cancels_is_a_cancellation(tmp_path: Path) -> None:
    async def work() -> None:
        leases = InMemoryLeaseStore()

        async def body() -> None:
            async with holding(world(tmp_path, leases), KEY):
                del leases.live[KEY]
                await asyncio.sleep(1000)

        task = asyncio.create_task(body())
        await asyncio.sleep(TTL / 3)
        task.cancel()
        await asyncio.wait({task})
        assert task.cancelled()

    run_on_virtual_time(work)


async def test_a_store_that_is_away_is_not_a_lease_held_by_another(tmp_path: Path) -> None:
    with pytest.raises(LeaseStoreUnavailable):
        async with holding(world(tmp_path, InMemoryLeaseStore(is_away=True)), KEY):
            pass


def test_a_process_holds_few_leases_at_once_and_asks_for_them_in_moderation(tmp_path: Path) -> None:
    async def work() -> None:
        leases, most = InMemoryLeaseStore(), 0
        ours = world(tmp_path, leases)
        taken = [await leases.claim(f"ohlcv:binance:{number}", "another", 20.0) for number in range(500)]
        assert all(taken)
        leases.calls.clear()

        async def hold(number: int) -> None:
            nonlocal most
            async with holding(ours, f"ohlcv:binance:{number}"):
                most = max(most, sum(held.holder != "another" for held in leases.live.values()))
                await asyncio.sleep(0.1)

        holders = [asyncio.create_task(hold(number)) for number in range(500)]
        await asyncio.sleep(10)
        assert len(leases.calls) <= 500 + 10 * 1.5 * CLAIMS_PER_SECOND
        await asyncio.wait(holders)
        assert 16 <= most <= HELD_AT_ONCE
        assert now() < 20 + 2.5 * 500 / CLAIMS_PER_SECOND

    run_on_virtual_time(work)


def failover(
    shared: InMemoryLeaseStore, local: InMemoryLeaseStore
) -> tuple[FailoverLeases, RecordingObserver]:
    heard = RecordingObserver()
    return FailoverLeases(shared, local, VirtualClock(), heard), heard


class Unsteady(InMemoryLeaseStore):
    """A store whose answers are late or lost, after the work was done."""

    def __init__(self, luck: int) -> None:
        super().__init__()
        self.rng = Random(luck)

    def trouble(self) -> None:
        self.is_away = self.rng.random() < 0.2
        self.delay = self.rng.choice([0.0, 0.01, TTL / 4, TTL])

    async def claim(self, key: str, holder: str, ttl: float) -> Lease | None:
        self.trouble()
        return self.lose(await super().claim(key, holder, ttl))

    async def renew(self, lease: Lease, ttl: float, above: int | None = None) -> Lease:
        self.trouble()
        return self.lose(await super().renew(lease, ttl, above))

    def lose(self, answer: T) -> T:
        if self.rng.random() < 0.1:
            raise LeaseStoreUnavailable("the answer was lost")
        return answer


@pytest.mark.parametrize("luck", range(6))
@pytest.mark.parametrize("alone", [True, False], ids=["one store", "a coordinator and this machine"])
def test_no_two_ever_work_under_one_lease(tmp_path: Path, luck: int, alone: bool) -> None:
    async def work() -> None:
        leases, rng, local = Unsteady(luck), Random(luck), InMemoryLeaseStore()
        stores = [leases if alone else failover(leases, local)[0] for _ in range(3)]
        processes = [
            replace(world(tmp_path, store), worker=f"w{number}") for number, store in enumerate(stores)
        ]
        working: set[str] = set()
        done = 0

        async def hold(key: str) -> None:
            nonlocal done
            with suppress(LeaseLost, LeaseStoreUnavailable, ZeroDivisionError):
                async with holding(rng.choice(processes), key):
                    assert key not in working
                    working.add(key)
                    try:
                        await asyncio.sleep(rng.random() * 3 * TTL)
                        _ = 1 / rng.choice([0, 1, 1])
                        done += 1
                    finally:
                        working.discard(key)

        tasks = []
        for _ in range(100):
            tasks.append(asyncio.create_task(hold(f"ohlcv:x:{rng.randrange(4)}")))
            await asyncio.sleep(rng.random() * TTL)
            if rng.random() < 0.3:
                rng.choice(tasks).cancel()
        await asyncio.wait(tasks)
        for task in tasks:
            assert task.cancelled() or task.exception() is None
        assert done >= 8 and len(asyncio.all_tasks()) == 1
        assert all(lease.until <= now() + START + TTL for lease in leases.live.values())

    run_on_virtual_time(work)


@pytest.mark.parametrize("ahead_s", [-300.0, 0.0, 300.0])
def test_whoever_has_set_a_clock_gives_back_both_halves_of_each_lease(ahead_s: float) -> None:
    class SetClock(VirtualClock):
        def now(self) -> float:
            return super().now() + ahead_s

    async def work() -> None:
        shared, local = InMemoryLeaseStore(), InMemoryLeaseStore()
        leases = FailoverLeases(shared, local, SetClock(), RecordingObserver())
        claims = [await leases.claim(f"{KEY}{number}", "w", TTL) for number in range(3)]
        for lease in claims:
            assert lease is not None
            await leases.complete(await leases.renew(lease, TTL))
        assert not shared.live and not local.live

    run_on_virtual_time(work)
