"""The former names of what `seamless_assets.testing` holds, until all tests use the new ones."""

from __future__ import annotations

import math
from dataclasses import replace
from random import Random

from seamless_assets.adapters.artifacts.store import ArtifactStore
from seamless_assets.adapters.machine.leases import MachineLeases
from seamless_assets.adapters.sqlite.store import SqliteHotStore
from seamless_assets.aio.single_flight import SingleFlight
from seamless_assets.core.reading.cache import ReadCache
from seamless_assets.core.sharing.policy import Policy
from seamless_assets.flows.ports import Ports
from seamless_assets.flows.reading.background import BackgroundFills
from seamless_assets.flows.sharing.quota import LeaseQuota
from seamless_assets.testing.bars import DAY as DAY
from seamless_assets.testing.bars import START as START
from seamless_assets.testing.bars import candles as candles
from seamless_assets.testing.bars import random_walk as walk
from seamless_assets.testing.clock import ManualClock as TwinClock
from seamless_assets.testing.exchange import InMemoryExchange as TwinExchange
from seamless_assets.testing.ports import RecordingObserver as HeardEvents
from seamless_assets.testing.sessions import InMemorySessionStore

__all__ = ["DAY", "START", "HeardEvents", "TwinClock", "TwinExchange", "candles", "ports", "walk"]


def ports(tmp_path: object, exchange: TwinExchange, policy: Policy | None = None) -> Ports:
    """Ports over real embedded stores and the given exchange; leases never run out, nor are they renewed."""
    policy = replace(policy or Policy(retry_backoff_ms=10), lease_ttl_ms=math.inf)
    return Ports(
        clock=exchange.clock,
        source=exchange,
        hot=SqliteHotStore(tmp_path / "hot.sqlite"),  # type: ignore[operator]
        artifacts=ArtifactStore(str(tmp_path / "artifacts")),  # type: ignore[operator]
        policy=policy,
        rng=Random(7),
        leases=MachineLeases(tmp_path / "leases.sqlite"),  # type: ignore[operator]
        observer=HeardEvents(),
        flights=SingleFlight(exchange.clock.now, policy.single_flight_ttl_ms / 1000),
        worker="tests:1:0",
        quota=LeaseQuota(),
        fills=BackgroundFills(),
        sessions=InMemorySessionStore(),
        frames=ReadCache(lambda: 0.0, 60.0, 64),
    )
