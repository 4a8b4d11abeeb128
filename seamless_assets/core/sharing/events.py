"""What happened, as plain records: for logs, metrics and progress."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

EventKind = Literal["attempt", "complete", "fail"]
ArchiveEventKind = Literal["loaded", "refused", "differs"]
LeaseEventKind = Literal["claim", "complete", "fail"]
FillEventKind = Literal["take_over", "postpone", "give_up"]
StreamEventKind = Literal["streams", "cools", "fault", "bars"]
SessionEventKind = Literal["downgraded", "restored", "pinned", "unpinned"]


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
class ArchiveEvent:
    """What became of an archive's file: `loaded`, with so many `rows`; `refused`, and bars come over REST.

    `differs`: so many of its bars are others than the exchange sends, whose values count.
    """

    kind: ArchiveEventKind
    node_id: str
    file: str = ""
    rows: int = 0
    reason: str = ""


@dataclass(frozen=True, slots=True)
class FillEvent:
    """What became of a fill that a reader wanted: taken over from who left it, put off, or given up."""

    kind: FillEventKind
    node_id: str
    start: int
    end: int
    worker: str
    attempts: int
    reason: str = ""


@dataclass(frozen=True, slots=True)
class CoordinationEvent:
    """A shared service was lost or found again. `service` is `rate_limiter`, `leases` or `fill_queue`."""

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
class ExchangeWait:
    """A call that waits for its exchange to begin asks again in `delay_s`, after `attempt` of `attempts`."""

    exchange: str
    attempt: int
    attempts: int
    delay_s: float
    reason: str


@dataclass(frozen=True, slots=True)
class LeaseEvent:
    """What a coordinator granted or took back; `holder` is given with a claim alone."""

    kind: LeaseEventKind
    key: str
    token: int
    holder: str
    reason: str = ""


@dataclass(frozen=True, slots=True)
class LeaseWait:
    """A worker has waited `waited_s` for the lease of `key`, which another holds; told once a claim."""

    key: str
    worker: str
    waited_s: float


@dataclass(frozen=True, slots=True)
class DamagedState:
    """Something in one of our own files is not as it was written, and is as if it were not there."""

    file: str
    what: str


@dataclass(frozen=True, slots=True)
class MirrorEvent:
    """A release was mirrored within `duration_ms`, or was not: `problem` says why."""

    node_id: str
    duration_ms: float
    problem: str = ""


@dataclass(frozen=True, slots=True)
class SealEvent:
    """A partition's settled bars were sealed under `fingerprint` within `duration_ms`.

    `file_bytes` is 0 where the artifact was in force already. `flags` are its conformance flags, `warnings`
    how many of them deserve a look. `collides`: other bars hold the fingerprint, and nothing was sealed.
    """

    node_id: str
    interval: int | str
    partition: str
    fingerprint: str
    rows: int
    file_bytes: int
    duration_ms: float
    flags: Mapping[str, int]
    warnings: int
    collides: bool = False


@dataclass(frozen=True, slots=True)
class ImportEvent:
    """Bars of files were sealed: from `rows` of them so many bars were `added`, and so many `revised`.

    `flags` count what was mended in the files, `warnings` how many of the flags deserve a look. What the
    seals of its partitions count, those tell by themselves.
    """

    node_id: str
    interval: int | str
    start: int
    end: int
    rows: int
    added: int
    revised: int
    flags: Mapping[str, int]
    warnings: int
    by: str


@dataclass(frozen=True, slots=True)
class SessionEvent:
    """A session went to another state (ACTIVE, PARTIAL or HOLD), was pinned, or is not any more.

    `at` is in epoch seconds; `as_of` and `dataset_fingerprint` are those it was judged or pinned on.
    """

    kind: SessionEventKind
    at: float
    world_id: str
    domain: str
    node_id: str
    before: str
    after: str
    reasons: tuple[str, ...]
    as_of: str | None
    dataset_fingerprint: str | None


@dataclass(frozen=True, slots=True)
class StreamEvent:
    """What became of an exchange's stream in this process.

    `streams`: it is followed (again). `cools`: it is left alone for `seconds`, and bars are asked for over
    REST. `fault`: something was wrong with it, `detail` says what in one word. `bars`: it proved so many of
    `node_id` final, `detail` says how.
    """

    kind: StreamEventKind
    exchange: str
    detail: str = ""
    node_id: str = ""
    count: int = 0
    seconds: float = 0.0
    reason: str = ""


@dataclass(frozen=True, slots=True)
class UnrecordedVerdict:
    """A verdict that its read did not wait for could not be put on record of its session."""

    world_id: str
    domain: str
    node_id: str
    verdict: str
    reason: str


@dataclass(frozen=True, slots=True)
class WebhookEvent:
    """A message was taken by its receiver, or not; `attempts` counts how often it was not.

    `waiting` is how many messages of this machine wait since. One that `is_dropped` was the oldest of too
    many of its world, and is lost.
    """

    is_delivered: bool
    world_id: str
    message_id: str
    attempts: int
    reason: str = ""
    waiting: int | None = None
    is_dropped: bool = False


@dataclass(frozen=True, slots=True)
class ReadEvent:
    """A read was answered or cut: its phases in ms, which of them were cut, and what came of it.

    `deadline_ms` is None for reads without a deadline, `coverage_ratio` for those that were refused, whose
    `verdict` is REJECT.
    """

    node_id: str
    world_id: str
    domain: str
    verdict: str
    phases: Mapping[str, float]
    violations: tuple[str, ...]
    deadline_ms: float | None
    coverage_ratio: float | None
    rows: int
    staleness_seconds: float | None


Event = (
    ArchiveEvent
    | BackfillEvent
    | CoordinationEvent
    | DamagedState
    | DroppedRequest
    | FillEvent
    | ExchangeWait
    | ImportEvent
    | LeaseEvent
    | LeaseWait
    | MirrorEvent
    | ReadEvent
    | SealEvent
    | SessionEvent
    | StreamEvent
    | UnrecordedVerdict
    | WebhookEvent
)
