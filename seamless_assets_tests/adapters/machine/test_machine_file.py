"""A file of this machine: what goes into one transaction together stays apart."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from seamless_assets.adapters.machine.leases import MachineLeases
from seamless_assets.core.sharing.lease import Lease
from seamless_assets.errors import LeaseLost


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
    told = await asyncio.gather(
        leases.claim("first", "w", 60),
        leases.claim(key, holder, ttl),
        leases.renew(Lease("bad", 1, "w", 0.0), 60),
        leases.claim("last", "w", 60),
        return_exceptions=True,
    )
    first, bad, lost, last = told
    assert isinstance(first, Lease) and isinstance(last, Lease)
    assert isinstance(bad, ValueError | ArithmeticError) and isinstance(lost, LeaseLost)
    assert [lease.key for lease in await leases.held()] == ["first", "last"]
    # The claim that failed had counted the lease before it as lost, and that was undone with it.
    assert (await leases.tally()).failed == tally.failed
    await leases.close()
