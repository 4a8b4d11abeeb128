"""What must hold after a fetch run, whatever went wrong on the way."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from seamless_assets.core.calendar.segment import Segment
from seamless_assets.core.node import NodeId
from seamless_assets.core.sharing.events import BackfillEvent
from seamless_assets.core.sharing.lease import lease_key
from seamless_assets_tests.simulation.exchange import BUDGET, CoolDown, Request
from seamless_assets_tests.simulation.hot import Write
from seamless_assets_tests.simulation.ports import MACHINES

if TYPE_CHECKING:
    from seamless_assets_tests.simulation.fetching import FetchRun


def judged(run: FetchRun) -> Iterator[str]:
    """What is wrong with what the run left behind."""
    for node, window in run.windows.items():
        yield from _bars(run, node, window)
        yield from _facts(run, node)
    yield from _writes(run)
    # Who stood still between the gate and the exchange asks late, and no gate can help that.
    if not run.odds.freeze:
        # A machine that has lost the budget of all goes on at a pace of its own, without bursts.
        paces = MACHINES if run.shared.budget_fails else 1
        yield from _pace(run.exchange.requests, run.slack, paces)
    if not run.odds.freeze and not run.shared.budget_fails:
        yield from _cool_downs(run.exchange.requests, run.exchange.cool_downs, run.slack)
    if not run.odds.refuse and not run.odds.lose:
        yield from _leaks(run)
    if run.is_calm:
        yield from _order(run)


def _bars(run: FetchRun, node: NodeId, window: Segment) -> Iterator[str]:
    truth, held = run.exchange.bars[node], run.shared.hot.bars.get(node, {})
    if lost := [ts for ts in truth if window.start <= ts < window.end and ts not in held]:
        yield f"{node}: bars {lost[:3]} were never stored"
    if wrong := [ts for ts, row in held.items() if row not in truth.get(ts, [])]:
        yield f"{node}: bars {wrong[:3]} have values that they never had when closed"


def _facts(run: FetchRun, node: NodeId) -> Iterator[str]:
    for fact in run.shared.hot.facts.get(node, []):
        denied = [ts for ts in run.exchange.bars[node] if fact.start <= ts < fact.end]
        if fact.is_proof and denied:
            yield f"{node}: {fact} denies the bars {denied[:3]}"


def _writes(run: FetchRun) -> Iterator[str]:
    """Every write stands under a lease that was given out, and none under an older one than the last."""
    granters = [run.shared.leases, *run.shared.machine_leases]
    granted = set().union(*(granter.grants for granter in granters))
    newest: dict[str, Write] = {}
    for write in run.shared.hot.writes:
        if write.fence is None:
            yield f"{write.worker} wrote {write.node} without a fence"
            continue
        key = lease_key(write.node, write.fence.chunk)
        if (key, write.fence.token) not in granted:
            yield f"{write.worker} wrote {key} under a token that nobody gave out"
        last = newest.get(key)
        if last is not None and last.fence is not None and last.fence.token > write.fence.token:
            yield f"{write.worker} wrote {key} after {last.worker}, under an older token: a stale write"
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
            if pause.told + slack < request.at < pause.until:
                yield f"{request.worker} asked at {request.at}, during the cool-down until {pause.until}"
                return


def _leaks(run: FetchRun) -> Iterator[str]:
    """Who can reach the lease store leaves no lease behind, cancelled or not; only a crash does."""
    for granter in (run.shared.leases, *run.shared.machine_leases):
        for lease in granter.live.values():
            if lease.until > run.loop.time() and lease.holder.split("#")[0] not in run.crew.crashed:
                yield f"{lease} was left behind"


def _order(run: FetchRun) -> Iterator[str]:
    """Where nothing went wrong, nothing is done twice and no lease runs out."""
    for granter in (run.shared.leases, *run.shared.machine_leases):
        if granter.lost:
            yield f"the lease {granter.lost[0]} ran out although nothing hindered its holder"
    told = [event for event in run.shared.events if isinstance(event, BackfillEvent)]
    done = Counter((event.node_id, event.start, event.end) for event in told if event.kind == "complete")
    settled = {str(node) for node, window in run.windows.items() if window.end <= run.began}
    for piece, times in done.items():
        vain = _vain_looks(run, *piece)
        if piece[0] in settled and times > 1 + vain:
            yield f"{piece} was filled {times} times, {vain} of them in vain, although nothing went wrong"


def _vain_looks(run: FetchRun, node_id: str, start: int, end: int) -> int:
    """How many looks at a piece left some of it unexplained, each of which another one has to follow."""
    facts = run.shared.hot.facts.get(NodeId.parse(node_id), [])
    return len(
        {fact.recorded_at for fact in facts if not fact.is_proof and fact.start < end and start < fact.end}
    )
