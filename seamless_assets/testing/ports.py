"""All ports of a flow in memory, so that a test of it needs no file, no server and no time."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from random import Random

from seamless_assets.aio.single_flight import SingleFlight
from seamless_assets.core.reading.cache import ReadCache
from seamless_assets.core.reading.settings import ReadSettings
from seamless_assets.core.sharing.events import Event
from seamless_assets.core.sharing.policy import Policy
from seamless_assets.flows.ports import (
    ArtifactStore,
    Clock,
    FillQueue,
    FillRunner,
    HotStore,
    LeaseStore,
    LiveFeeds,
    Ports,
)
from seamless_assets.flows.reading.background import BackgroundFills
from seamless_assets.flows.sharing.fill_queue import OptionalFillQueue
from seamless_assets.flows.sharing.quota import LeaseQuota
from seamless_assets.testing.artifact_store import InMemoryArtifactStore
from seamless_assets.testing.exchange import InMemoryExchange
from seamless_assets.testing.hot_store import InMemoryHotStore
from seamless_assets.testing.leases import InMemoryLeaseStore
from seamless_assets.testing.sharing import InMemoryFillQueue
from seamless_assets.testing.worlds import InMemorySessionStore


@dataclass
class RecordingObserver:
    """Satisfies the flows' `Observer`; keeps all `events` in order."""

    events: list[Event] = field(default_factory=list)

    def notify(self, event: Event) -> None:
        """Keep it."""
        self.events.append(event)


def in_memory_ports(
    exchange: InMemoryExchange,
    *,
    policy: Policy | None = None,
    hot: HotStore | None = None,
    artifacts: ArtifactStore | None = None,
    leases: LeaseStore | None = None,
    clock: Clock | None = None,
    fills: FillRunner | None = None,
    fill_queue: FillQueue | None = None,
    reading: ReadSettings | None = None,
    feeds: LiveFeeds | None = None,
    worker: str = "test",
    seed: int = 7,
) -> Ports:
    """Ports over the given exchange and stores, or over new ones in memory; all on the exchange's clock.

    Unless the `policy` says otherwise leases never run out: on a `ManualClock` every wait moves time.
    """
    clock, policy = (
        clock or exchange.clock,
        policy or Policy(retry_backoff_ms=10, lease_ttl_ms=math.inf, live_lease_ttl_ms=math.inf),
    )
    observer = RecordingObserver()
    return Ports(
        clock=clock,
        source=exchange,
        hot=hot or InMemoryHotStore(),
        artifacts=artifacts or InMemoryArtifactStore(),
        policy=policy,
        rng=Random(seed),
        leases=leases or InMemoryLeaseStore(clock),
        observer=observer,
        flights=SingleFlight(clock.now, policy.single_flight_ttl_ms / 1000),
        worker=worker,
        quota=LeaseQuota(),
        fills=fills or BackgroundFills(),
        fill_queue=OptionalFillQueue(fill_queue or InMemoryFillQueue(clock), clock, observer),
        feeds=feeds,
        reading=reading or ReadSettings(),
        sessions=InMemorySessionStore(),
        frames=ReadCache(clock.now, 60.0, 64),
    )
