"""A rate budget that one process keeps in memory, for while no other can be reached."""

from __future__ import annotations

from seamless_assets.core.sharing import token_bucket as arithmetic
from seamless_assets.core.sharing.token_bucket import Bucket, Budget, Place
from seamless_assets.flows.ports import Clock


class ProcessBudget:
    """A `BudgetStore` of one process."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._buckets: dict[str, Bucket] = {}

    async def take(self, key: str, budget: Budget, cost: float) -> Place:
        """A place in the queue of `key`."""
        now = self._clock.now()
        self._buckets[key], place = arithmetic.take(budget, self._bucket(key, budget), now, cost)
        return place

    async def moved(self, key: str, budget: Budget, place: Place) -> Place | None:
        """The place once its wait is over; None if it is void."""
        return arithmetic.moved(self._bucket(key, budget), place)

    async def give_back(self, key: str, budget: Budget, place: Place) -> None:
        """Return a place whose request never went out."""
        bucket = self._bucket(key, budget)
        self._buckets[key] = arithmetic.give_back(budget, bucket, self._clock.now(), place)

    async def cool_down(self, key: str, budget: Budget, seconds: float) -> None:
        """Admit nothing under `key` for `seconds`."""
        bucket = self._bucket(key, budget)
        self._buckets[key] = arithmetic.cool_down(budget, bucket, self._clock.now(), seconds)

    async def settle(self, key: str, budget: Budget, cost: float, born: float | None) -> None:
        """Count requests of `cost` that went out past it."""
        bucket = self._bucket(key, budget)
        self._buckets[key] = arithmetic.settle(budget, bucket, self._clock.now(), cost, born)

    def _bucket(self, key: str, budget: Budget) -> Bucket:
        return self._buckets.get(key) or arithmetic.full(budget, self._clock.now())
