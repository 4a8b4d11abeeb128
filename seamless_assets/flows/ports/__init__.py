"""What flows need of the world. Adapters satisfy these by shape; tests by in-memory twins.

Times are epoch seconds UTC, ranges half-open, bars Arrow tables of `core.bars.table.BARS_SCHEMA`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random
from typing import Never

from seamless_assets.aio.single_flight import SingleFlight
from seamless_assets.core.reading.cache import ReadCache
from seamless_assets.core.reading.settings import ReadSettings
from seamless_assets.core.sharing.policy import Policy
from seamless_assets.errors import NotPicklable
from seamless_assets.flows.ports.artifact_store import ArtifactStore, ReleaseMirror
from seamless_assets.flows.ports.budget import BudgetStore
from seamless_assets.flows.ports.clock import Clock
from seamless_assets.flows.ports.exchange import CandleArchive, CandleSource, CandleStream, LiveFeeds
from seamless_assets.flows.ports.fills import FillQueue, FillRunner
from seamless_assets.flows.ports.hot_store import HotStore
from seamless_assets.flows.ports.leases import LeaseQuota, LeaseRegister, LeaseStore
from seamless_assets.flows.ports.observer import Facts, Observer, Tracer
from seamless_assets.flows.ports.sessions import SessionStore
from seamless_assets.flows.ports.webhooks import Outbox, WebhookDelivery, WebhookSender
from seamless_assets.flows.ports.worlds import WorldDecisions, WorldService

__all__ = [
    "ArtifactStore",
    "BudgetStore",
    "CandleArchive",
    "CandleSource",
    "CandleStream",
    "Clock",
    "Facts",
    "FillQueue",
    "FillRunner",
    "HotStore",
    "LeaseQuota",
    "LeaseRegister",
    "LeaseStore",
    "LiveFeeds",
    "Observer",
    "Outbox",
    "Ports",
    "ReleaseMirror",
    "SessionStore",
    "Tracer",
    "WebhookDelivery",
    "WebhookSender",
    "WorldDecisions",
    "WorldService",
]


@dataclass(frozen=True, slots=True)
class Ports:
    """All that a flow touches. `worker` names this process in leases and events."""

    clock: Clock
    source: CandleSource
    hot: HotStore
    artifacts: ArtifactStore
    policy: Policy
    rng: Random
    leases: LeaseStore
    observer: Observer
    flights: SingleFlight
    worker: str
    quota: LeaseQuota
    fills: FillRunner
    fill_queue: FillQueue
    sessions: SessionStore
    frames: ReadCache
    decisions: WorldDecisions | None = None
    webhooks: WebhookDelivery | None = None
    archive: CandleArchive | None = None
    mirror: ReleaseMirror | None = None
    feeds: LiveFeeds | None = None
    tracer: Tracer | None = None
    reading: ReadSettings = field(default_factory=ReadSettings)

    def __reduce__(self) -> Never:
        raise NotPicklable(
            "stores, servers and exchanges cannot be pickled; pickle the pipeline or its settings, which "
            "connect anew where they are loaded"
        )
