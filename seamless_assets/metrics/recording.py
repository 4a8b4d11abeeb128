"""What each event adds to which metric: the one place where events become numbers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, NamedTuple

from seamless_assets.core.sharing.events import (
    BackfillEvent,
    CoordinationEvent,
    DamagedState,
    DroppedRequest,
    Event,
    ImportEvent,
    LeaseEvent,
    ReadEvent,
    SealEvent,
    SessionEvent,
    StreamEvent,
    WebhookEvent,
)

if TYPE_CHECKING:
    from seamless_assets.core.wire.views import BudgetView

NO_WORLD = ""


class Sample(NamedTuple):
    """One observation: a count to add, a gauge's new value, or a value for a histogram."""

    metric: str
    labels: tuple[str, ...]
    value: float


def samples(event: Event) -> Iterator[Sample]:
    """The observations of an event, labels in the order of the catalogue."""
    match event:
        case ReadEvent():
            yield from _of_read(event)
        case SessionEvent() if event.kind == "downgraded" and event.after == "HOLD":
            yield Sample("domain_gate_holds", (event.world_id, event.domain), 1)
        case WebhookEvent():
            outcome = "delivered" if event.is_delivered else "dropped" if event.is_dropped else "failed"
            yield Sample("seamless_webhook_messages_total", (outcome,), 1)
            if event.waiting is not None:
                yield Sample("seamless_webhook_messages_waiting", (), event.waiting)
        case BackfillEvent() if event.kind != "attempt":
            exchange = event.node_id.split(":")[1]
            yield Sample("seamless_backfill_windows_total", (exchange, event.kind), 1)
            if event.kind == "complete" and event.rows:
                yield Sample("gap_repair_latency_ms", (exchange,), event.duration_ms)
        case SealEvent():
            yield from _of_seal(event)
        case ImportEvent() if event.added or event.revised:
            yield from _of_flags(event)
        case DroppedRequest():
            yield Sample("seamless_rl_dropped_total", (event.key,), 1)
        case CoordinationEvent():
            yield Sample("seamless_shared_service_up", (event.service,), float(event.is_available))
        case LeaseEvent():
            yield Sample("seamless_lease_events_total", (event.kind,), 1)
        case StreamEvent() if event.kind == "bars":
            yield Sample("seamless_stream_bars_total", (event.exchange, event.detail), event.count)
        case StreamEvent() if event.kind == "fault":
            yield Sample("seamless_stream_faults_total", (event.exchange, event.detail), 1)
        case StreamEvent():
            yield Sample("seamless_stream_up", (event.exchange,), float(event.kind == "streams"))
        case DamagedState():
            yield Sample("seamless_damaged_state_total", (event.file,), 1)


def budget_samples(budgets: Iterable[BudgetView]) -> Iterator[Sample]:
    """What is free of rate budgets, at the moment of a scrape."""
    for budget in budgets:
        if budget.tokens is not None:
            yield Sample("seamless_rl_tokens_available", (budget.key,), budget.tokens)
            yield Sample("seamless_rl_tokens_capacity", (budget.key,), budget.capacity)


def _of_read(event: ReadEvent) -> Iterator[Sample]:
    domain = event.domain or "none"
    for phase, taken_ms in event.phases.items():
        yield Sample(_PHASES[phase], (domain,), taken_ms)
    if event.deadline_ms is not None:
        yield Sample("seamless_sla_deadline_seconds", (domain,), event.deadline_ms / 1000)
    for phase in event.violations:
        yield Sample("seamless_sla_violations_total", (domain, phase), 1)
    if event.coverage_ratio is not None:
        yield Sample("coverage_ratio", (event.node_id, event.world_id), event.coverage_ratio)
    if event.verdict == "PARTIAL":
        yield Sample("partial_fill_returns", (event.world_id, domain), 1)
    if event.staleness_seconds is not None:
        yield Sample("live_staleness_seconds", (event.node_id, event.world_id), event.staleness_seconds)


def _of_seal(event: SealEvent) -> Iterator[Sample]:
    exchange = event.node_id.split(":")[1]
    if event.collides:
        yield Sample("fingerprint_collisions", (exchange,), 1)
        return
    yield Sample("artifact_publish_latency_ms", (exchange,), event.duration_ms)
    if not event.file_bytes:
        # The same content again: its flags were counted when it was new.
        return
    yield Sample("artifact_bytes_written", (exchange,), event.file_bytes)
    yield from _of_flags(event)


def _of_flags(event: SealEvent | ImportEvent) -> Iterator[Sample]:
    series = (event.node_id, str(event.interval), NO_WORLD)
    for flag, count in event.flags.items():
        yield Sample("seamless_conformance_flag_total", (*series, flag), count)
    yield Sample("seamless_conformance_warning_total", series, event.warnings)


_PHASES = {
    "storage_wait": "seamless_storage_wait_ms",
    "backfill_wait": "seamless_backfill_wait_ms",
    "live_wait": "seamless_live_wait_ms",
    "total": "seamless_total_ms",
}
