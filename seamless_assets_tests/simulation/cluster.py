"""The cluster of a run: what its machines share, and the ports of one process on one of them."""

from __future__ import annotations

import asyncio

from seamless_assets.aio.single_flight import SingleFlight
from seamless_assets.core.reading.cache import ReadCache
from seamless_assets.core.sharing.policy import Policy
from seamless_assets.errors import (
    BudgetUnavailable,
    ExchangeUnavailable,
    HotStoreError,
    LeaseStoreUnavailable,
    SeamlessError,
    SessionStoreError,
)
from seamless_assets.flows.ports import Ports
from seamless_assets.flows.reading.background import BackgroundFills
from seamless_assets.flows.sharing.failover import FailoverLeases
from seamless_assets.flows.sharing.gate import RateGate
from seamless_assets.flows.sharing.quota import LeaseQuota
from seamless_assets.testing import InMemoryBudgetStore, InMemoryFillQueue, RecordingObserver
from seamless_assets_tests.simulation.faults import EVERYWHERE, Channel, FaultInjector, ProcessClock
from seamless_assets_tests.simulation.files import FaultyArtifactStore, StagedFiles
from seamless_assets_tests.simulation.hot_store import FaultyHotStore, RecordingHotStore
from seamless_assets_tests.simulation.leases import FaultyBudget, FaultyLeases, RecordingLeaseStore
from seamless_assets_tests.simulation.market import FaultyExchange, Market
from seamless_assets_tests.simulation.process import Machine, Process
from seamless_assets_tests.simulation.scheduler import SeededLoop
from seamless_assets_tests.simulation.sessions import FaultySessions, RecordingSessions

MACHINES = 2
BUDGET_SLOWNESS = 0.1
"""A budget counts requests as it lets them go, so nothing may hold one up on its way from there."""
FAILURES = frozenset({"refuse", "lose"})


def monotonic() -> float:
    """Virtual seconds of a clock that nobody sets."""
    return asyncio.get_running_loop().time()


class Cluster:
    """Stores that all processes share; each machine has leases and a budget of its own, too.

    With two `hot_stores` each machine has one of its own.
    """

    def __init__(
        self,
        loop: SeededLoop,
        market: Market,
        policy: Policy,
        *,
        budget_fails: bool = False,
        exchange_slowness: float = 1.0,
        hot_stores: int = 1,
    ) -> None:
        self.loop = loop
        self.market = market
        self.policy = policy
        self.budget_fails = budget_fails
        self.exchange_slowness = exchange_slowness
        self.near_bytes: int | None = None
        self.hot_stores = [RecordingHotStore() for _ in range(hot_stores)]
        self.observer = RecordingObserver()
        true_time = Machine(loop)
        self.files = StagedFiles(true_time)
        self.leases = RecordingLeaseStore(true_time)
        self.budget = InMemoryBudgetStore(true_time)
        self.fill_queue = InMemoryFillQueue(true_time)
        self.machines = [Machine(loop) for _ in range(MACHINES)]
        self.sessions = [RecordingSessions() for _ in self.machines]
        self.machine_leases = [RecordingLeaseStore(machine) for machine in self.machines]
        self.machine_budgets = [InMemoryBudgetStore(machine) for machine in self.machines]

    @property
    def lease_stores(self) -> list[RecordingLeaseStore]:
        """Whoever grants leases."""
        return [self.leases, *self.machine_leases]

    def machine(self, slot: int) -> Machine:
        """The machine of the process in a slot."""
        return self.machines[slot % MACHINES]

    def hot(self, slot: int) -> RecordingHotStore:
        """The hot store of the process in a slot: that of all, or of its machine."""
        return self.hot_stores[slot % MACHINES % len(self.hot_stores)]

    def ports(self, process: Process, injector: FaultInjector) -> Ports:
        """What a process touches."""

        def channel(port: str, down: type[SeamlessError], slowness: float = 1.0) -> Channel:
            return Channel(process, injector, port, down, slowness)

        machine = process.slot % MACHINES
        clock = ProcessClock(Channel(process, injector, "clock", SeamlessError, spared=FAILURES))
        leases = FaultyLeases(self.leases, channel("leases", LeaseStoreUnavailable))
        own_leases = FaultyLeases(self.machine_leases[machine], channel("machine", LeaseStoreUnavailable))
        calls = channel("exchange", ExchangeUnavailable, self.exchange_slowness)
        return Ports(
            clock=clock,
            source=FaultyExchange(self.market, calls, self.gate(process, injector)),
            hot=FaultyHotStore(self.hot(process.slot), channel("hot", HotStoreError)),
            artifacts=FaultyArtifactStore(self.files, process, injector, self.near_bytes),
            policy=self.policy,
            rng=process.rng,
            leases=FailoverLeases(leases, own_leases, clock, self.observer),
            observer=self.observer,
            flights=SingleFlight(clock.now, self.policy.single_flight_ttl_ms / 1000),
            worker=process.name,
            quota=LeaseQuota(),
            fills=BackgroundFills(),
            fill_queue=self.fill_queue,
            sessions=FaultySessions(self.sessions[machine], channel("sessions", SessionStoreError)),
            frames=ReadCache(monotonic, 60.0, 4),
        )

    def gate(self, process: Process, injector: FaultInjector) -> RateGate:
        """The gate that a process's requests pass, quick and without a stall of its own."""
        spared = EVERYWHERE - {"crash", "cancel"} | (frozenset() if self.budget_fails else FAILURES)

        def channel(port: str, spared: frozenset[str]) -> Channel:
            return Channel(process, injector, port, BudgetUnavailable, BUDGET_SLOWNESS, spared)

        machine = self.machine_budgets[process.slot % MACHINES]
        clock = ProcessClock(channel("gate", EVERYWHERE | FAILURES))
        own = FaultyBudget(machine, channel("machine_budget", spared))
        return RateGate(clock, self.observer, own, FaultyBudget(self.budget, channel("budget", spared)))
