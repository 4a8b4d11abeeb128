"""Outages: a hole that several symbols of one exchange share, known by minutes in which nobody traded.

What the ledgers of the other symbols know decides, so nothing is asked for it. Bars are stored before
anybody looks, so of workers that fill several symbols at once the last one sees what they share.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from seamless_assets.core.bars.sorted_sets import distinct
from seamless_assets.core.bars.table import empty_bars
from seamless_assets.core.calendar.segment import Segment
from seamless_assets.core.coverage.chance import SHORTEST_OUTAGE, is_surprising
from seamless_assets.core.coverage.coverage import holes
from seamless_assets.core.coverage.ledger import AWAITING, DENIED, Fact, facts_of
from seamless_assets.core.coverage.proof import subtract
from seamless_assets.core.node import NodeId
from seamless_assets.flows.filling.history import coverage
from seamless_assets.flows.ports import Ports

EVIDENCE = "other symbols lack the same bars"
ENOUGH_PEERS = 2
MAX_PEERS = 8
MAX_HOLES = 5
AROUND_BARS = 100


async def name_outages(ports: Ports, node: NodeId, long_holes: Sequence[Segment]) -> None:
    """Record as outage what enough other symbols lack too of holes that are too long for chance."""
    for hole in long_holes[:MAX_HOLES]:
        sharing = [peer for peer in ports.source.peers(node)[:MAX_PEERS] if await _lacks(ports, peer, hole)]
        if len(sharing) < ENOUGH_PEERS:
            continue
        traded = [await ports.hot.load_opens(peer, hole) for peer in sharing]
        shared = holes(node.timeframe, hole, distinct(np.concatenate(traded)))
        longest = max(shared, key=lambda part: part.end - part.start, default=hole)
        if node.timeframe.count(*longest) >= SHORTEST_OUTAGE:
            for each in (node, *sharing):
                await _record(ports, each, longest)


async def _lacks(ports: Ports, peer: NodeId, hole: Segment) -> bool:
    """Whether all is known of the peer's bars, and most of `hole` is empty where that is no chance.

    What awaits more than bars on both sides is empty too: this is what it may wait for.
    """
    frame = peer.timeframe
    around = Segment(frame.shift(hole.start, -AROUND_BARS), frame.shift(hole.end, AROUND_BARS))
    inside, near = await coverage(ports, peer, hole), await coverage(ports, peer, around)
    facts = facts_of(await ports.hot.load_facts(peer, hole))
    waiting = [fact.segment for fact in facts if fact.evidence == AWAITING]
    unknown = subtract([gap.segment for gap in inside.missing_gaps], waiting, frame)
    if unknown or any(fact.reason == DENIED for fact in facts):
        return False
    empty = inside.absent + inside.missing
    others = near.absent - inside.absent
    return 2 * empty > inside.expected and is_surprising(empty, others, near.present + others + empty)


async def _record(ports: Ports, node: NodeId, outage: Segment) -> None:
    known = await coverage(ports, node, outage)
    if any(gap.reason != "outage" for gap in known.gaps):
        now = ports.clock.now()
        fact = Fact(*outage, "outage", EVIDENCE, now)
        await ports.hot.write_bars(node, empty_bars(), [fact], recorded_at=now)
