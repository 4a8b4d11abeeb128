"""How an exchange is reached, and what paces the requests to it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from seamless_assets.core.sharing.token_bucket import Budget

_KEYS = ("apiKey", "secret", "password", "uid")


class Gate(Protocol):
    """Lets a request through when the rate budget allows it."""

    async def acquire(self, key: str, budget: Budget, cost: float) -> None:
        """Wait for `cost` tokens of the budget under `key`."""

    async def cool_down(self, key: str, budget: Budget, seconds: float) -> None:
        """Let nothing through under `key` for `seconds`, in any worker."""


@dataclass(frozen=True, slots=True)
class ClientSettings:
    """One exchange's client. `options` are ccxt's own (keys, proxies, `options`); `symbols` are declared."""

    budget_key: str
    budget: Budget
    concurrency: int = 10
    base_url: str | None = None
    sandbox: bool = False
    options: Mapping[str, Any] = field(default_factory=dict, repr=False)
    symbols: tuple[str, ...] = ()

    @property
    def secrets(self) -> tuple[str, ...]:
        """What must never be told: keys, and the user and password of a proxy."""
        told = [str(self.options[name]) for name in _KEYS if self.options.get(name)]
        proxies = [str(self.options[name]) for name in ("httpsProxy", "socksProxy") if name in self.options]
        return (*told, *(proxy.split("://", 1)[-1].rpartition("@")[0] for proxy in proxies if "@" in proxy))
