"""Which bars are made of trades, or are of an archive's files, by the ledger and by what is released."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from seamless_assets.aio.gather import gather
from seamless_assets.core.bars.table import changes, timestamps
from seamless_assets.core.calendar.segment import Segment
from seamless_assets.core.coverage.coverage import bars_of
from seamless_assets.core.coverage.ledger import (
    ARCHIVE_DIFFERS,
    FROM_ARCHIVE,
    FROM_CANDLES,
    FROM_TRADES,
    Fact,
    MadeRange,
    facts_of,
    made_ranges,
)
from seamless_assets.core.node import NodeId
from seamless_assets.core.releases.artifact import Manifest
from seamless_assets.core.releases.snapshot import Snapshot
from seamless_assets.flows.filling.fetch import Fetched
from seamless_assets.flows.filling.history import NO_OPENS, known_bars
from seamless_assets.flows.ports import Ports

CAME = "the exchange sent candles of these bars since"


async def made_of_trades(
    ports: Ports, node: NodeId, window: Segment, in_force: Sequence[Manifest]
) -> list[MadeRange]:
    """Where bars of `window` are made of trades, ascending, as what is `in_force` and facts say."""
    released = [one for manifest in in_force for one in manifest.from_trades]
    known = made_ranges(facts_of(await ports.hot.load_facts(node, window)), released)
    return [part for one in known for part in one.within(window)]


async def manifests_in_force(
    ports: Ports, node: NodeId, snapshot: Snapshot, window: Segment
) -> list[Manifest]:
    """The manifests of a snapshot's artifacts that overlap `window`, ascending."""
    return await gather(ports.artifacts.load_manifest(node, ref) for ref in snapshot.overlapping(window))


async def of_archives(
    ports: Ports, node: NodeId, window: Segment, in_force: Sequence[Manifest]
) -> tuple[list[MadeRange], list[MadeRange]]:
    """Where bars of `window` are of files of the exchange's archive, and where it sent others than that.

    Both ascending, as what is `in_force` and facts say.
    """
    made = [one for manifest in in_force for one in manifest.from_archives]
    differing = [one for manifest in in_force for one in manifest.archive_differences]
    if ports.archive is None and not made and not differing:
        return [], []
    facts = facts_of(await ports.hot.load_facts(node, window))
    every = made_ranges(facts, made, FROM_ARCHIVE), made_ranges(facts, differing, ARCHIVE_DIFFERS)
    within = [[part for one in ranges for part in one.within(window)] for ranges in every]
    return within[0], within[1]


async def came_as_candles(
    ports: Ports, node: NodeId, fetched: Fetched, bars: pa.Table, facts: Sequence[Fact]
) -> list[Fact]:
    """Facts that bars which were of trades or of an archive came as candles now, and where as others.

    `bars` are those that were `fetched`, as they are stored; `facts` are the ledger's before them.
    """
    policy = ports.policy
    is_of_both = (
        node in policy.repaired_by_trades
        or ports.archive is not None
        or any(fact.reason in (FROM_TRADES, FROM_ARCHIVE) for fact in facts)
    )
    if not is_of_both or node in policy.made_of_trades or not bars.num_rows:
        return []
    opens = timestamps(bars)
    bounds = Segment(int(opens[0]), node.timeframe.shift(int(opens[-1]), 1))
    made_now = [fact.segment for fact in fetched.facts if fact.reason == FROM_TRADES]
    is_candle = np.logical_not(_lies_in(opens, made_now))
    in_force = await manifests_in_force(ports, node, await ports.artifacts.load_snapshot(node), bounds)
    archived, _ = await of_archives(ports, node, bounds, in_force)
    made = [*await made_of_trades(ports, node, bounds, in_force), *archived]
    came = opens[is_candle & _lies_in(opens, [one.segment for one in made])]
    others = await _others(ports, node, bounds, bars, archived)
    now = ports.clock.now()
    found = [Fact(*part, FROM_CANDLES, CAME, now) for part in bars_of(came, node.timeframe)]
    for file in archived:
        differing = bars_of(others[_lies_in(others, [file.segment])], node.timeframe)
        found += [Fact(*part, ARCHIVE_DIFFERS, file.evidence, now) for part in differing]
    return found


async def _others(
    ports: Ports, node: NodeId, bounds: Segment, bars: pa.Table, archived: Sequence[MadeRange]
) -> np.ndarray:
    """Opens of the bars that are known by other values, of an archive's file."""
    if not archived:
        return NO_OPENS
    _, revised = changes(await known_bars(ports, node, bounds), bars, 0.0)
    opens = timestamps(revised)
    found: np.ndarray = opens[_lies_in(opens, [one.segment for one in archived])]
    return found


def _lies_in(opens: np.ndarray, ranges: Sequence[Segment]) -> np.ndarray:
    """Mask of the opens that lie in any of the ranges."""
    found = np.zeros(len(opens), dtype=bool)
    for start, end in ranges:
        found[np.searchsorted(opens, start) : np.searchsorted(opens, end)] = True
    return found
