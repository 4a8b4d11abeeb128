"""What the workers of a run share to stay out of each other's way: leases and a rate budget."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from random import Random

from seamless_assets.core.sharing import token_bucket as arithmetic
from seamless_assets.core.sharing.lease import Lease, next_token, raised_token
from seamless_assets.core.sharing.token_bucket import Bucket, Budget, Place
from seamless_assets.errors import BudgetUnavailable, LeaseLost
from seamless_assets_tests.simulation.fate import Wire


@dataclass
class LeaseShelf:
    """One granter's leases, by its own clock.

    `grants` holds every key and token given out, `lost` the leases that ran out in their holder's hands;
    one that was on its way back by then is not among them.
    """

    now: Callable[[], float]
    live: dict[str, Lease] = field(default_factory=dict)
    tokens: dict[str, int] = field(default_factory=dict)
    grants: set[tuple[str, int]] = field(default_factory=set)
    lost: list[Lease] = field(default_factory=list)
    returning: set[tuple[str, int]] = field(default_factory=set)

    def claim(self, key: str, holder: str, ttl: float) -> Lease | None:
        """The lease of `key`, a holder's own renewed; None while another holds it."""
        now, held = self.now(), self.live.get(key)
        if held is not None and held.until > now:
            return self.renew(held, ttl) if held.holder == holder else None
        if held is not None and (key, held.token) not in self.returning:
            self.lost.append(held)
        token = self.tokens[key] = next_token(self.tokens.get(key), now)
        lease = self.live[key] = Lease(key, token, holder, now + ttl)
        self.grants.add((key, token))
        return lease

    def renew(self, lease: Lease, ttl: float, above: int | None = None) -> Lease:
        """The same for `ttl` seconds from now, under a token above `above`. Raises `LeaseLost`."""
        self._own(lease)
        token = self.tokens[lease.key] = raised_token(lease.token, above)
        self.grants.add((lease.key, token))
        renewed = self.live[lease.key] = replace(lease, token=token, until=self.now() + ttl)
        return renewed

    def begin_to_end(self, lease: Lease) -> None:
        """Its holder sets out to give it back."""
        held = self.live.get(lease.key)
        if held is not None and held.token == lease.token and held.until > self.now():
            self.returning.add((lease.key, lease.token))

    def end(self, lease: Lease) -> None:
        """Take it back. Raises `LeaseLost`."""
        self._own(lease)
        del self.live[lease.key]

    def expire(self, rng: Random) -> None:
        """Let a lease that somebody holds run out at once."""
        if self.live:
            key = rng.choice(sorted(self.live))
            self.live[key] = replace(self.live[key], until=self.now())

    def _own(self, lease: Lease) -> None:
        held = self.live.get(lease.key)
        if held is None or held.token != lease.token or held.until <= self.now():
            raise LeaseLost(f"{lease.key} is not held under {lease.token}", key=lease.key, token=lease.token)


class Leases:
    """A granter as one worker reaches it; satisfies the flows' `LeaseStore`."""

    def __init__(self, shelf: LeaseShelf, wire: Wire) -> None:
        self._shelf = shelf
        self._wire = wire

    async def claim(self, key: str, holder: str, ttl: float) -> Lease | None:
        return await self._wire("claim", lambda: self._shelf.claim(key, holder, ttl))

    async def renew(self, lease: Lease, ttl: float, above: int | None = None) -> Lease:
        return await self._wire("renew", lambda: self._shelf.renew(lease, ttl, above))

    async def complete(self, lease: Lease) -> None:
        self._shelf.begin_to_end(lease)
        await self._wire("complete", lambda: self._shelf.end(lease))

    async def fail(self, lease: Lease, reason: str) -> None:
        self._shelf.begin_to_end(lease)
        await self._wire("fail", lambda: self._shelf.end(lease))


@dataclass
class BudgetShelf:
    """Token buckets by the clock of whoever keeps them."""

    now: Callable[[], float]
    buckets: dict[str, Bucket] = field(default_factory=dict)
    away_until: float = 0.0

    def leave(self, seconds: float) -> None:
        """Answer nobody for a while, and remember everything."""
        self.away_until = self.now() + seconds

    def bucket(self, key: str, budget: Budget) -> Bucket:
        """What is held under `key`. Raises `BudgetUnavailable`."""
        if self.now() < self.away_until:
            raise BudgetUnavailable("the budget is away")
        return self.buckets.get(key) or arithmetic.full(budget, self.now())

    def take(self, key: str, budget: Budget, cost: float) -> Place:
        """A place in the queue."""
        self.buckets[key], place = arithmetic.take(budget, self.bucket(key, budget), self.now(), cost)
        return place

    def give_back(self, key: str, budget: Budget, place: Place) -> None:
        """Take a place back."""
        self.buckets[key] = arithmetic.give_back(budget, self.bucket(key, budget), self.now(), place)

    def cool_down(self, key: str, budget: Budget, seconds: float) -> None:
        """Let nothing through for a while."""
        self.buckets[key] = arithmetic.cool_down(budget, self.bucket(key, budget), self.now(), seconds)

    def settle(self, key: str, budget: Budget, cost: float, born: float | None) -> None:
        """Count what went past."""
        self.buckets[key] = arithmetic.settle(budget, self.bucket(key, budget), self.now(), cost, born)


class Budgets:
    """Buckets as one worker reaches them; satisfies the flows' `BudgetStore`."""

    def __init__(self, shelf: BudgetShelf, wire: Wire) -> None:
        self._shelf = shelf
        self._wire = wire

    async def take(self, key: str, budget: Budget, cost: float) -> Place:
        return await self._wire("take", lambda: self._shelf.take(key, budget, cost))

    async def moved(self, key: str, budget: Budget, place: Place) -> Place | None:
        return await self._wire.look(
            "moved", lambda: arithmetic.moved(self._shelf.bucket(key, budget), place)
        )

    async def give_back(self, key: str, budget: Budget, place: Place) -> None:
        await self._wire("give_back", lambda: self._shelf.give_back(key, budget, place))

    async def cool_down(self, key: str, budget: Budget, seconds: float) -> None:
        await self._wire("cool_down", lambda: self._shelf.cool_down(key, budget, seconds))

    async def settle(self, key: str, budget: Budget, cost: float, born: float | None) -> None:
        await self._wire("settle", lambda: self._shelf.settle(key, budget, cost, born))
