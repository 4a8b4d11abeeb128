"""Leases of a coordinator, and of this machine while it is away: what each has, loses and gets back."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from seamless_assets.errors import LeaseLost, LeaseStoreUnavailable
from seamless_assets.flows.sharing.leases import holding
from seamless_assets.testing import InMemoryLeaseStore, RecordingObserver, run_on_virtual_time
from seamless_assets_tests.flows.sharing.test_leases import KEY, TTL, failover, world


def availability(heard: RecordingObserver) -> list[Any]:
    return [event.is_available for event in heard.events]  # type: ignore[union-attr]


def test_work_goes_on_under_this_machines_lease_while_the_coordinator_is_away(tmp_path: Path) -> None:
    async def work() -> None:
        shared, local = InMemoryLeaseStore(is_away=True), InMemoryLeaseStore()
        leases, heard = failover(shared, local)
        async with holding(world(tmp_path, leases), KEY):
            assert await leases.claim(KEY, "another process of this machine", TTL) is None
            await asyncio.sleep(5 * TTL)
        assert availability(heard) == [False]
        shared.is_away = False
        await asyncio.sleep(TTL)
        async with holding(world(tmp_path, leases), KEY) as lease:
            assert shared.live[KEY].token == lease.token
        assert availability(heard) == [False, True]
        assert not shared.live and not local.live

    run_on_virtual_time(work)


@pytest.mark.parametrize("outage", [1.0, 10 * TTL])
def test_the_coordinator_has_its_half_back_though_this_machines_file_is_away(outage: float) -> None:
    async def work() -> None:
        shared, local = InMemoryLeaseStore(), InMemoryLeaseStore()
        leases, _ = failover(shared, local)
        lease = await leases.claim(KEY, "w", TTL)
        assert lease is not None
        local.is_away = True
        with pytest.raises(LeaseStoreUnavailable):
            await leases.complete(lease)
        assert shared.ended == [(KEY, lease.token, "completed")] and not shared.live
        await asyncio.sleep(outage)
        local.is_away = False
        if outage < TTL:
            await leases.complete(lease)
            assert not local.live and not leases._pairs
        else:
            # Nobody tried again, and nothing of it is kept.
            await leases.claim("another", "w", TTL)
            assert [key for key, _ in leases._pairs] == ["another"]
        assert len(shared.ended) == 1

    run_on_virtual_time(work)


@pytest.mark.parametrize("above", [None, 10**15])
def test_what_was_not_given_back_is_forgotten_beside_leases_that_are_held_for_long(above: int | None) -> None:
    async def work() -> None:
        local = InMemoryLeaseStore()
        leases, _ = failover(InMemoryLeaseStore(), local)
        held, lost = await leases.claim("held", "w", TTL), await leases.claim("lost", "w", TTL)
        assert held is not None and lost is not None
        await asyncio.sleep(TTL / 2)
        held = await leases.renew(held, TTL, above)
        local.is_away = True
        with pytest.raises(LeaseStoreUnavailable):
            await leases.complete(lost)
        local.is_away = False
        await asyncio.sleep(TTL / 2 + 1)
        assert await leases.claim("another", "w", TTL) is not None
        assert [key for key, _ in leases._pairs] == ["held", "another"]

    run_on_virtual_time(work)


@pytest.mark.parametrize("above", [None, 10**15])
def test_a_lease_may_be_given_back_while_it_is_renewed(above: int | None) -> None:
    async def work() -> None:
        shared, local = InMemoryLeaseStore(delay=1.0), InMemoryLeaseStore()
        leases, _ = failover(shared, local)
        lease = await leases.claim(KEY, "w", TTL)
        assert lease is not None
        renewing = asyncio.create_task(leases.renew(lease, TTL, above))
        await asyncio.sleep(0.5)
        with suppress(LeaseLost):
            await leases.complete(lease)
        await asyncio.wait({renewing})
        renewing.result()
        assert not leases._pairs

    run_on_virtual_time(work)


def test_a_coordinator_lost_in_the_middle_stops_no_work_and_lets_no_second_in(tmp_path: Path) -> None:
    async def work() -> None:
        shared, local = InMemoryLeaseStore(), InMemoryLeaseStore()
        leases, heard = failover(shared, local)
        other, _ = failover(shared, local)
        async with holding(world(tmp_path, leases), KEY):
            shared.is_away = True
            for _ in range(10):
                await asyncio.sleep(TTL / 4)
                assert await other.claim(KEY, "other", TTL) is None
        assert not local.live and availability(heard) == [False]
        assert await other.claim(KEY, "other", TTL) is not None

    run_on_virtual_time(work)


def test_a_lease_taken_over_at_the_coordinator_is_lost(tmp_path: Path) -> None:
    async def work() -> None:
        shared, local = InMemoryLeaseStore(), InMemoryLeaseStore()
        leases, _ = failover(shared, local)

        async def body() -> None:
            async with holding(world(tmp_path, leases), KEY):
                shared.live.clear()
                await shared.claim(KEY, "another machine", 1000)
                await asyncio.sleep(1000)

        with pytest.raises(LeaseLost):
            await body()
        assert not local.live and shared.live[KEY].holder == "another machine"

    run_on_virtual_time(work)


def test_a_key_held_on_this_machine_is_given_back_to_the_coordinator(tmp_path: Path) -> None:
    async def work() -> None:
        shared, local = InMemoryLeaseStore(), InMemoryLeaseStore()
        leases, _ = failover(shared, local)
        await local.claim(KEY, "claimed while the coordinator was away", TTL)
        assert await leases.claim(KEY, "us", TTL) is None
        assert not shared.live

    run_on_virtual_time(work)
