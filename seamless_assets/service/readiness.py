"""Whether the stores answer: asked by one for all, not too often, and not waited for without end."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

from seamless_assets.errors import SeamlessError, ServiceUnavailable

KNOWN_S = 1.0
"""How long what the stores said, or did not say, is told again."""
PATIENCE_S = 5.0
"""How long they are waited for."""


class Readiness:
    """What keeps stores from answering, as of a second ago at the most; `ask` raises it."""

    def __init__(
        self, ask: Callable[[], Awaitable[None]], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._ask_stores, self._clock = ask, clock
        self._asking: asyncio.Task[SeamlessError | None] | None = None
        self._asked_at = float("-inf")

    async def problem(self) -> SeamlessError | None:
        """The error of a store that does not answer; None where both do."""
        if self._asking is None or (
            self._asking.done() and (self._clock() - self._asked_at > KNOWN_S or self._asking.cancelled())
        ):
            self._asking = asyncio.create_task(self._ask())
        return await asyncio.shield(self._asking)

    async def _ask(self) -> SeamlessError | None:
        try:
            async with asyncio.timeout(PATIENCE_S):
                await self._ask_stores()
        except TimeoutError:
            return ServiceUnavailable(
                f"the stores have not answered within {PATIENCE_S:g} s; `seamless doctor` says which"
            )
        except SeamlessError as error:
            return error
        finally:
            self._asked_at = self._clock()
        return None
