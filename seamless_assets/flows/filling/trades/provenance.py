"""Which bars are made of trades, or are of an archive's files, by the ledger and by what is released."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np
import pyarrow as pa

from seamless_assets.aio.gather import gather
from seamless_assets.core.bars.table import changes, timestamps
from seamless_assets.core.calendar.instant import epoch_micros
from seamless_assets.core.calendar.segment import Segment, join_segments, outside
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
REPLACED = "bars of an import took the place of these"
_RELEASED: Mapping[str, Callable[[Manifest], Sequence[MadeRange]]] = {
    FROM_TRADES: lambda manifest: manifest.from_trades,
    FROM_ARCHIVE: lambda manifest: manifest.from_archives,
    ARCHIVE_DIFFERS: lambda manifest: manifest.archive_differences,
}
"""What a manifest says of bars, by the reasons of the facts that say the same."""


def made_of_trades(facts: Sequence[Fact], in_force: Sequence[Manifest], window: Segment) -> list[MadeRange]:
    """Where bars of `window` are made of trades, ascending, as what is `in_force` and facts say."""
    return _made(facts, in_force, window, FROM_TRADES)


def of_archives(
    facts: Sequence[Fact], in_force: Sequence[Manifest], window: Segment
) -> tuple[list[MadeRange], list[MadeRange]]:
    """Where bars of `window` are of files of the exchange's archive, and where it sent others than that.

    Both ascending, as what is `in_force` and facts say.
    """
    archived, differing = (
        _made(facts, in_force, window, reason) for reason in (FROM_ARCHIVE, ARCHIVE_DIFFERS)
    )
    return archived, differing


def _made(
    facts: Sequence[Fact], in_force: Sequence[Manifest], window: Segment, reason: str
) -> list[MadeRange]:
    released = [one for manifest in in_force for one in _RELEASED[reason](manifest)]
    return [part for one in made_ranges(facts, released, reason) for part in one.within(window)]


async def manifests_in_force(
    ports: Ports, node: NodeId, snapshot: Snapshot, window: Segment
) -> list[Manifest]:
    """The manifests of a snapshot's artifacts that overlap `window`, ascending."""
    return await gather(ports.artifacts.load_manifest(node, ref) for ref in snapshot.overlapping(window))


async def provenance_lacking(
    ports: Ports, node: NodeId, window: Segment, facts: Sequence[Fact], replaced: Sequence[Segment]
) -> list[Fact]:
    """Facts that the ledger lacks to say of `window` what the releases in force say that bars are made of.

    `facts` are the ledger's. Those that were recorded after a release count for more than it says, but in the
    ranges that were `replaced`, ascending and disjoint, which it was made for.
    """
    if not any(fact.reason == FROM_CANDLES or fact.reason in _RELEASED for fact in facts):
        return []
    snapshot, now = await ports.artifacts.load_snapshot(node), ports.clock.now()
    found = list[Fact]()
    for ref in snapshot.overlapping(window):
        manifest = await ports.artifacts.load_manifest(node, ref)
        for segment, as_of in snapshot.dated(ref):
            part, since = segment.intersect(window), epoch_micros(as_of, "as_of") / 1e6
            newer = [
                replace(fact, start=left.start, end=left.end)
                for fact in facts
                if fact.recorded_at > since
                for left in outside(fact.segment, replaced)
            ]
            wanted, said = (
                {reason: _made(known, [manifest], part, reason) for reason in _RELEASED}
                for known in (newer, facts)
            )
            found += _corrections(wanted, said, now)
    return found


def _corrections(
    wanted: Mapping[str, Sequence[MadeRange]], said: Mapping[str, Sequence[MadeRange]], now: float
) -> list[Fact]:
    """Facts after which what is `said`, by reasons, is what is `wanted`."""
    every = join_segments(one.segment for ranges in wanted.values() for one in ranges)
    gone = join_segments(
        part for ranges in said.values() for one in ranges for part in outside(one.segment, every)
    )
    found = [Fact(*part, FROM_CANDLES, REPLACED, now) for part in gone]
    for reason, ranges in wanted.items():
        for one in ranges:
            held = [other.segment for other in said[reason] if other.evidence == one.evidence]
            found += [Fact(*part, reason, one.evidence, now) for part in outside(one.segment, held)]
    return found


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
        or any(fact.reason in _RELEASED for fact in facts)
    )
    if not is_of_both or node in policy.made_of_trades or not bars.num_rows:
        return []
    opens = timestamps(bars)
    bounds = Segment(int(opens[0]), node.timeframe.shift(int(opens[-1]), 1))
    made_now = [fact.segment for fact in fetched.facts if fact.reason == FROM_TRADES]
    is_candle = np.logical_not(_lies_in(opens, made_now))
    in_force = await manifests_in_force(ports, node, await ports.artifacts.load_snapshot(node), bounds)
    # What came of an archive's file just now was written after the `facts` were loaded.
    known = facts_of(await ports.hot.load_facts(node, bounds))
    archived, _ = of_archives(known, in_force, bounds)
    made = [*made_of_trades(known, in_force, bounds), *archived]
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
