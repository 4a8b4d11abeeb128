"""The machine's clock."""

from __future__ import annotations

import asyncio
import time


class SystemClock:
    """Real time; satisfies the flows' clock."""

    def now(self) -> float:
        """Epoch seconds."""
        return time.time()

    async def sleep(self, seconds: float) -> None:
        """Wait without holding up the event loop."""
        await asyncio.sleep(seconds)
