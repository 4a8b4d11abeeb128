"""Time, as flows ask for it."""

from __future__ import annotations

from typing import Protocol


class Clock(Protocol):
    """Every `now` and every wait of a flow."""

    def now(self) -> float:
        """Epoch seconds."""

    async def sleep(self, seconds: float) -> None:
        """Wait."""
