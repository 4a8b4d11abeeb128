"""A file of this machine: what goes into one transaction together stays apart."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from seamless_assets.adapters.machine.budget import MachineBudget
from seamless_assets.adapters.machine.leases import MachineLeases
from seamless_assets.core.sharing.lease import Lease
from seamless_assets.core.sharing.token_bucket import Budget
from seamless_assets.errors import BudgetUnavailable, LeaseLost, LeaseStoreUnavailable


async def test_who_asks_a_closed_file_learns_it_and_waits_for_nothing(tmp_path: Path) -> None:
    leases, budget = MachineLeases(tmp_path / "leases.sqlite"), MachineBudget(tmp_path / "budget.sqlite")
    place = await budget.take("key", Budget(1, 1_000, 1), 1)
    await leases.held()
    for file in (leases, budget):
        await file.close()
    with pytest.raises(LeaseStoreUnavailable, match="was closed"):
        await leases.held()
    with pytest.raises(BudgetUnavailable, match="was closed"):
        await budget.give_back("key", Budget(1, 1_000, 1), place)


@pytest.mark.parametrize(
    ("key", "holder", "ttl"),
    [("\ud800", "w", 60), ("bad", "\ud800", 60), ("bad", "w", 10**400)],
    ids=["key", "holder", "ttl"],
)
async def test_one_that_cannot_be_stored_fails_alone(
    tmp_path: Path, key: str, holder: str, ttl: float
) -> None:
    leases = MachineLeases(tmp_path / "leases.sqlite")
    await leases.claim("bad", "gone", -1)
    tally = await leases.tally()
    outcomes = await asyncio.gather(
        leases.claim("first", "w", 60),
        leases.claim(key, holder, ttl),
        leases.renew(Lease("bad", 1, "w", 0.0), 60),
        leases.claim("last", "w", 60),
        return_exceptions=True,
    )
    first, bad, lost, last = outcomes
    assert isinstance(first, Lease) and isinstance(last, Lease)
    assert isinstance(bad, ValueError | ArithmeticError) and isinstance(lost, LeaseLost)
    assert [lease.key for lease in await leases.held()] == ["first", "last"]
    # The claim that failed had counted the lease before it as lost, and that was undone with it.
    assert (await leases.tally()).failed == tally.failed
    await leases.close()
