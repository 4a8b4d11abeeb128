"""Messages to an outside service: where they wait, and who carries them."""

from __future__ import annotations

from typing import Protocol

from seamless_assets.core.worlds.webhook import WebhookMessage


class Outbox(Protocol):
    """Messages that were not delivered yet, shared by all processes of the machine.

    They come in with the change of the session that they tell of, both or neither; beyond `MOST_WAITING` of
    a world its oldest one is dropped. All methods raise `SessionStoreError`.
    """

    async def claim(self, holder: str, now: float) -> WebhookMessage | None:
        """The oldest message of a world that is due and that no other sender holds, for `CLAIM_S`.

        One that is not as it was written holds up its own world alone.
        """

    async def delivered(self, message: WebhookMessage, holder: str) -> int:
        """Forget a message that was taken, and let go of its world; may be said more than once.

        Tells how many messages wait then.
        """

    async def failed(self, message: WebhookMessage, holder: str, retry_at: float) -> int:
        """Keep a message that was not taken, and its world's later ones, until `retry_at`; how many wait."""

    async def count_pending(self) -> int:
        """How many messages wait."""


class WebhookSender(Protocol):
    """Carries a message to its receiver."""

    async def send(self, message: WebhookMessage, sent_at: int) -> None:
        """Return once the receiver has taken it. Raises `WebhookUndelivered`."""


class WebhookDelivery(Protocol):
    """Delivers what waits in the outbox."""

    async def deliver_due(self) -> int:
        """Send what is due, each world's messages in order; how many were taken."""

    async def count_pending(self) -> int:
        """How many messages wait."""
