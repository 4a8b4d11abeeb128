"""A lease store in memory."""

from __future__ import annotations

import asyncio
import math
from dataclasses import dataclass, field, replace

from seamless_assets.core.sharing.lease import Lease, LeaseTally, next_token, raised_token
from seamless_assets.errors import LeaseLost, LeaseStoreUnavailable
from seamless_assets.flows.ports import Clock
from seamless_assets.testing.clock import VirtualClock


@dataclass
class InMemoryLeaseStore:
    """Satisfies the flows' `LeaseStore` and `LeaseRegister`; leases run out by its own `clock`.

    `delay` makes every answer late by so many seconds, after the work is done; while it `is_away` every
    call raises `LeaseStoreUnavailable`. `live` are the leases that nobody gave back, by key; `ended` the
    key, token and outcome of those that were; `lapsed` those that ran out and were claimed by another. A
    lease that seems to last longer than it was granted for was granted before its clock was set back, and is
    over.
    """

    clock: Clock = field(default_factory=VirtualClock)
    is_away: bool = False
    delay: float = 0.0
    live: dict[str, Lease] = field(default_factory=dict)
    ttls: dict[str, float] = field(default_factory=dict)
    tokens: dict[str, int] = field(default_factory=dict)
    ended: list[tuple[str, int, str]] = field(default_factory=list)
    lapsed: list[Lease] = field(default_factory=list)
    calls: list[str] = field(default_factory=list)

    async def claim(self, key: str, holder: str, ttl: float) -> Lease | None:
        """The lease of `key`, a holder's own renewed; None while another holds it."""
        self._answer("claim")
        lease = self._claim(key, holder, ttl)
        await asyncio.sleep(self.delay)
        return lease

    async def renew(self, lease: Lease, ttl: float, above: int | None = None) -> Lease:
        """The same for `ttl` seconds from now, under a token above `above` if given. Raises `LeaseLost`."""
        self._answer("renew")
        renewed = self._renew(lease, ttl, above)
        await asyncio.sleep(self.delay)
        return renewed

    async def complete(self, lease: Lease) -> None:
        """Take it back, the work done. Raises `LeaseLost`."""
        await self._end(lease, "completed")

    async def fail(self, lease: Lease, reason: str) -> None:
        """Take it back, the work not done. Raises `LeaseLost`."""
        await self._end(lease, reason)

    async def held(self) -> list[Lease]:
        """Every lease that is held, by key."""
        self._answer("held")
        return [lease for _, lease in sorted(self.live.items()) if self.is_held(lease)]

    async def holder_of(self, key: str) -> Lease | None:
        """The lease under which `key` is held."""
        return next((lease for lease in await self.held() if lease.key == key), None)

    async def tally(self) -> LeaseTally:
        """What became of all leases so far."""
        self._answer("tally")
        completed = sum(outcome == "completed" for _, _, outcome in self.ended)
        return LeaseTally(completed, len(self.ended) - completed + len(self.lapsed), len(self.live))

    async def close(self) -> None:
        """Nothing: leases are kept."""

    def is_held(self, lease: Lease) -> bool:
        """Whether its time is not up."""
        now = self.clock.now()
        return now < lease.until <= now + 2 * self.ttls.get(lease.key, math.inf)

    def expire(self, key: str) -> None:
        """Let the lease of `key` run out now."""
        self.live[key] = replace(self.live[key], until=self.clock.now())

    def _claim(self, key: str, holder: str, ttl: float) -> Lease | None:
        now, held = self.clock.now(), self.live.get(key)
        if held is not None and self.is_held(held):
            return self._renew(held, ttl) if held.holder == holder else None
        if held is not None:
            self.lapsed.append(held)
        token = self.tokens[key] = next_token(self.tokens.get(key), now)
        lease = self.live[key] = Lease(key, token, holder, now + ttl)
        self.ttls[key] = ttl
        return lease

    def _renew(self, lease: Lease, ttl: float, above: int | None = None) -> Lease:
        self._own(lease)
        token = self.tokens[lease.key] = raised_token(lease.token, above)
        renewed = self.live[lease.key] = replace(lease, token=token, until=self.clock.now() + ttl)
        self.ttls[lease.key] = ttl
        return renewed

    async def _end(self, lease: Lease, outcome: str) -> None:
        self._answer("end")
        self._own(lease)
        del self.live[lease.key]
        self.ended.append((lease.key, lease.token, outcome))
        await asyncio.sleep(self.delay)

    def _answer(self, call: str) -> None:
        self.calls.append(call)
        if self.is_away:
            raise LeaseStoreUnavailable("the lease store in memory is away, because a test said so")

    def _own(self, lease: Lease) -> None:
        held = self.live.get(lease.key)
        if held is None or held.token != lease.token or not self.is_held(held):
            taken = held is not None and held.token != lease.token
            by = f"{held.holder} holds it now" if held and taken else "it ran out or was given back"
            raise LeaseLost(
                f"{lease.holder} no longer holds {lease.key} (token {lease.token}): {by}; claim it again",
                key=lease.key,
                token=lease.token,
                holder=held.holder if held and taken else None,
            )
