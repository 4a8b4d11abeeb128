"""Disasters: faults that strike the cluster and not a call, as wrong clocks and hot stores that forget."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import Context
from random import Random

from seamless_assets.testing import DAY, InMemoryHotStore
from seamless_assets_tests.simulation.cluster import Cluster
from seamless_assets_tests.simulation.faults import Trace
from seamless_assets_tests.simulation.hot_store import RecordingHotStore
from seamless_assets_tests.simulation.process import Machine

CLOCKS, AWAY, REFUSING = "wrong clocks", "coordinator away", "exchange refuses"
SET_BACK, EMPTIED, DAMAGED = "hot store set back", "hot store emptied", "hot store damaged"
KINDS = (CLOCKS, AWAY, REFUSING, SET_BACK, EMPTIED, DAMAGED)
LOSSES = frozenset({SET_BACK, EMPTIED, DAMAGED})
"""Kinds that take bars from a hot store."""
CLOCK_ERRORS_S = (40.0 * DAY, 40.0 * DAY, 3_600.0, -900.0, -40.0 * DAY)
MAX_DAMAGED = 5


class Disasters:
    """Plans what strikes a cluster, of `kinds` that are drawn; at the end of the trouble all is right again.

    Without a `rng` nothing does.
    """

    def __init__(self, cluster: Cluster, rng: Random | None, trace: Trace) -> None:
        self._rng = rng or Random(0)
        self.kinds = frozenset(self._rng.sample(KINDS, self._rng.randint(2, 4)) if rng else ())
        self._cluster = cluster
        self._trace = trace
        self._is_over = False

    @property
    def takes_bars(self) -> bool:
        """Whether a hot store may lose what it held."""
        return bool(self.kinds & LOSSES)

    def schedule(self, trouble_s: float) -> None:
        """Plan it within so many seconds from now."""
        if CLOCKS in self.kinds:
            for machine in self._rng.sample(self._cluster.machines, self._rng.choice([1, 2])):
                self._set_wrong(machine, trouble_s)
        if AWAY in self.kinds:
            gone, back = self._stretch(trouble_s)
            self._at(gone, lambda: self._send_away(True))
            self._at(back, lambda: self._send_away(False))
        if REFUSING in self.kinds:
            gone, back = self._stretch(trouble_s)
            usual = self._cluster.market.refusing
            self._at(gone, lambda: self._refuse(1.0))
            self._at(back, lambda: self._refuse(usual))
        for store in self._cluster.hot_stores:
            first, second = sorted(self._rng.uniform(0, trouble_s) for _ in range(2))
            if SET_BACK in self.kinds:
                self._at(first, lambda store=store, at=second - first: self._back_up(store, at))
            if EMPTIED in self.kinds:
                self._at(second, lambda store=store: self._restore(store, InMemoryHotStore(), "emptied"))
            if DAMAGED in self.kinds:
                self._at(first, lambda store=store: self._damage(store))
                self._at(second, lambda store=store: store.damaged.clear())

    def end(self) -> None:
        """Let nothing more strike, and set right what is still wrong; what was lost stays so."""
        self._is_over = True
        self._cluster.market.refusing = 0.0
        self._cluster.leases.is_away = False
        for machine in self._cluster.machines:
            machine.clock_error = 0.0
        for store in self._cluster.hot_stores:
            store.damaged.clear()

    def _set_wrong(self, machine: Machine, trouble_s: float) -> None:
        error, (wrong, right) = self._rng.choice(CLOCK_ERRORS_S), self._stretch(trouble_s)
        self._at(wrong, lambda: self._set(machine, error))
        self._at(right, lambda: self._set(machine, 0.0))

    def _set(self, machine: Machine, error: float) -> None:
        machine.clock_error = error
        self._tell(f"machine {self._cluster.machines.index(machine)} has a clock that is {error} s off")

    def _stretch(self, trouble_s: float) -> tuple[float, float]:
        """From when until when something lasts; work begins early, and so does most of this."""
        begin = self._rng.choice([0.0, self._rng.uniform(0, trouble_s / 4)])
        return begin, self._rng.uniform(begin, trouble_s)

    def _refuse(self, share: float) -> None:
        self._cluster.market.refusing = share
        self._tell(f"the exchange refuses {share} of what it is asked")

    def _send_away(self, is_away: bool) -> None:
        self._cluster.leases.is_away = is_away
        self._tell(f"the coordinator is {'away' if is_away else 'back'}")

    def _back_up(self, store: InMemoryHotStore, until_restored: float) -> None:
        backup = store.backup()
        self._at(until_restored, lambda: self._restore(store, backup, "set back"))

    def _restore(self, store: InMemoryHotStore, backup: InMemoryHotStore, what: str) -> None:
        store.restore(backup)
        self._tell(f"hot store {self._cluster.hot_stores.index(store)} is {what}")

    def _damage(self, store: RecordingHotStore) -> None:
        held = [(node, ts) for node in sorted(store.bars, key=str) for ts in sorted(store.bars[node])]
        for node, ts in self._rng.sample(held, min(MAX_DAMAGED, len(held))):
            store.damaged[node, ts] = ts ^ (1 << self._rng.randrange(10, 26))
            self._tell(f"{node}: the bar at {ts} says that it opens at {store.damaged[node, ts]}")

    def _at(self, seconds: float, strike: Callable[[], None]) -> None:
        if seconds:
            self._cluster.loop.call_later(seconds, self._strike, strike, context=Context())
        else:
            strike()

    def _strike(self, strike: Callable[[], None]) -> None:
        if not self._is_over:
            strike()

    def _tell(self, what: str) -> None:
        self._trace.add(f"{self._cluster.loop.time():.6f} {what}\n")
