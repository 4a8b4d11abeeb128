"""Backfill: fetch into the hot store what is missing, or everything anew."""

from __future__ import annotations

from dataclasses import dataclass

from seamless_assets.core.bars import Written
from seamless_assets.core.coverage import Coverage, Gap
from seamless_assets.core.ledger import facts_of
from seamless_assets.core.node import NodeId
from seamless_assets.core.segment import Segment
from seamless_assets.core.watermark import watermark
from seamless_assets.flows.fetch import Fetched, fetch_bars
from seamless_assets.flows.history import coverage, proven_gaps
from seamless_assets.flows.ports import Ports


@dataclass(frozen=True, slots=True)
class BackfillReport:
    """What a backfill did: ranges it asked for, bars added and replaced, coverage afterwards."""

    node_id: str
    start: int
    end: int
    fetched: tuple[Segment, ...]
    added: int
    revised: int
    coverage: Coverage
    problems: tuple[str, ...]


async def settled_now(ports: Ports, node: NodeId) -> float:
    """The earlier of our clock and the exchange's, in epoch seconds."""
    return min(ports.clock.now(), await ports.source.exchange_now(node.exchange))


async def backfill(ports: Ports, node: NodeId, window: Segment) -> BackfillReport:
    """Fetch the bars of `window` that are closed and missing, each range once.

    What was looked for in vain before is asked again only when its time has come.
    Raises `ExchangeRefused` and `StoreError`; an exchange that stays away ends in `problems`.
    """
    await ports.source.check_node(node)
    closed = watermark(node.timeframe, await settled_now(ports, node), 0)
    target = window.intersect(Segment(window.start, max(window.start, closed)))
    due = await _due(ports, node, target)
    written = Written(0, 0)
    problems: list[str] = []
    for hole in due:
        fetched, stored = await refill(ports, node, hole, closed)
        written = Written(written.added + stored.added, written.revised + stored.revised)
        problems += fetched.problems
    return BackfillReport(
        str(node),
        *window,
        fetched=tuple(due),
        added=written.added,
        revised=written.revised,
        coverage=await coverage(ports, node, target),
        problems=tuple(problems),
    )


async def refill(ports: Ports, node: NodeId, window: Segment, closed: int) -> tuple[Fetched, Written]:
    """Fetch all of `window` and store what came: bars and facts together."""
    fetched = await fetch_bars(ports, node, window, closed)
    known = set(await proven_gaps(ports, node, window))
    fresh = [fact for fact in fetched.facts if Gap(fact.start, fact.end, fact.reason) not in known]
    written = await ports.hot.write_bars(node, fetched.bars, fresh, recorded_at=ports.clock.now())
    return fetched, written


async def _due(ports: Ports, node: NodeId, window: Segment) -> list[Segment]:
    """Missing ranges of `window` whose next look is due."""
    now = ports.clock.now()
    known = await coverage(ports, node, window)
    facts = facts_of(await ports.hot.load_facts(node, window))
    resting = [fact for fact in facts if not fact.is_proof and (fact.next_try or 0) > now]
    return [
        gap.segment
        for gap in known.missing_gaps
        if not any(fact.start <= gap.start and gap.end <= fact.end for fact in resting)
    ]
