"""For those who build on this package: virtual time, in-memory twins of all ports, bars made by seed.

from seamless_assets import testing

exchange = testing.InMemoryExchange(testing.random_walk(testing.START, testing.START + testing.DAY))
ports = testing.in_memory_ports(exchange)

See `docs/testing.md`. The local exchange as a pytest fixture is in `seamless_assets.testing.pytest_plugin`.
"""

from seamless_assets.testing.artifact_store import InMemoryArtifactStore, InMemoryFiles
from seamless_assets.testing.bars import DAY, START, bars_table, candles, make_bars, random_walk
from seamless_assets.testing.clock import (
    Deadlock,
    ManualClock,
    VirtualClock,
    VirtualLoop,
    run_on_virtual_time,
)
from seamless_assets.testing.exchange import InMemoryExchange, InMemoryStream
from seamless_assets.testing.hot_store import InMemoryHotStore
from seamless_assets.testing.leases import InMemoryLeaseStore
from seamless_assets.testing.pipeline import connect_in_memory
from seamless_assets.testing.ports import RecordingObserver, in_memory_ports
from seamless_assets.testing.sharing import InMemoryBudgetStore, InMemoryFillQueue
from seamless_assets.testing.worlds import InMemoryOutbox, InMemoryReceiver, InMemorySessionStore

__all__ = [
    "DAY",
    "START",
    "Deadlock",
    "InMemoryArtifactStore",
    "InMemoryBudgetStore",
    "InMemoryExchange",
    "InMemoryFiles",
    "InMemoryFillQueue",
    "InMemoryHotStore",
    "InMemoryLeaseStore",
    "InMemoryOutbox",
    "InMemoryReceiver",
    "InMemorySessionStore",
    "InMemoryStream",
    "ManualClock",
    "RecordingObserver",
    "VirtualClock",
    "VirtualLoop",
    "bars_table",
    "candles",
    "connect_in_memory",
    "in_memory_ports",
    "make_bars",
    "random_walk",
    "run_on_virtual_time",
]
