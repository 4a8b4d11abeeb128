"""Exchanges in memory that say more than the plain one."""

from __future__ import annotations

from seamless_assets.testing import InMemoryExchange


class Contradicting:
    """An exchange whose clock is known to be so far ahead of ours."""

    def __init__(self, exchange: InMemoryExchange, skew: float) -> None:
        self._exchange, self._skew = exchange, skew

    def __getattr__(self, name: str) -> object:
        return getattr(self._exchange, name)

    def clock_skew(self, exchange: str) -> float:
        return self._skew
