"""What must hold after a fetch workload, whatever went wrong on the way."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from seamless_assets.core.calendar.segment import Segment
from seamless_assets.core.node import NodeId
from seamless_assets.core.sharing.events import BackfillEvent
from seamless_assets.core.sharing.lease import lease_key
from seamless_assets_tests.simulation.cluster import BUDGET_SLOWNESS, MACHINES, Cluster
from seamless_assets_tests.simulation.disasters import AWAY, CLOCKS, LOSSES
from seamless_assets_tests.simulation.faults import MAX_LATENCIES, FaultRates
from seamless_assets_tests.simulation.hot_store import RecordingHotStore, Write
from seamless_assets_tests.simulation.leases import lost_leases
from seamless_assets_tests.simulation.market import BUDGET, CoolDown, Request


@dataclass(frozen=True, slots=True)
class Backfilled:
    """What a fetch workload that began at `began` left behind.

    `struck` are the kinds of disasters, `crashed` the processes that vanished.
    """

    cluster: Cluster
    rates: FaultRates
    windows: Mapping[NodeId, Segment]
    began: float
    crashed: AbstractSet[str]
    struck: AbstractSet[str] = frozenset()

    @property
    def is_calm(self) -> bool:
        """Whether nothing went wrong but slowness."""
        return not self.rates.is_faulty and not self.struck and len(self.cluster.hot_stores) == 1

    @property
    def slack(self) -> float:
        """How late, in seconds, a request may use its place, or hear of a cool-down."""
        return 4 * BUDGET_SLOWNESS * MAX_LATENCIES * self.rates.latency


def violations_of(run: Backfilled) -> Iterator[str]:
    """What is wrong with what the run left behind."""
    for store in run.cluster.hot_stores:
        for node, window in run.windows.items():
            yield from _bars(run, store, node, window)
            yield from _facts(run, store, node)
        # A store that was set back has forgotten who has written to it.
        if not run.struck & LOSSES:
            yield from _writes(run, store)
    # Who stood still between the gate and the exchange asks late, and no gate can help that.
    if not run.rates.freeze:
        # A machine that has lost the budget of all goes on at a pace of its own, without bursts; one whose
        # clock is set meanwhile begins with a burst.
        paces = MACHINES if run.cluster.budget_fails else 1
        if not (run.cluster.budget_fails and CLOCKS in run.struck):
            yield from _pace(run.cluster.market.requests, run.slack, paces)
    if not run.rates.freeze and not run.cluster.budget_fails:
        yield from _cool_downs(run.cluster.market.requests, run.cluster.market.cool_downs, run.slack)
    if not run.rates.refuse and not run.rates.lose and AWAY not in run.struck:
        yield from _leaks(run)
    if run.is_calm:
        yield from _order(run)


def _bars(run: Backfilled, store: RecordingHotStore, node: NodeId, window: Segment) -> Iterator[str]:
    truth, held = run.cluster.market.history[node], store.bars.get(node, {})
    if lost := [ts for ts in truth if window.start <= ts < window.end and ts not in held]:
        yield f"{node}: bars {lost[:3]} were never stored"
    if wrong := [ts for ts, row in held.items() if row not in truth.get(ts, [])]:
        yield f"{node}: bars {wrong[:3]} have values that they never had when closed"


def _facts(run: Backfilled, store: RecordingHotStore, node: NodeId) -> Iterator[str]:
    for fact in store.facts.get(node, []):
        denied = [ts for ts in run.cluster.market.history[node] if fact.start <= ts < fact.end]
        if fact.is_proof and denied:
            yield f"{node}: {fact} denies the bars {denied[:3]}"


def _writes(run: Backfilled, store: RecordingHotStore) -> Iterator[str]:
    """Every write stands under a lease that was given out, and none under an older one than the last."""
    granted = set().union(*(granter.granted for granter in run.cluster.lease_stores))
    newest: dict[str, Write] = {}
    for write in store.writes:
        if write.fence is None:
            yield f"{write.process} wrote {write.node} without a fence"
            continue
        key = lease_key(write.node, write.fence.chunk)
        if (key, write.fence.token) not in granted:
            yield f"{write.process} wrote {key} under a token that nobody gave out"
        last = newest.get(key)
        if last is not None and last.fence is not None and last.fence.token > write.fence.token:
            yield f"{write.process} wrote {key} after {last.process}, under an older token: a stale write"
        else:
            newest[key] = write


def _pace(requests: Sequence[Request], slack: float, paces: int) -> Iterator[str]:
    """No window admits more than one burst and so many paces; `slack` is how late a place may be used."""
    interval = BUDGET.interval_ms / 1000
    allowed = BUDGET.burst + paces * (BUDGET.tokens_per_interval + BUDGET.tokens_per_second * slack)
    times = [request.at for request in requests]
    first = 0
    for last, at in enumerate(times):
        while times[first] <= at - interval:
            first += 1
        if last - first + 1 > allowed:
            yield f"{last - first + 1} requests within {interval} s before {at}: the rate budget was exceeded"
            return


def _cool_downs(requests: Sequence[Request], pauses: Sequence[CoolDown], slack: float) -> Iterator[str]:
    for pause in pauses:
        for request in requests:
            if pause.asked_at + slack < request.at < pause.until:
                yield f"{request.process} asked at {request.at}, during the cool-down until {pause.until}"
                return


def _leaks(run: Backfilled) -> Iterator[str]:
    """Who can reach the lease store leaves no lease behind, cancelled or not; only a crash does."""
    for granter in run.cluster.lease_stores:
        for lease in granter.live.values():
            if granter.is_held(lease) and lease.holder.split("#")[0] not in run.crashed:
                yield f"{lease} was left behind"


def _order(run: Backfilled) -> Iterator[str]:
    """Where nothing went wrong, nothing is done twice and no lease runs out."""
    if lost := lost_leases(run.cluster.lease_stores):
        yield f"the lease {lost[0]} ran out although nothing hindered its holder"
    backfills = [event for event in run.cluster.observer.events if isinstance(event, BackfillEvent)]
    done = Counter((event.node_id, event.start, event.end) for event in backfills if event.kind == "complete")
    settled = {str(node) for node, window in run.windows.items() if window.end <= run.began}
    for piece, times in done.items():
        vain = _vain_looks(run, *piece)
        if piece[0] in settled and times > 1 + vain:
            yield f"{piece} was filled {times} times, {vain} of them in vain, although nothing went wrong"


def _vain_looks(run: Backfilled, node_id: str, start: int, end: int) -> int:
    """How many looks at a piece left some of it unexplained, each of which another one has to follow."""
    facts = run.cluster.hot(0).facts.get(NodeId.parse(node_id), [])
    return len(
        {fact.recorded_at for fact in facts if not fact.is_proof and fact.start < end and start < fact.end}
    )
