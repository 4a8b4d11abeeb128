"""Leases of a coordinator, and of this machine while the coordinator is away."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from seamless_assets.aio.shield import shielded
from seamless_assets.aio.timing import monotonic
from seamless_assets.core.sharing.lease import Lease
from seamless_assets.errors import LeaseLost, LeaseStoreUnavailable
from seamless_assets.flows.ports import Clock, LeaseStore, Observer
from seamless_assets.flows.sharing.outage import Outage

RESTART_PAUSES_S = (0.2, 0.6, 1.2)


@dataclass(frozen=True, slots=True)
class _Pair:
    """A claim's two halves: what the coordinator granted, if it answered, and what this machine did.

    `over_at` is when both are over, by a clock that nobody sets.
    """

    shared: Lease | None
    local: Lease
    over_at: float = 0.0


class FailoverLeases:
    """A `LeaseStore` over a coordinator's (`shared`) and this machine's (`local`).

    Whoever claims at the coordinator claims here too, so that processes of one machine stay apart when it
    is lost in the middle. A coordinator that does not answer is not one that says no: work goes on under
    this machine's lease. The token is the coordinator's where it answered.
    """

    def __init__(self, shared: LeaseStore, local: LeaseStore, clock: Clock, observer: Observer) -> None:
        self._shared, self._local, self._clock = shared, local, clock
        self._outage = Outage("leases", clock, observer)
        self._pairs: dict[tuple[str, int], _Pair] = {}

    async def claim(self, key: str, holder: str, ttl: float) -> Lease | None:
        """Claim `key` for `ttl` seconds at both; None while another holds it at either."""
        shared: Lease | None = None
        if self._outage.may_ask():
            try:
                shared = await self._claim_there(key, holder, ttl)
            except LeaseStoreUnavailable as error:
                self._outage.begin(error)
            else:
                self._outage.end()
                if shared is None:
                    return None
        local = await self._claim_here(key, holder, ttl, shared)
        if local is None:
            return None
        lease = shared or local
        self._forget_over()
        self._pairs[key, lease.token] = _Pair(shared, local, monotonic() + ttl)
        return lease

    async def renew(self, lease: Lease, ttl: float, above: int | None = None) -> Lease:
        """Hold on where it was claimed, under a token above `above` where that is given.

        Raises `LeaseLost` and, of this machine, `LeaseStoreUnavailable`.
        """
        pair = self._pair(lease)
        local = await self._local.renew(pair.local, ttl, above)
        shared, until, over_at = pair.shared, local.until, monotonic() + ttl
        self._pairs[lease.key, lease.token] = _Pair(shared, local, over_at)
        if shared is not None and self._outage.may_ask():
            try:
                shared = await self._shared.renew(shared, ttl, above)
            except LeaseStoreUnavailable as error:
                self._outage.begin(error)
            else:
                self._outage.end()
                until = shared.until
        token = lease.token if above is None else max(local.token, shared.token if shared else 0)
        # It may have been given back while the coordinator was asked.
        if self._pairs.pop((lease.key, lease.token), None) is not None:
            self._pairs[lease.key, token] = _Pair(shared, local, over_at)
        return Lease(lease.key, token, lease.holder, until)

    async def complete(self, lease: Lease) -> None:
        """Give it back where it was claimed, the work done."""
        await self._give_back(lease, None)

    async def fail(self, lease: Lease, reason: str) -> None:
        """Give it back where it was claimed, the work not done."""
        await self._give_back(lease, reason)

    async def _claim_there(self, key: str, holder: str, ttl: float) -> Lease | None:
        """Ask the coordinator; while nobody knows of an outage, a restart of it is waited out."""
        for pause in () if self._outage.is_on else RESTART_PAUSES_S:
            try:
                return await self._shared.claim(key, holder, ttl)
            except LeaseStoreUnavailable:
                await self._clock.sleep(pause)
        return await self._shared.claim(key, holder, ttl)

    async def _claim_here(self, key: str, holder: str, ttl: float, shared: Lease | None) -> Lease | None:
        local: Lease | None = None
        try:
            local = await self._local.claim(key, holder, ttl)
        finally:
            if local is None and shared is not None:
                await self._end_shared(shared, "held by another process of its machine")
        return local

    def _forget_over(self) -> None:
        """Drop what could not be given back and is over, as far as no pair that was claimed before is not."""
        now = monotonic()
        while self._pairs:
            first = next(iter(self._pairs))
            if self._pairs[first].over_at > now:
                break
            del self._pairs[first]

    async def _give_back(self, lease: Lease, reason: str | None) -> None:
        pair, failed = self._pair(lease), None
        try:
            await _end(self._local, pair.local, reason)
        except (LeaseLost, LeaseStoreUnavailable) as error:
            failed = error
        if isinstance(failed, LeaseStoreUnavailable):
            # This half is still to be given back, by whoever tries again.
            self._pairs[lease.key, lease.token] = _Pair(None, pair.local, pair.over_at)
        else:
            self._pairs.pop((lease.key, lease.token), None)
        if pair.shared is not None:
            await self._end_shared(pair.shared, reason)
        if failed is not None:
            raise failed

    async def _end_shared(self, shared: Lease, reason: str | None) -> None:
        """What cannot be given back because the coordinator is away ends there with its time."""
        try:
            await shielded(asyncio.ensure_future(_end(self._shared, shared, reason)))
        except LeaseStoreUnavailable as error:
            self._outage.begin(error)

    def _pair(self, lease: Lease) -> _Pair:
        return self._pairs.get((lease.key, lease.token)) or _Pair(None, lease)


async def _end(store: LeaseStore, lease: Lease, reason: str | None) -> None:
    if reason is None:
        await store.complete(lease)
    else:
        await store.fail(lease, reason)
