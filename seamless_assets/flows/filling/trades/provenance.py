"""Which bars are made of trades, by the ledger and by what is released."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from seamless_assets.aio.gather import gather
from seamless_assets.core.bars.table import timestamps
from seamless_assets.core.calendar.segment import Segment
from seamless_assets.core.coverage.coverage import bars_of
from seamless_assets.core.coverage.ledger import (
    FROM_CANDLES,
    FROM_TRADES,
    Fact,
    TradedRange,
    facts_of,
    traded_ranges,
)
from seamless_assets.core.node import NodeId
from seamless_assets.core.releases.artifact import Manifest
from seamless_assets.core.releases.snapshot import Snapshot
from seamless_assets.flows.filling.fetch import Fetched
from seamless_assets.flows.ports import Ports

CAME = "the exchange sent candles of these bars since"


async def made_of_trades(
    ports: Ports, node: NodeId, window: Segment, in_force: Sequence[Manifest]
) -> list[TradedRange]:
    """Where bars of `window` are made of trades, ascending, as what is `in_force` and facts say."""
    released = [one for manifest in in_force for one in manifest.from_trades]
    known = traded_ranges(facts_of(await ports.hot.load_facts(node, window)), released)
    return [part for one in known for part in one.within(window)]


async def manifests_in_force(
    ports: Ports, node: NodeId, snapshot: Snapshot, window: Segment
) -> list[Manifest]:
    """The manifests of a snapshot's artifacts that overlap `window`, ascending."""
    return await gather(ports.artifacts.load_manifest(node, ref) for ref in snapshot.overlapping(window))


async def came_as_candles(ports: Ports, node: NodeId, fetched: Fetched, facts: Sequence[Fact]) -> list[Fact]:
    """Facts that bars which were made of trades came as candles now; `facts` are the ledger's so far."""
    policy = ports.policy
    is_of_both = node in policy.repaired_by_trades or any(fact.reason == FROM_TRADES for fact in facts)
    if not is_of_both or node in policy.made_of_trades or not fetched.bars.num_rows:
        return []
    opens = timestamps(fetched.bars)
    bounds = Segment(int(opens[0]), node.timeframe.shift(int(opens[-1]), 1))
    made_now = [fact.segment for fact in fetched.facts if fact.reason == FROM_TRADES]
    is_candle = np.logical_not(_lies_in(opens, made_now))
    in_force = await manifests_in_force(ports, node, await ports.artifacts.load_snapshot(node), bounds)
    was_made = _lies_in(opens, [one.segment for one in await made_of_trades(ports, node, bounds, in_force)])
    now = ports.clock.now()
    return [
        Fact(*part, FROM_CANDLES, CAME, now) for part in bars_of(opens[is_candle & was_made], node.timeframe)
    ]


def _lies_in(opens: np.ndarray, ranges: Sequence[Segment]) -> np.ndarray:
    """Mask of the opens that lie in any of the ranges."""
    found = np.zeros(len(opens), dtype=bool)
    for start, end in ranges:
        found[np.searchsorted(opens, start) : np.searchsorted(opens, end)] = True
    return found
