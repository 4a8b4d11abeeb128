"""Rate budgets, as the gate before every request takes from them."""

from __future__ import annotations

from typing import Protocol

from seamless_assets.core.sharing.token_bucket import Budget, Place


class BudgetStore(Protocol):
    """Token buckets by key (`core.token_bucket`), whoever shares them. All raise `BudgetUnavailable`."""

    async def take(self, key: str, budget: Budget, cost: float) -> Place:
        """A place in the queue of `key`; its `wait` is to be waited, then `moved` asked."""

    async def moved(self, key: str, budget: Budget, place: Place) -> Place | None:
        """The place once its wait is over: `wait` is what cool-downs added since; None if it is void."""

    async def give_back(self, key: str, budget: Budget, place: Place) -> None:
        """Return a place whose request never went out."""

    async def cool_down(self, key: str, budget: Budget, seconds: float) -> None:
        """Admit nothing under `key` for `seconds`."""

    async def settle(self, key: str, budget: Budget, cost: float, born: float | None) -> None:
        """Count requests of `cost` that went out past it; `born` is that of the places known, if any."""
