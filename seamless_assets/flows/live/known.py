"""Loading what a stream tells from: the hot store, releases, the ledger and what was revised."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa

from seamless_assets.core.bars.table import stack, timestamps
from seamless_assets.core.calendar.segment import Segment
from seamless_assets.core.calendar.timeframe import Timeframe
from seamless_assets.core.calendar.watermark import watermark
from seamless_assets.core.coverage.coverage import Gap
from seamless_assets.core.coverage.ledger import facts_of
from seamless_assets.core.live.position import Position
from seamless_assets.core.live.sequence import Known
from seamless_assets.core.node import NodeId
from seamless_assets.flows.filling.history import coverage_of_known, known_bars
from seamless_assets.flows.ports import Ports

MAX_BARS = 500
"""Bars that are loaded at once, beside those that a stream waits for: the most a subscription holds."""
FOLLOWING_BARS = 60
"""Bars that are missing where so many later ones have closed are no longer waited for."""
NEAR_BARS = 100
MAX_PARTS = 16
"""Holes that are waited for are loaded by themselves where they lie farther apart than so many bars, in so
many parts at most."""


async def load_known(ports: Ports, node: NodeId, position: Position, closed: int, until: int) -> Known:
    """What is known of a node beyond a position, up to `until`, and of what it still follows.

    Bars are closed that end by `closed`. Revisions are loaded after the bars, so that none is in a bar that
    is not among them.
    """
    frame = node.timeframe
    end = max(position.upto, min(until, closed, frame.shift(position.upto, MAX_BARS)))
    fresh = Segment(position.stored_upto, end)
    # Of bars that are not settled no release can tell, nor of the newest one more than the hot store, so that
    # the log is not asked of each that closes.
    is_unsettled = fresh.start >= watermark(frame, closed, max(1, ports.policy.stabilization_bars))
    if not position.gaps and is_unsettled and frame.count(*fresh):
        bars = await ports.hot.load_bars(node, fresh)
        if bars.num_rows == frame.count(*fresh):
            revisions = await ports.hot.load_revisions(node, Segment(position.followed_from(frame), end))
            return Known(fresh, bars, (), (), revisions, at=ports.clock.now())
    return await _load_all(ports, node, position, fresh, closed)


async def _load_all(ports: Ports, node: NodeId, position: Position, fresh: Segment, closed: int) -> Known:
    frame = node.timeframe
    loaded = [
        await _load_part(ports, node, part)
        for part in _parts(frame, [*(gap.segment for gap in position.gaps), fresh])
    ]
    holes = [hole for part in loaded for hole in part.holes]
    snapshot = await ports.artifacts.load_snapshot(node)
    beyond = Segment(fresh.end, max(fresh.end, closed))
    is_awaiting = bool(holes) and holes[-1].end == fresh.end
    is_followed = is_awaiting and (
        frame.count(*beyond) >= FOLLOWING_BARS or len(await ports.hot.load_opens(node, beyond)) > 0
    )
    revisions = await ports.hot.load_revisions(node, Segment(position.followed_from(frame), fresh.end))
    window = Segment(loaded[0].window.start, fresh.end)
    return Known(
        window=window,
        bars=stack([part.bars for part in loaded]),
        holes=holes,
        looked=[segment for part in loaded for segment in part.looked],
        revisions=revisions,
        released=[ref.segment for ref in snapshot.overlapping(window)],
        is_followed=is_followed,
        at=ports.clock.now(),
    )


@dataclass(frozen=True, slots=True)
class _Part:
    window: Segment
    bars: pa.Table
    holes: Sequence[Gap]
    looked: list[Segment]


async def _load_part(ports: Ports, node: NodeId, window: Segment) -> _Part:
    bars = await known_bars(ports, node, window)
    covered = await coverage_of_known(ports, node, window, timestamps(bars))
    facts = facts_of(await ports.hot.load_facts(node, window)) if covered.missing else []
    return _Part(window, bars, covered.gaps, [fact.segment for fact in facts if fact.is_look])


def _parts(frame: Timeframe, wanted: Sequence[Segment]) -> list[Segment]:
    """The ranges, those that lie near one another as one: holes may be old, and few questions are cheaper."""
    near = NEAR_BARS
    while len(parts := _joined(frame, wanted, near)) > MAX_PARTS:
        near *= 2
    return parts


def _joined(frame: Timeframe, wanted: Sequence[Segment], near: int) -> list[Segment]:
    parts: list[Segment] = []
    for segment in sorted(wanted):
        if parts and segment.start <= frame.shift(parts[-1].end, near):
            parts[-1] = Segment(parts[-1].start, max(parts[-1].end, segment.end))
        else:
            parts.append(segment)
    return parts
