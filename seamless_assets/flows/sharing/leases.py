"""Holding a lease: claimed before the work, renewed beside it, given back after it, whatever happens."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial

from seamless_assets.aio.shield import acquire_shielded, shielded
from seamless_assets.core.sharing.lease import Lease
from seamless_assets.errors import LeaseLost, LeaseStoreUnavailable
from seamless_assets.flows.ports import Ports
from seamless_assets.flows.sharing.quota import CLAIMS_PER_SECOND

FIRST_WAIT_S = 0.05
LONGEST_WAIT_S = 1.0
GIVE_BACK_WAITS_S = (0.1, 0.4)


@asynccontextmanager
async def holding(ports: Ports, key: str) -> AsyncIterator[Lease]:
    """Hold the lease of `key` while the body works; waits while another holds it.

    A lease that cannot be renewed cancels the body and raises `LeaseLost`: claim again, and do what is
    still to be done. Raises `LeaseStoreUnavailable` where nobody can say who holds it.
    """
    slots = ports.quota.slots(key)
    lease = await _claim(ports, slots, key)
    try:
        async with asyncio.timeout(None) as cut:
            keeper = asyncio.create_task(_keep(ports, lease))
            keeper.add_done_callback(lambda ended: None if ended.cancelled() else _cut(cut))
            try:
                yield lease
            finally:
                keeper.cancel()
                await asyncio.wait({keeper})
    except (Exception, asyncio.CancelledError) as error:
        reason = f"{type(error).__name__}: {error}"
        await _give_back(ports, lambda: ports.leases.fail(lease, reason))
        if isinstance(error, TimeoutError) and cut.expired():
            raise _lost(lease) from error
        raise
    else:
        await _give_back(ports, lambda: ports.leases.complete(lease))
    finally:
        slots.release()


async def _claim(ports: Ports, slots: asyncio.Semaphore, key: str) -> Lease:
    """The lease, and one of `slots` with it, as soon as nobody else holds it; none is left if cancelled."""
    # Each claim has a name of its own, so one whose answer was lost can be asked for again.
    holder = f"{ports.worker}#{ports.rng.getrandbits(32):08x}"
    ttl = ports.policy.lease_ttl_ms / 1000
    wait = FIRST_WAIT_S
    while True:
        await slots.acquire()
        lease: Lease | None = None
        try:
            lease = await _ask(ports, key, holder, ttl)
        finally:
            if lease is None:
                slots.release()
        if lease is not None:
            return lease
        with ports.quota.waiting() as crowd:
            usual = max(wait, crowd / CLAIMS_PER_SECOND)
            await ports.clock.sleep(min(usual * (0.5 + ports.rng.random()), ttl))
        wait = min(2 * wait, LONGEST_WAIT_S)


async def _ask(ports: Ports, key: str, holder: str, ttl: float) -> Lease | None:
    """One claim; where its answer is so late that the lease may be over before its renewal, one more."""
    while True:
        began = ports.clock.now()
        claiming = asyncio.ensure_future(ports.leases.claim(key, holder, ttl))
        lease = await acquire_shielded(claiming, partial(_unclaim, ports))
        if lease is None or ports.clock.now() - began <= ttl / 3:
            return lease


async def _unclaim(ports: Ports, lease: Lease | None) -> None:
    if lease is not None:
        await _give_back(ports, lambda: ports.leases.fail(lease, "cancelled"))


async def _keep(ports: Ports, lease: Lease) -> None:
    """Renew while that succeeds.

    A third of the lease passes before each renewal and a third is given to it, so that with the last third
    an answer may have been as late as that, and the work still ends before the lease does.
    """
    third = ports.policy.lease_ttl_ms / 3000
    is_held = True
    while is_held:
        await ports.clock.sleep(third)
        renewing = asyncio.create_task(_renew(ports, lease, third))
        limit = asyncio.ensure_future(ports.clock.sleep(third))
        try:
            await asyncio.wait({renewing, limit}, return_when=asyncio.FIRST_COMPLETED)
            is_held = renewing.done() and renewing.result()
        finally:
            renewing.cancel()
            limit.cancel()
            await asyncio.wait({renewing, limit})


async def _renew(ports: Ports, lease: Lease, third: float) -> bool:
    """Whether the lease was renewed; asks again while its store cannot be reached."""
    while True:
        try:
            await ports.leases.renew(lease, 3 * third)
        except LeaseLost:
            return False
        except LeaseStoreUnavailable:
            await ports.clock.sleep(third / 8)
        else:
            return True


async def _give_back(ports: Ports, giving: Callable[[], Awaitable[None]]) -> None:
    """Give a lease back, cancelled or not; one that cannot be given back ends with its time."""
    await shielded(asyncio.create_task(_given_back(ports, giving)))


async def _given_back(ports: Ports, giving: Callable[[], Awaitable[None]]) -> None:
    for wait in (0.0, *GIVE_BACK_WAITS_S):
        await ports.clock.sleep(wait)
        try:
            await giving()
        except LeaseLost:
            break
        except LeaseStoreUnavailable:
            continue
        break


def _cut(body: asyncio.Timeout) -> None:
    body.reschedule(asyncio.get_running_loop().time())


def _lost(lease: Lease) -> LeaseLost:
    return LeaseLost(
        f"the lease of {lease.key} (token {lease.token}) ran out or was taken over while the work went on; "
        "claim it again and do what is still missing",
        key=lease.key,
        token=lease.token,
    )
