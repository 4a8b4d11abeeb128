"""What the worlds of a run have seen, as one process reaches it, and who moved a session."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass

from seamless_assets.core.worlds.session import Change, SessionKey, SessionRecord
from seamless_assets.testing import InMemorySessionStore
from seamless_assets_tests.simulation.faults import Channel

MAY_MOVE: ContextVar[bool] = ContextVar("may_move", default=True)
"""Whether what runs now may bind a live session to another release."""


@dataclass
class RecordingSessions(InMemorySessionStore):
    """The sessions of a machine. `on_moved` hears of one that was moved by what may not."""

    on_moved: Callable[[SessionKey, str | None], None] = lambda key, as_of: None

    async def update(self, key: SessionKey, change: Change) -> tuple[SessionRecord, SessionRecord]:
        before, after = await super().update(key, change)
        if before.as_of is not None and before.as_of != after.as_of and not MAY_MOVE.get():
            self.on_moved(key, after.as_of)
        return before, after


class FaultySessions:
    """Satisfies the flows' `SessionStore`: sessions as one process reaches them."""

    def __init__(self, store: RecordingSessions, channel: Channel) -> None:
        self._store = store
        self._channel = channel

    async def load(self, key: SessionKey) -> SessionRecord:
        return await self._channel.ask("load", lambda: self._store.load(key))

    async def update(self, key: SessionKey, change: Change) -> tuple[SessionRecord, SessionRecord]:
        return await self._channel.call("update", lambda: self._store.update(key, change))

    def load_at_hand(self, key: SessionKey) -> SessionRecord | None:
        return None

    def is_unchanged_at_hand(self, key: SessionKey, change: Change) -> bool:
        return False

    async def list_keys(self) -> list[SessionKey]:
        return await self._channel.ask("list_keys", self._store.list_keys)

    async def count(self) -> int:
        return await self._channel.ask("count", self._store.count)

    async def load_all(self, world_id: str | None = None) -> dict[SessionKey, SessionRecord]:
        return await self._channel.ask("load_all", lambda: self._store.load_all(world_id))

    async def close(self) -> None:
        return None
