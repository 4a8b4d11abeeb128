"""Events as structured log records: one JSON object each, under the logger `seamless_assets`."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import asdict
from types import MappingProxyType
from typing import TextIO

from seamless_assets.core.calendar.instant import instant_text
from seamless_assets.core.sharing.events import (
    ArchiveEvent,
    BackfillEvent,
    CoordinationEvent,
    DamagedState,
    DroppedRequest,
    Event,
    ExchangeWait,
    FillEvent,
    ImportEvent,
    LeaseEvent,
    LeaseWait,
    MirrorEvent,
    ReadEvent,
    SealEvent,
    SessionEvent,
    StreamEvent,
    UnrecordedVerdict,
    WebhookEvent,
)
from seamless_assets.errors import masked

LOGGER = "seamless_assets"
FORMS = ("json", "pretty")
_CONTEXT: ContextVar[Mapping[str, str]] = ContextVar("seamless_assets_log", default=MappingProxyType({}))
_FIRST = ("event", "run", "node_id", "world_id", "key", "token", "fingerprint", "dataset_fingerprint")
"""What a person looks for first."""


class LogEvents:
    """An `Observer` that logs; a lost service, a wait for an exchange and a failed backfill are warnings."""

    def __init__(self) -> None:
        self._log = logging.getLogger(LOGGER)

    def notify(self, event: Event) -> None:
        """Log the event; its fields stand in the message as JSON, and in the record as `event`."""
        name, is_trouble = _judged(event)
        level = logging.WARNING if is_trouble else logging.INFO
        if self._log.isEnabledFor(level):
            record = {"event": name, **_CONTEXT.get(), **asdict(event)}
            record = {
                key: masked(value) if isinstance(value, str) else value for key, value in record.items()
            }
            self._log.log(level, "%s", json.dumps(record), extra={"event": record})


@contextmanager
def log_context(**facts: str) -> Iterator[None]:
    """Let all that is logged by what is begun within, in whatever thread it goes on, say these facts too."""
    before = _CONTEXT.set({**_CONTEXT.get(), **facts})
    try:
        yield
    finally:
        _CONTEXT.reset(before)


def log_to(stream: TextIO, form: str) -> None:
    """Write what is logged to a stream: a JSON object a line, or a line for people."""
    handler = logging.StreamHandler(stream)
    handler.setFormatter(_JsonLines() if form == "json" else _PrettyLines())
    root = logging.getLogger()
    root.addHandler(handler)
    root.setLevel(logging.INFO)


class _JsonLines(logging.Formatter):
    """A record as a JSON object: when, how grave, of whom, and the event's fields or the message."""

    def format(self, record: logging.LogRecord) -> str:
        head = {"time": _time(record), "level": record.levelname.lower(), "logger": record.name}
        event = getattr(record, "event", None)
        fields = event if isinstance(event, dict) else {"message": masked(record.getMessage())}
        if record.exc_info:
            fields = {**fields, "error": masked(self.formatException(record.exc_info))}
        return json.dumps({**head, **fields}, default=str)


class _PrettyLines(logging.Formatter):
    """A record as a line for people, what they look for first in front; empty fields are left out."""

    def format(self, record: logging.LogRecord) -> str:
        event = getattr(record, "event", None)
        head = f"{_time(record)} {record.levelname.lower():7}"
        if not isinstance(event, dict):
            return f"{head} {masked(super().format(record))}"
        names = [*(name for name in _FIRST if name in event), *(name for name in event if name not in _FIRST)]
        facts = [
            f"{name}={_shown(event[name])}" for name in names[1:] if event[name] not in ("", None, (), {})
        ]
        return " ".join([head, event["event"], *facts])


def _shown(value: object) -> str:
    """A value on one line, whatever it holds."""
    text = str(value)
    return text if text.isprintable() and " " not in text else json.dumps(text)


def _time(record: logging.LogRecord) -> str:
    return instant_text(int(record.created * 1_000_000))


def _judged(event: Event) -> tuple[str, bool]:
    """The name of an event, and whether somebody should look at it."""
    match event:
        case ReadEvent():  # what it nearly always is
            return "read", False
        case BackfillEvent():
            return f"backfill_{event.kind}", event.kind == "fail"
        case ArchiveEvent():
            return f"archive_{event.kind}", event.kind != "loaded"
        case FillEvent():
            return f"fill_{event.kind}", event.kind == "give_up"
        case ImportEvent():
            return "bars_imported", False
        case LeaseEvent():
            return f"lease_{event.kind}", event.kind == "fail"
        case LeaseWait():
            return "lease_waited_for", False
        case MirrorEvent():
            return ("release_unmirrored" if event.problem else "release_mirrored"), bool(event.problem)
        case SealEvent():
            return ("fingerprint_collision" if event.collides else "artifact_sealed"), event.collides
        case StreamEvent():
            return f"stream_{event.kind}", event.kind in ("cools", "fault")
        case SessionEvent():
            return f"session_{event.kind}", event.kind in ("downgraded", "pinned")
        case UnrecordedVerdict():
            return "verdict_unrecorded", True
        case WebhookEvent():
            outcome = "delivered" if event.is_delivered else "dropped" if event.is_dropped else "failed"
            return f"webhook_{outcome}", not event.is_delivered
        case DroppedRequest():
            return "request_dropped", False
        case ExchangeWait():
            return "exchange_waited_for", True
        case DamagedState():
            return "state_damaged", True
        case CoordinationEvent():
            return f"{event.service}_{'found' if event.is_available else 'lost'}", not event.is_available
