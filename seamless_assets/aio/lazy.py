"""A stand-in that makes what it stands for at its first use.

Own, because it is a dozen lines, and proxies such as wrapt's pass `close` on to what would be made for that.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class Lazy:
    """Stands in for what `make` makes at the first use of it."""

    def __init__(self, make: Callable[[], Any]) -> None:
        self._make = make
        self._made: Any = None

    def __getattr__(self, name: str) -> Any:
        if self._made is None:
            self._made = self._make()
        return getattr(self._made, name)

    async def close(self) -> None:
        """Close it, if it was ever used."""
        if self._made is not None:
            await self._made.close()
