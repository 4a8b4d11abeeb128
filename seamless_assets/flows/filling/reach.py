"""Where a series begins and ends: bars that an exchange never had, no longer has, or will not have."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pyarrow as pa

from seamless_assets.core.bars.table import timestamps
from seamless_assets.core.calendar.segment import Segment
from seamless_assets.core.coverage.proof import Proof, Reach
from seamless_assets.core.node import NodeId
from seamless_assets.errors import ExchangeRefused, ExchangeUnavailable
from seamless_assets.flows.filling.history import known_opens
from seamless_assets.flows.ports import Ports
from seamless_assets.flows.sharing.retry import ask_or_none, with_retries

REMEMBERED_S = 400 * 86_400


async def prove_by_reach(
    ports: Ports, node: NodeId, open_holes: Sequence[Segment], bars: pa.Table
) -> list[Proof]:
    """What of the ascending holes lies before the first bar of a series, out of reach, or after its end.

    `bars` are those that were fetched around them, sorted.
    """
    opens = timestamps(bars)
    window = Segment(open_holes[0].start, open_holes[-1].end)
    first, last = (opens[0], opens[-1]) if len(opens) else (window.end, -1)
    if window.start < first:
        listed = await ask_or_none(ports, lambda: ports.source.first_listed(node))
        if any((listed or 0) < hole.end <= first for hole in open_holes):
            await ask_or_none(ports, lambda: ports.source.oldest_served(node))
    reach = await ask_or_none(ports, lambda: ports.source.reach(node, window)) or Reach()
    if window.end > last:
        reach = replace(reach, delisted=await _delisted_at(ports, node, open_holes[-1]))
    return [proof for hole in open_holes for proof in reach.proofs(hole)]


async def _delisted_at(ports: Ports, node: NodeId, hole: Segment) -> int | None:
    """Close of the last bar of a delisted symbol; as the store has it, where the exchange refuses to tell."""
    if not await ask_or_none(ports, lambda: ports.source.is_delisted(node)):
        return None
    try:
        return await with_retries(ports, lambda: ports.source.last_traded(node))
    except ExchangeRefused:
        known = await known_opens(ports, node, Segment(hole.end - REMEMBERED_S, hole.end))
        return node.timeframe.shift(int(known[-1]), 1) if len(known) else None
    except ExchangeUnavailable:
        return None
