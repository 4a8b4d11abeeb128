"""The ports of one simulated worker: real flows and real coordination code over what the run shares."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from seamless_assets.aio.single_flight import SingleFlight
from seamless_assets.core.sharing.events import Event
from seamless_assets.core.sharing.policy import Policy
from seamless_assets.errors import (
    BudgetUnavailable,
    ExchangeUnavailable,
    HotStoreError,
    LeaseStoreUnavailable,
    SeamlessError,
)
from seamless_assets.flows.ports import Ports
from seamless_assets.flows.reading.background import BackgroundFills
from seamless_assets.flows.sharing.budget import RateGate
from seamless_assets.flows.sharing.failover import FailoverLeases
from seamless_assets.flows.sharing.quota import LeaseQuota
from seamless_assets.testing.sessions import InMemorySessionStore
from seamless_assets_tests.simulation.coordination import Budgets, BudgetShelf, Leases, LeaseShelf
from seamless_assets_tests.simulation.exchange import Exchange, Source
from seamless_assets_tests.simulation.fate import EVERYWHERE, Fate, Wire, Worker, WorkerClock
from seamless_assets_tests.simulation.hot import HotStore, Shelf
from seamless_assets_tests.simulation.objects import Objects, StoreInMemory

MACHINES = 2
BUDGET_SLOWNESS = 0.1
"""A budget counts requests as it lets them go, so nothing may hold one up on its way from there."""
FAILURES = frozenset({"refuse", "lose"})


@dataclass
class Shared:
    """What all workers of a run share; each of two machines has leases and a budget of its own, too."""

    exchange: Exchange
    policy: Policy
    now: Callable[[], float]
    budget_fails: bool = False
    exchange_slowness: float = 1.0
    hot: Shelf = field(default_factory=Shelf)
    objects: Objects = field(default_factory=Objects)
    events: list[Event] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.leases = LeaseShelf(self.now)
        self.budget = BudgetShelf(self.now)
        self.machine_leases = [LeaseShelf(self.now) for _ in range(MACHINES)]
        self.machine_budgets = [BudgetShelf(self.now) for _ in range(MACHINES)]

    def notify(self, event: Event) -> None:
        """Satisfies the flows' `Observer`."""
        self.events.append(event)

    def ports(self, worker: Worker, fate: Fate) -> Ports:
        """What `worker` touches."""

        def wire(port: str, down: type[SeamlessError], slowness: float = 1.0) -> Wire:
            return Wire(worker, fate, port, down, slowness)

        machine = worker.slot % MACHINES
        clock = WorkerClock(Wire(worker, fate, "clock", SeamlessError, spared=FAILURES))
        leases = Leases(self.leases, wire("leases", LeaseStoreUnavailable))
        own_leases = Leases(self.machine_leases[machine], wire("machine", LeaseStoreUnavailable))
        calls = wire("exchange", ExchangeUnavailable, self.exchange_slowness)
        return Ports(
            clock=clock,
            source=Source(self.exchange, calls, self.gate(worker, fate)),
            hot=HotStore(self.hot, wire("hot", HotStoreError)),
            artifacts=StoreInMemory(self.objects, worker, fate),
            policy=self.policy,
            rng=worker.rng,
            leases=FailoverLeases(leases, own_leases, clock, self),
            observer=self,
            flights=SingleFlight(clock.now, self.policy.single_flight_ttl_ms / 1000),
            worker=worker.name,
            quota=LeaseQuota(),
            fills=BackgroundFills(),
            sessions=InMemorySessionStore(),
        )

    def gate(self, worker: Worker, fate: Fate) -> RateGate:
        """The gate that the worker's requests pass, quick and without a stall of its own."""
        spared = EVERYWHERE - {"crash", "cancel"} | (frozenset() if self.budget_fails else FAILURES)
        shared = Wire(worker, fate, "budget", BudgetUnavailable, BUDGET_SLOWNESS, spared)
        own = Wire(worker, fate, "machine_budget", BudgetUnavailable, BUDGET_SLOWNESS, spared)
        clock = WorkerClock(Wire(worker, fate, "gate", SeamlessError, BUDGET_SLOWNESS, EVERYWHERE | FAILURES))
        machine = Budgets(self.machine_budgets[worker.slot % MACHINES], own)
        return RateGate(clock, self, machine, Budgets(self.budget, shared))
