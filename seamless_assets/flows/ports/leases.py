"""Leases, as flows claim them and as a coordinator serves them."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import ClassVar, Protocol

from seamless_assets.aio.priority import Slots
from seamless_assets.core.sharing.lease import Lease, LeaseTally


class LeaseStore(Protocol):
    """Who fills what, across processes."""

    async def claim(self, key: str, holder: str, ttl: float) -> Lease | None:
        """Claim `key` for `ttl` seconds; None while another holds it. Raises `LeaseStoreUnavailable`.

        A holder that claims again what it holds gets the same lease, so a lost answer can be asked for.
        """

    async def renew(self, lease: Lease, ttl: float, above: int | None = None) -> Lease:
        """Hold on for `ttl` seconds from now, under a token above `above` where that is given.

        Raises `LeaseLost`, `LeaseStoreUnavailable`.
        """

    async def complete(self, lease: Lease) -> None:
        """Give it back, the work done. Raises `LeaseLost`, `LeaseStoreUnavailable`."""

    async def fail(self, lease: Lease, reason: str) -> None:
        """Give it back, the work not done. Raises `LeaseLost`, `LeaseStoreUnavailable`."""


class LeaseQuota(Protocol):
    """How many leases this process holds and asks for at once."""

    longest_wait_s: ClassVar[float]
    """So long, more or less, a claim that was refused rests before it is made again."""

    def slots(self, key: str) -> Slots:
        """A slot of the exchange that a lease's key is about, held while the lease is."""

    def waiting(self) -> AbstractContextManager[int]:
        """Be counted among those who wait for a lease; gives how many there are."""


class LeaseRegister(LeaseStore, Protocol):
    """A lease store that keeps the tally of all its leases, for a coordinator to serve."""

    async def held(self) -> list[Lease]:
        """Every lease that is held, by key. Raises `LeaseStoreUnavailable`."""

    async def holder_of(self, key: str) -> Lease | None:
        """The lease under which `key` is held. Raises `LeaseStoreUnavailable`."""

    async def tally(self) -> LeaseTally:
        """What became of all leases so far. Raises `LeaseStoreUnavailable`."""

    async def close(self) -> None:
        """Let go of the file."""
