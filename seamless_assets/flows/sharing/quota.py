"""How many leases one process holds and asks for, so that many nodes at once do not swamp the lease store."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import ClassVar

from seamless_assets.aio.priority import Slots
from seamless_assets.core.sharing.lease import exchange_of

HELD_AT_ONCE = 32
"""Of one exchange: enough to keep its requests under way, and the rest is left to other workers."""
RESERVED = 8
"""Beside these, for fills that a reader waits for."""
CLAIMS_PER_SECOND = 20.0


class LeaseQuota:
    """Slots for leases that are held, by exchange, and a count of those who wait for one."""

    longest_wait_s: ClassVar[float] = 1.0

    def __init__(self) -> None:
        self._slots: dict[str, Slots] = {}
        self._waiting = 0

    def slots(self, key: str) -> Slots:
        """The slots of the exchange that a lease's key is about."""
        return self._slots.setdefault(exchange_of(key), Slots(HELD_AT_ONCE + RESERVED, RESERVED))

    @contextmanager
    def waiting(self) -> Iterator[int]:
        """Be counted among those who wait; tells how many there are."""
        self._waiting += 1
        try:
            yield self._waiting
        finally:
            self._waiting -= 1


class NestedQuota(LeaseQuota):
    """Of leases that are held beside another, which has the slot for both: who waited for a second one while
    all others do the same would wait for ever."""

    def slots(self, key: str) -> Slots:
        """One that is free."""
        return Slots(1, 0)
