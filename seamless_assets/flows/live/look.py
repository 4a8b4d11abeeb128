"""A look: one page of an exchange for the bars that have closed since, and for corrections of those before.

Whoever looks holds the lease of the bars' chunk and stores what came; all others who follow the node find it
there. So any number of them, on any machines, cost one request, and the next one goes on where one crashed.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import nullcontext
from dataclasses import dataclass, replace

from seamless_assets.aio.gather import map_bounded
from seamless_assets.core.calendar.segment import Segment, join_segments, outside
from seamless_assets.core.coverage.coverage import MISSING
from seamless_assets.core.coverage.ledger import AWAITING, Fact, facts_of
from seamless_assets.core.coverage.proof import subtract
from seamless_assets.core.node import NodeId
from seamless_assets.core.sharing.lease import lease_key
from seamless_assets.flows.filling.backfill import FillResult, Piece, fetch_and_store, pieces
from seamless_assets.flows.filling.clocks import known_now
from seamless_assets.flows.filling.history import coverage
from seamless_assets.flows.filling.witness_pages import WitnessPages
from seamless_assets.flows.ports import Ports
from seamless_assets.flows.sharing.leases import HeldLease, holding
from seamless_assets.flows.sharing.quota import NestedQuota

OVERLAP_BARS = 20
"""Bars before the newest ones that a look asks for again: corrections of them are seen."""
RECENT_BARS = 9
"""So many of the newest bars may still come late; longer holes are asked for as the ledger says."""
PIECES_AT_ONCE = 8


@dataclass(frozen=True, slots=True)
class Look:
    """What is looked for: bars of `window`, the end of which has closed by `closed`.

    What was looked for in vain at or after `due` (epoch seconds, our clock) is not asked for again.
    `again`: ask for the newest bars though they are there, for corrections. `afresh`: ask for what is missing
    whatever was looked for in vain before.
    """

    node: NodeId
    window: Segment
    closed: int
    due: float
    again: bool = False
    afresh: bool = False

    @property
    def is_newest(self) -> bool:
        """Whether it reaches to the newest bar."""
        return self.window.end >= self.closed


async def look(ports: Ports, wanted: Look) -> list[FillResult]:
    """Ask for what is missing and not known to be none; callers of one process share that.

    Nothing is asked for where another process did it. Raises `ExchangeRefused`, `StoreError`,
    `CoordinationError`.
    """
    # When it was due differs by what each caller knows of the exchange's clock.
    return await ports.flights.do(replace(wanted, due=0.0), lambda: _look(ports, wanted))


async def decided_until(ports: Ports, node: NodeId, window: Segment) -> int:
    """How far it is known which bars of `window` there are: up to its end, or to missing ones there."""
    opens = await ports.hot.load_opens(node, window)
    if len(opens) == node.timeframe.count(*window):
        return window.end
    gaps = (await coverage(ports, node, window)).gaps
    is_open = bool(gaps) and gaps[-1].end == window.end and gaps[-1].reason == MISSING
    return gaps[-1].start if is_open else window.end


async def _look(ports: Ports, wanted: Look) -> list[FillResult]:
    policy = replace(
        ports.policy, lease_ttl_ms=min(ports.policy.lease_ttl_ms, ports.policy.live_lease_ttl_ms)
    )
    ports, witnesses = replace(ports, policy=policy), WitnessPages(ports, wanted.closed)
    frame = wanted.node.timeframe
    overlap = frame.shift(wanted.closed, -OVERLAP_BARS) if wanted.is_newest else wanted.window.end
    begin = min(wanted.window.start, overlap)
    *others, newest = pieces(ports, wanted.node, Segment(begin, wanted.window.end))
    far = [piece for piece in others if piece.bounds.end <= overlap]
    near = others[len(far) :]
    found: list[FillResult] = []
    nested = replace(ports, quota=NestedQuota())

    async def look_before(held: HeldLease) -> None:
        """Look at what lies just before the newest piece, where corrections are asked for."""
        asked = replace(wanted, again=True)
        while near:
            piece = near.pop()
            # The bars of one chunk may be of two symbols.
            lease = held if piece.chunk == newest.chunk else None
            found.append(await _look_at(nested, asked, piece, witnesses, held=lease))

    # Who gets the newest bars asks for those corrections, and first: what is told of a bar comes in order.
    found.append(await _look_at(ports, wanted, newest, witnesses, before_fetching=look_before))
    while near:
        found.append(await _look_at(ports, wanted, near.pop(), witnesses))
    return [
        *await map_bounded(lambda piece: _look_at(ports, wanted, piece, witnesses), far, PIECES_AT_ONCE),
        *found,
    ]


async def _look_at(
    ports: Ports,
    wanted: Look,
    piece: Piece,
    witnesses: WitnessPages,
    before_fetching: Callable[[HeldLease], Awaitable[None]] | None = None,
    held: HeldLease | None = None,
) -> FillResult:
    """Look at one piece under the lease of its chunk, which is `held` already or claimed for it."""
    parts, _ = await _asked_for(ports, wanted, piece)
    if not parts:
        return FillResult()
    key = lease_key(wanted.node, piece.chunk)
    async with holding(ports, key) if held is None else nullcontext(held) as lease:
        parts, facts = await _asked_for(ports, wanted, piece)
        if not parts:
            return FillResult()
        if before_fetching is not None:
            await before_fetching(lease)
        return await fetch_and_store(
            ports, wanted.node, piece, parts, witnesses, facts, lease, counts_failures=False
        )


async def _asked_for(ports: Ports, wanted: Look, piece: Piece) -> tuple[list[Segment], list[Fact]]:
    """The ranges of a piece to ask for, none where all is known; and the ledger's facts of it."""
    node, frame, bounds = wanted.node, wanted.node.timeframe, piece.bounds
    newest = Segment(frame.shift(wanted.closed, -OVERLAP_BARS), wanted.closed).intersect(bounds)
    opens = await ports.hot.load_opens(node, bounds)
    if len(opens) == frame.count(*bounds):
        return ([newest] if wanted.again and not newest.is_empty else []), []
    known = await coverage(ports, node, bounds)
    facts = facts_of(await ports.hot.load_facts(node, bounds))
    now = known_now(ports, node)
    resting = [part for fact in facts for part in _resting(wanted, fact, now)]
    missing = subtract([gap.segment for gap in known.missing_gaps], resting, frame)
    if newest.is_empty or not (missing or wanted.again):
        return missing, facts
    proven = [gap.segment for gap in known.gaps if gap.reason != MISSING]
    return join_segments([*missing, *subtract([newest], [*proven, *resting], frame)]), facts


def _resting(wanted: Look, fact: Fact, now: float) -> list[Segment]:
    """What is not asked for because of a look in vain.

    At the end of time the next look is due as the bars close, and not as the ledger says.
    """
    if wanted.afresh or not fact.is_look:
        return []
    recent = Segment(wanted.node.timeframe.shift(wanted.closed, -RECENT_BARS), wanted.closed)
    part = fact.segment.intersect(recent)
    if fact.evidence == AWAITING or part.is_empty or not wanted.is_newest:
        return [fact.segment] if fact.rests_at(now) else []
    is_looked = wanted.due <= fact.recorded_at <= now
    older = outside(fact.segment, [part]) if fact.rests_at(now) else []
    return [*older, part] if is_looked else older
