"""What happened, as plain records: for logs, metrics and progress."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

EventKind = Literal["attempt", "complete", "fail"]
LeaseEventKind = Literal["claim", "complete", "fail"]


@dataclass(frozen=True, slots=True)
class BackfillEvent:
    """One step of filling a window of a node. `start` and `end` in epoch seconds, `duration_ms` so far."""

    kind: EventKind
    node_id: str
    start: int
    end: int
    worker: str
    token: int
    duration_ms: float = 0.0
    rows: int = 0
    reason: str = ""


@dataclass(frozen=True, slots=True)
class CoordinationEvent:
    """A shared service was lost or found again. `service` is `rate_limiter` or `leases`."""

    service: str
    is_available: bool
    detail: str


@dataclass(frozen=True, slots=True)
class DroppedRequest:
    """A request that was given up while it waited for the rate budget under `key`, `waited_ms` long."""

    key: str
    waited_ms: float
    reason: str


@dataclass(frozen=True, slots=True)
class LeaseEvent:
    """What a coordinator granted or took back; `holder` is told with a claim alone."""

    kind: LeaseEventKind
    key: str
    token: int
    holder: str
    reason: str = ""


@dataclass(frozen=True, slots=True)
class DamagedState:
    """Something in one of our own files is not as it was written, and is as if it were not there."""

    file: str
    what: str


Event = BackfillEvent | CoordinationEvent | DamagedState | DroppedRequest | LeaseEvent
