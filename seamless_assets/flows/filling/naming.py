"""Names of holes that only more of the ledger tells: outages and halts. Nothing is asked for them.

An outage is a hole that several symbols of one exchange share, known by minutes in which nobody traded. A
halt is a pause of months, of which each chunk knows its own part. Bars and facts are stored before anybody
looks, so of workers that fill several symbols or chunks at once the last one sees what they share.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from seamless_assets.core.bars.sorted_sets import distinct
from seamless_assets.core.bars.table import empty_bars
from seamless_assets.core.calendar.segment import Segment, merge_ranges
from seamless_assets.core.coverage.chance import SHORTEST_OUTAGE, is_surprising
from seamless_assets.core.coverage.coverage import HALTED, PAUSES, Gap, holes
from seamless_assets.core.coverage.ledger import AWAITING, DENIED, Fact, facts_of
from seamless_assets.core.coverage.proof import pause_reason, subtract
from seamless_assets.core.node import NodeId
from seamless_assets.flows.filling.clocks import recorded_now
from seamless_assets.flows.filling.history import coverage, known_opens
from seamless_assets.flows.ports import Ports

EVIDENCE = "other symbols lack the same bars"
PAUSED = "part of a pause of two months or more"
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
        traded = [await known_opens(ports, peer, hole) for peer in sharing]
        shared = holes(node.timeframe, hole, distinct(np.concatenate(traded)))
        longest = max(shared, key=lambda part: part.end - part.start, default=hole)
        if node.timeframe.count(*longest) >= SHORTEST_OUTAGE:
            for each in (node, *sharing):
                await _record(ports, each, longest)


async def name_halts(
    ports: Ports, node: NodeId, bounds: Segment, known: Sequence[Gap], proofs: Iterable[Fact]
) -> None:
    """Record as halted in what of a longer pause nobody traded, where only a part of it was looked at.

    `proofs` were found inside `bounds` just now, beside the gaps that were `known`.
    """
    fresh = merge_ranges([proof.segment for proof in proofs if proof.reason in PAUSES], 1)
    quiet = [gap for gap in known if gap.reason in PAUSES]
    begins, ends = {bounds.end, *(gap.start for gap in quiet)}, {bounds.start, *(gap.end for gap in quiet)}
    cuts = [part.start for part in fresh if part.start in ends]
    cuts += [part.end for part in fresh if part.end in begins]
    for edge in cuts:
        pause = [*(await _quiet(ports, node, edge, -1))[::-1], *await _quiet(ports, node, edge, 1)]
        unnamed = [gap for gap in pause if gap.reason != HALTED]
        is_in_halt = len(unnamed) < len(pause)
        if unnamed and (is_in_halt or pause_reason(Segment(pause[0].start, pause[-1].end)) == HALTED):
            now = await recorded_now(ports, node)
            halted = [Fact(gap.start, gap.end, HALTED, PAUSED, now) for gap in unnamed]
            await ports.hot.write_bars(node, empty_bars(), halted, recorded_at=now)


async def _quiet(ports: Ports, node: NodeId, edge: int, step: int) -> list[Gap]:
    """The gaps side by side from `edge` on, forwards (`step` 1) or backwards (-1), in which nobody traded.

    The nearest first, and no further than to the first that is named a halt.
    """
    bars = 1
    while True:
        reach = max(0, node.timeframe.shift(edge, step * bars))
        known = await coverage(ports, node, Segment(*sorted((edge, reach))))
        found, at = list[Gap](), edge
        for gap in known.gaps[::step]:
            near, far = gap.segment[::step]
            if near != at or gap.reason not in PAUSES:
                break
            found.append(gap)
            at = far
            if gap.reason == HALTED:
                return found
        if at != reach or reach == 0:
            return found
        bars *= 4


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
        now = await recorded_now(ports, node)
        fact = Fact(*outage, "outage", EVIDENCE, now)
        await ports.hot.write_bars(node, empty_bars(), [fact], recorded_at=now)
