"""Sessions of worlds in memory."""

from __future__ import annotations

import asyncio
from dataclasses import astuple, dataclass, field

from seamless_assets.core.worlds.session import Change, SessionKey, SessionRecord, session_event
from seamless_assets.errors import SessionStoreError
from seamless_assets.testing.outbox import InMemoryOutbox


@dataclass
class InMemorySessionStore:
    """Satisfies the flows' `SessionStore`. While it `is_away` every call raises `SessionStoreError`.

    What others should hear of its changes goes to the `outbox`, where there is one.
    """

    records: dict[SessionKey, SessionRecord] = field(default_factory=dict)
    is_away: bool = False
    outbox: InMemoryOutbox | None = None

    async def load(self, key: SessionKey) -> SessionRecord:
        """What is remembered; an empty record where nothing is."""
        await self._answer()
        return self.records.get(key, SessionRecord())

    async def update(self, key: SessionKey, change: Change) -> tuple[SessionRecord, SessionRecord]:
        """Change a record at once; the record before and after."""
        await self._answer()
        before = self.records.get(key, SessionRecord())
        self.records[key] = after = change(before)
        event = session_event(key, before, after)
        if event is not None and self.outbox is not None:
            self.outbox.append(event)
        return before, after

    async def list_keys(self) -> list[SessionKey]:
        """Every session that is remembered, in order."""
        await self._answer()
        return sorted(self.records, key=astuple)

    async def close(self) -> None:
        """Nothing to let go of."""

    async def _answer(self) -> None:
        await asyncio.sleep(0)
        if self.is_away:
            raise SessionStoreError("the sessions in memory are away, because a test said so")
