"""What is free of the rate budgets, asked of the store that the gate takes from."""

from __future__ import annotations

from typing import TYPE_CHECKING

from seamless_assets.adapters.machine.budget import MachineBudget
from seamless_assets.aio.gather import gather
from seamless_assets.aio.late_imports import late_imports
from seamless_assets.config.load import Settings
from seamless_assets.core.wire.views import BudgetView
from seamless_assets.pipeline.wiring.exchanges import budget_key

if TYPE_CHECKING:
    from seamless_assets.adapters.redis.budget import RedisBudget


class BudgetLevels:
    """The budgets of all declared exchanges. Nothing is connected to before its first use."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._store: MachineBudget | RedisBudget
        if settings.redis_dsn is None:
            self._store = MachineBudget(settings.seamless.state_dir / "rate_budget.sqlite")
            return
        with late_imports("redis"):
            from seamless_assets.adapters.redis.budget import RedisBudget as Shared

        self._store = Shared(settings.redis_dsn)

    async def load(self) -> list[BudgetView]:
        """What is free now of each. Raises `BudgetUnavailable`."""
        return await gather(self._view(exchange) for exchange in self._settings.exchanges)

    async def close(self) -> None:
        """Let go of the file or server."""
        await self._store.close()

    async def _view(self, exchange: str) -> BudgetView:
        key, budget = budget_key(self._settings, exchange), self._settings.budget(exchange)
        tokens = await self._store.left(key, budget)
        return BudgetView(exchange, key, tokens, budget.burst, budget.tokens_per_second)
