"""What the processes of a run share to stay out of each other's way: leases and a rate budget."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import inf
from random import Random

from seamless_assets.core.sharing.lease import Lease
from seamless_assets.core.sharing.token_bucket import Budget, Place
from seamless_assets.testing import InMemoryBudgetStore, InMemoryLeaseStore
from seamless_assets_tests.simulation.faults import Channel


@dataclass
class RecordingLeaseStore(InMemoryLeaseStore):
    """Remembers every key and token it gave out, and when each lease was on its way back."""

    granted: set[tuple[str, int]] = field(default_factory=set)
    returned_at: dict[tuple[str, str], float] = field(default_factory=dict)
    """When the holder of a key set out to give it back, by the two."""

    def begin_to_end(self, lease: Lease) -> None:
        """Its holder sets out to give it back."""
        self.returned_at.setdefault((lease.key, lease.holder), self.clock.now())

    def expire_one(self, rng: Random) -> None:
        """Let a lease that somebody holds run out at once."""
        if self.live:
            self.expire(rng.choice(sorted(self.live)))

    async def claim(self, key: str, holder: str, ttl: float) -> Lease | None:
        lease = await super().claim(key, holder, ttl)
        if lease is not None:
            self.granted.add((key, lease.token))
            self.returned_at.pop((key, holder), None)
        return lease

    async def renew(self, lease: Lease, ttl: float, above: int | None = None) -> Lease:
        renewed = await super().renew(lease, ttl, above)
        self.granted.add((lease.key, renewed.token))
        return renewed


def lost_leases(stores: Sequence[RecordingLeaseStore]) -> list[Lease]:
    """The leases that ran out in their holders' hands.

    A holder that has set out to give a lease back works no more, at whichever of its granters it is first.
    """
    returned_at: dict[tuple[str, str], float] = {}
    for store in stores:
        for claim, at in store.returned_at.items():
            returned_at[claim] = min(at, returned_at.get(claim, at))
    lapsed = [lease for store in stores for lease in store.lapsed]
    return [lease for lease in lapsed if lease.until <= returned_at.get((lease.key, lease.holder), inf)]


class FaultyLeases:
    """Satisfies the flows' `LeaseStore`: leases as one process reaches whoever grants them."""

    def __init__(self, store: RecordingLeaseStore, channel: Channel) -> None:
        self._store = store
        self._channel = channel

    async def claim(self, key: str, holder: str, ttl: float) -> Lease | None:
        return await self._channel.call("claim", lambda: self._store.claim(key, holder, ttl))

    async def renew(self, lease: Lease, ttl: float, above: int | None = None) -> Lease:
        return await self._channel.call("renew", lambda: self._store.renew(lease, ttl, above))

    async def complete(self, lease: Lease) -> None:
        self._store.begin_to_end(lease)
        await self._channel.call("complete", lambda: self._store.complete(lease))

    async def fail(self, lease: Lease, reason: str) -> None:
        self._store.begin_to_end(lease)
        await self._channel.call("fail", lambda: self._store.fail(lease, reason))


class FaultyBudget:
    """Satisfies the flows' `BudgetStore`: buckets as one process reaches whoever keeps them."""

    def __init__(self, store: InMemoryBudgetStore, channel: Channel) -> None:
        self._store = store
        self._channel = channel

    async def take(self, key: str, budget: Budget, cost: float) -> Place:
        return await self._channel.call("take", lambda: self._store.take(key, budget, cost))

    async def moved(self, key: str, budget: Budget, place: Place) -> Place | None:
        return await self._channel.ask("moved", lambda: self._store.moved(key, budget, place))

    async def give_back(self, key: str, budget: Budget, place: Place) -> None:
        await self._channel.call("give_back", lambda: self._store.give_back(key, budget, place))

    async def cool_down(self, key: str, budget: Budget, seconds: float) -> None:
        await self._channel.call("cool_down", lambda: self._store.cool_down(key, budget, seconds))

    async def settle(self, key: str, budget: Budget, cost: float, born: float | None) -> None:
        await self._channel.call("settle", lambda: self._store.settle(key, budget, cost, born))
