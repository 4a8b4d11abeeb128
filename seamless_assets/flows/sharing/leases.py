"""Holding a lease: claimed before the work, renewed beside it, given back after it, whatever happens."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import TypeVar

from seamless_assets.aio.priority import Slot, Slots
from seamless_assets.aio.shield import acquire_shielded, shielded
from seamless_assets.aio.timing import monotonic
from seamless_assets.core.calendar.segment import Segment
from seamless_assets.core.sharing.events import LeaseWait
from seamless_assets.core.sharing.lease import Fence, Lease, cut_reason
from seamless_assets.errors import LeaseLost, LeaseStoreUnavailable, StaleToken
from seamless_assets.flows.ports import Ports
from seamless_assets.flows.sharing.quota import CLAIMS_PER_SECOND

T = TypeVar("T")
FIRST_WAIT_S = 0.05
TOLD_AFTER_S = 2.0
"""Who waits longer for a lease says so."""
GIVE_BACK_WAITS_S = (0.1, 0.4)


class HeldLease:
    """A lease that this worker holds while it works, with what is to be said when it is given back."""

    def __init__(self, ports: Ports, lease: Lease) -> None:
        self._ports, self._lease = ports, lease
        self._renewing = asyncio.Lock()
        self.failure = ""

    @property
    def key(self) -> str:
        """What is claimed."""
        return self._lease.key

    @property
    def token(self) -> int:
        """The fencing token; it grows where a write meets a newer one though the lease is still ours."""
        return self._lease.token

    def fail(self, reason: str) -> None:
        """Say that the work came to nothing: the lease is given back as failed, with that reason."""
        self.failure = reason

    async def fenced(self, chunk: Segment, write: Callable[[Fence], Awaitable[T]]) -> T:
        """The outcome of a write under this lease's fence for `chunk`.

        Where the store knows a newer token, this lease gets one above it if it is still held: then the
        newer one came from a clock that was wrong, or from a granter that forgot. Raises `StaleToken` where
        that cannot be said, and `LeaseLost`.
        """
        try:
            return await write(Fence(chunk, self.token))
        except StaleToken as stale:
            try:
                await shielded(asyncio.create_task(self.renew(above=stale.newest)))
            except LeaseStoreUnavailable:
                raise stale from None
        return await write(Fence(chunk, self.token))

    async def renew(self, above: int | None = None) -> None:
        """Hold on, under a token above `above`. Raises `LeaseLost`, `LeaseStoreUnavailable`."""
        async with self._renewing:
            ttl = self._ports.policy.lease_ttl_ms / 1000
            self._lease = await self._ports.leases.renew(self._lease, ttl, above)

    async def give_back(self, error: BaseException | None = None) -> None:
        """Give it back, done or failed; one that cannot be given back ends with its time."""
        failure = self.failure if error is None else f"{type(error).__name__}: {error}"
        if failure:
            await _give_back(self._ports, lambda: self._ports.leases.fail(self._lease, cut_reason(failure)))
        else:
            await _give_back(self._ports, lambda: self._ports.leases.complete(self._lease))


@asynccontextmanager
async def holding(ports: Ports, key: str) -> AsyncIterator[HeldLease]:
    """Hold the lease of `key` while the body works; waits while another holds it.

    A lease that cannot be renewed cancels the body and raises `LeaseLost`: claim again, and do what is
    still to be done. Raises `LeaseStoreUnavailable` where nobody can say who holds it.
    """
    lease, slot = await _claim(ports, ports.quota.slots(key), key)
    held = HeldLease(ports, lease)
    try:
        async with asyncio.timeout(None) as cut:
            keeper = asyncio.create_task(_keep(ports, held))
            keeper.add_done_callback(lambda ended: None if ended.cancelled() else _cut(cut))
            try:
                yield held
            finally:
                keeper.cancel()
                await asyncio.wait({keeper})
    except (Exception, asyncio.CancelledError) as error:
        await held.give_back(error)
        if isinstance(error, TimeoutError) and cut.expired():
            raise _lost(held) from error
        raise
    else:
        await held.give_back()
    finally:
        slot.release()


async def _claim(ports: Ports, slots: Slots, key: str) -> tuple[Lease, Slot]:
    """The lease, and one of `slots` with it, as soon as nobody else holds it; none is left if cancelled."""
    # Each claim has a name of its own, so one whose answer was lost can be asked for again.
    holder = f"{ports.worker}#{ports.rng.getrandbits(32):08x}"
    ttl = ports.policy.lease_ttl_ms / 1000
    wait, began, is_told = FIRST_WAIT_S, ports.clock.now(), False
    while True:
        slot = await slots.acquire()
        lease: Lease | None = None
        try:
            lease = await _ask(ports, key, holder, ttl)
        finally:
            if lease is None:
                slot.release()
        if lease is not None:
            return lease, slot
        waited = ports.clock.now() - began
        if waited >= TOLD_AFTER_S and not is_told:
            is_told = True
            ports.observer.notify(LeaseWait(key, ports.worker, waited))
        with ports.quota.waiting() as crowd:
            usual = max(wait, crowd / CLAIMS_PER_SECOND)
            await ports.clock.sleep(min(usual * (0.5 + ports.rng.random()), ttl))
        wait = min(2 * wait, ports.quota.longest_wait_s)


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


async def _keep(ports: Ports, held: HeldLease) -> None:
    """Renew while that succeeds.

    A third of the lease passes before each renewal and a third is given to it, so that with the last third
    an answer may have been as late as that, and the work still ends before the lease does.
    """
    third = ports.policy.lease_ttl_ms / 3000
    is_held = True
    while is_held:
        await ports.clock.sleep(third)
        renewing = asyncio.create_task(_renew(ports, held, third))
        limit = asyncio.ensure_future(ports.clock.sleep(third))
        try:
            await asyncio.wait({renewing, limit}, return_when=asyncio.FIRST_COMPLETED)
            is_held = renewing.done() and renewing.result()
        finally:
            renewing.cancel()
            limit.cancel()
            await asyncio.wait({renewing, limit})


async def _renew(ports: Ports, held: HeldLease, third: float) -> bool:
    """Whether the lease was renewed; asks again while its store cannot be reached."""
    while True:
        try:
            await held.renew()
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
    body.reschedule(monotonic())


def _lost(lease: HeldLease) -> LeaseLost:
    return LeaseLost(
        f"the lease of {lease.key} (token {lease.token}) ran out or was taken over while the work went on; "
        "claim it again and do what is still missing",
        key=lease.key,
        token=lease.token,
    )
