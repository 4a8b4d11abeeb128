"""Worlds in memory: what is remembered of their sessions, the messages that wait, and who receives them."""

from __future__ import annotations

import asyncio
from dataclasses import astuple, dataclass, field, replace

from seamless_assets.core.sharing.events import SessionEvent
from seamless_assets.core.worlds.session import Change, SessionKey, SessionRecord, session_event
from seamless_assets.core.worlds.webhook import (
    CLAIM_S,
    LONGEST_RETRY_AFTER_S,
    MOST_WAITING,
    WebhookMessage,
    webhook_message,
)
from seamless_assets.errors import SessionStoreError, WebhookUndelivered


@dataclass
class _World:
    messages: list[WebhookMessage] = field(default_factory=list)
    sequence: int = 0
    attempts: int = 0
    next_at: float = 0.0
    holder: str = ""
    claimed_until: float = 0.0

    def is_due(self, holder: str, now: float) -> bool:
        is_pausing = now < self.next_at <= now + LONGEST_RETRY_AFTER_S
        is_held = self.holder not in ("", holder) and now < self.claimed_until <= now + CLAIM_S
        return bool(self.messages) and not is_pausing and not is_held


@dataclass
class InMemoryOutbox:
    """Satisfies the flows' `Outbox`; an `InMemorySessionStore` leaves its messages here."""

    stream: str = "memory"
    worlds: dict[str, _World] = field(default_factory=dict)

    def append(self, event: SessionEvent) -> None:
        """Leave the message of an event; of too many the oldest is dropped."""
        world = self.worlds.setdefault(event.world_id, _World())
        world.sequence += 1
        world.messages.append(webhook_message(event, self.stream, world.sequence))
        del world.messages[:-MOST_WAITING]

    async def claim(self, holder: str, now: float) -> WebhookMessage | None:
        """The oldest message of a world that is due and that no other sender holds."""
        await asyncio.sleep(0)
        due = [name for name in self.worlds if self.worlds[name].is_due(holder, now)]
        if not due:
            return None
        world = self.worlds[min(due, key=lambda name: (self.worlds[name].next_at, name))]
        world.holder, world.claimed_until, world.next_at = holder, now + CLAIM_S, 0.0
        return replace(world.messages[0], attempts=world.attempts)

    async def delivered(self, message: WebhookMessage, holder: str) -> int:
        """Forget a message that was taken, and let go of its world; how many wait."""
        await asyncio.sleep(0)
        world = self.worlds[message.world_id]
        world.messages = [kept for kept in world.messages if kept.sequence != message.sequence]
        if world.holder == holder:
            world.holder, world.attempts = "", 0
        return await self.count_pending()

    async def failed(self, message: WebhookMessage, holder: str, retry_at: float) -> int:
        """Keep a message that was not taken, and its world's later ones, until `retry_at`; how many wait."""
        await asyncio.sleep(0)
        world = self.worlds[message.world_id]
        if world.holder == holder:
            world.holder, world.attempts, world.next_at = "", message.attempts + 1, retry_at
        return await self.count_pending()

    async def count_pending(self) -> int:
        """How many messages wait."""
        return sum(len(world.messages) for world in self.worlds.values())


@dataclass
class InMemoryReceiver:
    """Satisfies the flows' `WebhookSender`: keeps what it was sent; while it `is_away` it takes nothing."""

    received: list[WebhookMessage] = field(default_factory=list)
    is_away: bool = False
    refused: int = 0

    async def send(self, message: WebhookMessage, sent_at: int) -> None:
        """Take a message."""
        await asyncio.sleep(0)
        if self.is_away:
            self.refused += 1
            raise WebhookUndelivered("the receiver in memory is away", retry_after=None)
        self.received.append(message)


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

    def load_at_hand(self, key: SessionKey) -> SessionRecord | None:
        """What is remembered; None where nothing is, or while it `is_away`."""
        return None if self.is_away else self.records.get(key)

    def is_unchanged_at_hand(self, key: SessionKey, change: Change) -> bool:
        """Whether `change` leaves a record as it is."""
        known = self.load_at_hand(key)
        return known is not None and change(known) == known

    async def list_keys(self) -> list[SessionKey]:
        """Every session that is remembered, in order."""
        await self._answer()
        return sorted(self.records, key=astuple)

    async def count(self) -> int:
        """How many sessions are remembered."""
        await self._answer()
        return len(self.records)

    async def load_all(self, world_id: str | None = None) -> dict[SessionKey, SessionRecord]:
        """Every session that is remembered, of one world where it is named, in order of the keys."""
        return {key: self.records[key] for key in await self.list_keys() if world_id in (None, key.world_id)}

    async def close(self) -> None:
        """Nothing to let go of."""

    async def _answer(self) -> None:
        await asyncio.sleep(0)
        if self.is_away:
            raise SessionStoreError("the sessions in memory are away, because a test said so")
