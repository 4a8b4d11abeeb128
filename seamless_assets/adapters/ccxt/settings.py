"""How an exchange is reached, and what paces the requests to it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from seamless_assets.core.addresses import place_of, secrets_of
from seamless_assets.core.sharing.token_bucket import Budget

_KEYS = ("apiKey", "secret", "password", "uid")
_PROXIES = ("httpsProxy", "socksProxy")
_SECRET = re.compile(r"key|secret|token|pass|auth", re.IGNORECASE)


class Gate(Protocol):
    """Lets a request through when the rate budget allows it."""

    async def acquire(self, key: str, budget: Budget, cost: float) -> None:
        """Wait for `cost` tokens of the budget under `key`."""

    async def cool_down(self, key: str, budget: Budget, seconds: float) -> None:
        """Let nothing through under `key` for `seconds`, in any worker."""


@dataclass(frozen=True, slots=True)
class ClientSettings:
    """One exchange's client. `options` are ccxt's own (keys, proxies, `options`); `symbols` are declared.

    `base_url` may hold a user and password. They are sent to the server and shown to nobody: what is kept of
    it in files and shown of it is its `place`.
    """

    budget_key: str
    budget: Budget
    concurrency: int = 10
    base_url: str | None = field(default=None, repr=False)
    sandbox: bool = False
    options: Mapping[str, Any] = field(default_factory=dict, repr=False)
    symbols: tuple[str, ...] = ()

    @property
    def place(self) -> str:
        """Where the exchange is reached, for use in keys; empty for its own address."""
        return place_of(self.base_url) if self.base_url else ""

    def memory_place(self, exchange: str) -> str:
        """Where what is learned of the exchange of this name is remembered: an exchange at one address."""
        return f"{exchange}@{self.place}{'#sandbox' if self.sandbox else ''}"

    @property
    def secrets(self) -> tuple[str, ...]:
        """What must never be shown: keys, and who asks a proxy or `base_url`."""
        keys = [str(self.options[name]) for name in _KEYS if self.options.get(name)]
        more = self.options.get("options") or {}
        keys += [str(value) for name, value in more.items() if _SECRET.search(str(name))]
        urls = [str(self.options[name]) for name in _PROXIES if name in self.options]
        urls += [self.base_url] if self.base_url else []
        return (*keys, *(secret for url in urls for secret in secrets_of(url)))
