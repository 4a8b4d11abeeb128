"""Events as structured log records: one JSON object each, under the logger `seamless_assets`."""

from __future__ import annotations

import json
import logging
from dataclasses import asdict

from seamless_assets.core.sharing.events import (
    BackfillEvent,
    CoordinationEvent,
    DamagedState,
    DroppedRequest,
    Event,
    ExchangeWait,
    FillEvent,
    LeaseEvent,
    ReadEvent,
    SealEvent,
    SessionEvent,
    WebhookEvent,
)
from seamless_assets.errors import masked

LOGGER = "seamless_assets"


class LogEvents:
    """An `Observer` that logs; a lost service, a wait for an exchange and a failed backfill are warnings."""

    def __init__(self) -> None:
        self._log = logging.getLogger(LOGGER)

    def notify(self, event: Event) -> None:
        """Log the event; its fields stand in the message as JSON, and in the record as `event`."""
        name, is_trouble = _judged(event)
        level = logging.WARNING if is_trouble else logging.INFO
        if self._log.isEnabledFor(level):
            record = {"event": name, **asdict(event)}
            record = {
                key: masked(value) if isinstance(value, str) else value for key, value in record.items()
            }
            self._log.log(level, "%s", json.dumps(record), extra={"event": record})


def _judged(event: Event) -> tuple[str, bool]:
    """The name of an event, and whether somebody should look at it."""
    match event:
        case BackfillEvent():
            return f"backfill_{event.kind}", event.kind == "fail"
        case FillEvent():
            return f"fill_{event.kind}", event.kind == "give_up"
        case LeaseEvent():
            return f"lease_{event.kind}", event.kind == "fail"
        case ReadEvent():
            return "read", False
        case SealEvent():
            return ("fingerprint_collision" if event.collides else "artifact_sealed"), event.collides
        case SessionEvent():
            return f"session_{event.kind}", event.kind in ("downgraded", "pinned")
        case WebhookEvent():
            return f"webhook_{'delivered' if event.is_delivered else 'failed'}", not event.is_delivered
        case DroppedRequest():
            return "request_dropped", False
        case ExchangeWait():
            return "exchange_waited_for", True
        case DamagedState():
            return "state_damaged", True
        case CoordinationEvent():
            return f"{event.service}_{'found' if event.is_available else 'lost'}", not event.is_available
