"""Webhooks: what an outside service is told of sessions, and how it knows that we said it.

The form is that of Standard Webhooks: the signature covers the message's id, the time it was sent and the
body, byte for byte.
"""

from __future__ import annotations

import hashlib
import hmac
from base64 import b64decode, b64encode
from binascii import Error as NotBase64
from collections.abc import Mapping
from dataclasses import dataclass

from seamless_assets.core.calendar.instant import instant_text
from seamless_assets.core.canonical import canonical_json
from seamless_assets.core.sharing.events import SessionEvent, WebhookEvent
from seamless_assets.errors import InvalidInput, masked

ENCODED = "whsec_"
SHORTEST_KEY = 16
"""Bytes; a shorter key can be guessed."""
MOST_WAITING = 10_000
"""Messages of a world that wait; the oldest are dropped for the sake of later ones."""
CLAIM_S = 20.0
"""How long one sender keeps a world to itself; more than a request may take."""
FIRST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 60.0
LONGEST_RETRY_AFTER_S = 3_600.0


@dataclass(frozen=True, slots=True)
class WebhookMessage:
    """One message on its way. `sequence` counts those of a world from 1, `attempts` those that failed."""

    world_id: str
    sequence: int
    message_id: str
    body: str
    attempts: int = 0


def webhook_message(event: SessionEvent, stream: str, sequence: int) -> WebhookMessage:
    """The message of an event, number `sequence` of its world in this `stream`. It holds no secret."""
    message_id = f"msg_{stream}_{sequence}"
    record = {
        "id": message_id,
        "type": f"session.{event.kind}",
        "timestamp": instant_text(int(event.at * 1_000_000)),
        "data": {
            "stream": stream,
            "sequence": sequence,
            "world_id": event.world_id,
            "domain": event.domain,
            "node_id": event.node_id,
            "before": event.before,
            "after": event.after,
            "reasons": [masked(reason) for reason in event.reasons],
            "as_of": event.as_of,
            "dataset_fingerprint": event.dataset_fingerprint,
        },
    }
    return WebhookMessage(event.world_id, sequence, message_id, canonical_json(record).decode().strip())


def dropped_event(world_id: str, message_id: str) -> WebhookEvent:
    """What is to be told of a message that was the oldest of too many."""
    reason = f"{MOST_WAITING:,} later messages of this world wait for a receiver that takes none"
    return WebhookEvent(False, world_id, message_id, 0, reason, is_dropped=True)


def signing_key(secret: str) -> bytes:
    """The key of a secret: the bytes behind `whsec_` in base64, else the text in UTF-8.

    Raises `InvalidInput` for one that is too short or no base64, without telling it.
    """
    try:
        is_encoded = secret.startswith(ENCODED)
        key = b64decode(secret.removeprefix(ENCODED), validate=True) if is_encoded else secret.encode()
    except (NotBase64, UnicodeEncodeError) as error:
        raise InvalidInput("the secret is no base64 after whsec_, and no text that has bytes") from error
    if len(key) < SHORTEST_KEY:
        raise InvalidInput(
            f"the secret has {len(key)} bytes; give at least {SHORTEST_KEY}, such as "
            "whsec_ and the output of `openssl rand -base64 32`"
        )
    return key


def signed_headers(message_id: str, sent_at: int, body: bytes, key: bytes) -> Mapping[str, str]:
    """The headers by which a receiver knows who sent `body`, and when (epoch seconds)."""
    signed = b".".join((message_id.encode(), str(sent_at).encode(), body))
    digest = hmac.new(key, signed, hashlib.sha256).digest()
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(sent_at),
        "webhook-signature": f"v1,{b64encode(digest).decode()}",
    }


def pause_s(attempts: int, retry_after: float | None, jitter: float) -> float:
    """Seconds until a message is sent again that failed `attempts` times; `jitter` lies in 0 to 1.

    A receiver's `retry_after` is kept up to an hour.
    """
    pause = min(FIRST_PAUSE_S * 2.0 ** min(attempts - 1, 30), LONGEST_PAUSE_S) * (0.5 + jitter / 2)
    return max(pause, min(retry_after or 0.0, LONGEST_RETRY_AFTER_S))
