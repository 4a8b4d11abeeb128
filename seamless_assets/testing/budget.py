"""A rate budget in memory."""

from __future__ import annotations

from seamless_assets.core.sharing.token_bucket import Bucket, Budget
from seamless_assets.errors import BudgetUnavailable
from seamless_assets.flows.ports import Clock
from seamless_assets.flows.sharing.process_budget import ProcessBudget


class InMemoryBudgetStore(ProcessBudget):
    """Token buckets by the clock of whoever keeps them; satisfies the flows' `BudgetStore`.

    While it `is_away` every call raises `BudgetUnavailable`; it remembers all the same.
    """

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock)
        self.is_away = False

    async def close(self) -> None:
        """Nothing: it can be opened by nobody else."""

    def _bucket(self, key: str, budget: Budget) -> Bucket:
        if self.is_away:
            raise BudgetUnavailable("the rate budget in memory is away, because a test said so")
        return super()._bucket(key, budget)
