"""How many sessions one bearer may begin: each is remembered, whoever asks for it once."""

from __future__ import annotations

from collections import defaultdict

from cachetools import LRUCache

from seamless_assets.core.worlds.session import SessionKey, SessionRecord
from seamless_assets.errors import LimitExceeded
from seamless_assets.pipeline.connect import Seamless
from seamless_assets.service.callers import Caller

KNOWN = 10_000
"""Sessions that are not asked for again, whether they are remembered."""


class SessionLimit:
    """Counts the sessions that each bearer begins; those that are remembered already are anybody's."""

    def __init__(self, pipeline: Seamless, most: int) -> None:
        self._pipeline, self._most = pipeline, most
        self._begun: dict[str, set[SessionKey]] = defaultdict(set)
        self._known: LRUCache[SessionKey, None] = LRUCache(KNOWN)

    async def require(self, caller: Caller, key: SessionKey) -> None:
        """Raise `LimitExceeded` where the session would be one too many of its bearer."""
        begun = self._begun[caller.name]
        if key in begun or key in self._known:
            return
        known = await self._pipeline.aio.portal.do(lambda ports: ports.sessions.load(key))
        if known != SessionRecord():
            self._known[key] = None
            return
        if len(begun) >= self._most:
            raise LimitExceeded(
                f"{caller.name} has begun {self._most} sessions since the service was started, and begins no "
                "more; go on with those of the worlds that are there, or raise service.max_sessions",
                limit=self._most,
            )
        begun.add(key)
