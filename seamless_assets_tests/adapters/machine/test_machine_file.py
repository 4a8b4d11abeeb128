"""A file of this machine: what goes into one transaction together stays apart."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT

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


async def test_each_who_asks_a_file_that_cannot_be_used_has_an_error_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "leases.sqlite").mkdir()
    leases = MachineLeases(tmp_path / "leases.sqlite")
    outcomes = await asyncio.gather(*(leases.held() for _ in range(4)), return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [LeaseStoreUnavailable] * 4
    assert len(set(map(id, outcomes))) == 4
    await leases.close()


ENDING = """
import asyncio, atexit, gc, threading
from pathlib import Path
from seamless_assets.adapters.machine.leases import MachineLeases
from seamless_assets.errors import LeaseStoreUnavailable

loop, leases = asyncio.new_event_loop(), MachineLeases(Path("leases.sqlite"))
threading.Thread(target=loop.run_forever, daemon=True).start()
ask = lambda: asyncio.run_coroutine_threadsafe(leases.held(), loop).result(20)

def end():
    try:
        ask()
    except LeaseStoreUnavailable as error:
        print("told:", error)
    gc.collect()

atexit.register(end)
print(ask())
"""


def test_a_process_that_ends_without_closing_is_told_it_and_leaves_no_task_behind(tmp_path: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", ENDING],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    first, told = ended.stdout.splitlines()
    assert first == "[]" and told.startswith("told: ") and "as the process ends" in told
    assert (ended.returncode, ended.stderr) == (0, "")


def test_a_loop_that_ends_waits_for_the_transaction_under_way(tmp_path: Path) -> None:
    """Else its thread would call into a loop that is closed."""
    begun, may_end, trouble = threading.Event(), threading.Event(), list[dict[str, Any]]()
    leases = MachineLeases(tmp_path / "leases.sqlite")

    def work(_: object) -> str:
        begun.set()
        assert may_end.wait(60)
        return "done"

    async def let_it_end_late() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            # By now everything on the loop was cancelled, and had its turns to leave.
            for _ in range(20):
                await asyncio.sleep(0)
            may_end.set()

    async def leave() -> asyncio.Task[str]:
        asyncio.get_running_loop().set_exception_handler(lambda _, told: trouble.append(told))
        asked = asyncio.create_task(leases._file.run(work))
        held.append(asyncio.create_task(let_it_end_late()))
        await asyncio.to_thread(begun.wait)
        return asked

    held: list[asyncio.Task[None]] = []
    asked = asyncio.run(leave())
    assert asked.cancelled() and may_end.is_set() and trouble == []
    asyncio.run(leases.close())


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
