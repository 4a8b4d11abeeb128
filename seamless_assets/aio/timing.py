"""Time that no clock can set back."""

from __future__ import annotations

import asyncio


def monotonic() -> float:
    """Seconds by the running event loop's clock, which timeouts go by too; virtual where the loop is."""
    return asyncio.get_running_loop().time()
