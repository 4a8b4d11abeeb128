"""Prove: why bars are not there. An empty answer alone proves nothing, and bars on both sides not always."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from seamless_assets.core.bars.sorted_sets import is_in, union
from seamless_assets.core.bars.table import join, timestamps
from seamless_assets.core.calendar.segment import Segment, merge_ranges
from seamless_assets.core.calendar.timeframe import Timeframe
from seamless_assets.core.coverage.chance import Emptiness
from seamless_assets.core.coverage.coverage import holes_in
from seamless_assets.core.coverage.ledger import AWAITING, Fact, facts_of
from seamless_assets.core.coverage.pages import Page, known_opens, witnessed_spans
from seamless_assets.core.coverage.proof import Denial, Proof, clipped, common, pause_reason, subtract
from seamless_assets.core.coverage.witnesses import volumes_in, volumes_of
from seamless_assets.core.node import NodeId
from seamless_assets.flows.filling.clocks import known_now
from seamless_assets.flows.filling.pages import FetchRequest
from seamless_assets.flows.filling.reach import prove_by_reach
from seamless_assets.flows.filling.witness_pages import WitnessPages
from seamless_assets.flows.filling.witnesses import (
    hear_coarser,
    hear_finer,
    hear_pause,
    hear_trades,
    in_order,
)
from seamless_assets.flows.ports import Ports

SHORT_BARS = 10
MAX_TRADED_HOLES = 3
ENOUGH_BARS = 500
"""Bars of pages that tell how usual empty ones are; with fewer the store is asked too."""
REMEMBERED_BARS = 2_000
LASTING_S = 86_400
LASTING_LOOKS = 3
BOTH_SIDES = "bars on both sides in one page"
LASTING = "bars on both sides at every look for a day, and nothing else to ask"


@dataclass(frozen=True, slots=True)
class Sent:
    """What the pages of a request gave.

    `bars` are sound and sorted, `held` are opens of the store, `empty` the wanted ranges without either.
    Rows that cannot be were sent in the ranges of `unsound`, rows of zeros in those of `blank`.
    """

    pages: Sequence[Page]
    bars: pa.Table
    held: np.ndarray
    empty: Sequence[Segment]
    unsound: Sequence[Segment]
    blank: Sequence[Segment]


@dataclass
class Absence:
    """What became of empty ranges: proofs, denials, and those `awaiting` more than bars on both sides.

    `unusual` are those that are no matter of chance, whatever became of them.
    """

    proofs: list[Proof] = field(default_factory=list)
    denials: list[Denial] = field(default_factory=list)
    awaiting: list[Segment] = field(default_factory=list)
    unusual: Sequence[Segment] = ()


@dataclass(frozen=True, slots=True)
class Holes:
    """Holes with bars on both sides in one page, in their whole length, and how usual such are."""

    timeframe: Timeframe
    spans: Sequence[Segment]
    whole: Sequence[Segment]
    usual: Emptiness

    def likely(self, empty: Sequence[Segment]) -> list[Segment]:
        """The parts of `empty` in holes that can be chance."""
        return common(empty, [hole for hole in self.whole if self._is_likely(hole)])

    def unlikely(self, empty: Sequence[Segment]) -> list[Segment]:
        """The parts of `empty` in holes that are too long for that."""
        return common(empty, [hole for hole in self.whole if not self._is_likely(hole)])

    def around(self, part: Segment) -> Segment | None:
        """The whole hole that a part lies in."""
        return next((h for h in self.whole if h.start <= part.start and part.end <= h.end), None)

    def last_bar(self, hole: Segment | None) -> int | None:
        """The open of the last bar that pages have shown in one with those around a whole hole."""
        around = (s for s in self.spans if hole and s.start < hole.start and hole.end < s.end)
        span = next(around, None)
        return None if span is None else self.timeframe.shift(span.end, -1)

    def _is_likely(self, hole: Segment) -> bool:
        return self.usual.allows(self.timeframe.count(*hole))


async def prove_absence(
    ports: Ports, witnesses: WitnessPages, request: FetchRequest, sent: Sent, earlier: Sequence[Fact]
) -> Absence:
    """Why the bars of `sent.empty` are not there, as far as that can be known.

    Bars on both sides in one page are enough for a hole that the series makes likely, unless a witness says
    the contrary. For all others the reach of the exchange comes first, then coarser bars, finer ones, trades.
    A short hole at the end of time that nothing follows waits for the bars that come after it. `earlier` are
    the ledger's facts.
    """
    node, frame = request.node, request.node.timeframe
    known = await _holes_of(ports, request, sent)
    likely = subtract(known.likely(sent.empty), sent.blank, frame)
    unlikely = [*known.unlikely(sent.empty), *known.likely(subtract(sent.empty, likely, frame))]
    ended = [
        hole
        for hole in subtract(sent.empty, known.whole, frame)
        if not is_recent(hole, frame, request.closed)
    ]
    found = Absence(await prove_by_reach(ports, node, ended, sent.bars) if ended else [])
    found.unusual = subtract(sorted([*unlikely, *ended]), found.proofs, frame)
    left = subtract([*unlikely, *ended], found.proofs, frame)
    pauses: list[Proof] = []
    if left or (likely and not known.usual.is_usual):
        pauses = await _ask_coarser(ports, witnesses, request, sent, known, sorted([*likely, *left]), found)
    accepted = subtract(subtract(likely, found.denials, frame), found.proofs, frame)
    found.proofs += [Proof(*part, "no_trades", BOTH_SIDES) for part in accepted]
    left = subtract([*unlikely, *ended, *likely], found.proofs, frame)
    pauses += await _ask_finer_and_trades(ports, witnesses, node, known, left, found)
    # A hole in which something was traded is no pause, whatever else is as silent as the series itself.
    whole, said = merge_ranges(left, frame), merge_ranges([d.segment for d in found.denials], frame)
    undenied = subtract([hole for hole in whole if not common([hole], said)], found.proofs, frame)
    for pause in pauses:
        found.proofs += clipped([pause], undenied)
        undenied = subtract(undenied, [pause], frame)
    own = await _own_pauses(ports, witnesses, node, undenied)
    found.proofs += clipped([pause for pause in own if pause.reason == "halted"], undenied)
    bracketed = [*known.whole, *(pause.segment for pause in own)]
    left = subtract(undenied, found.proofs, frame)
    _wait_for_more(known_now(ports, node), frame, bracketed, left, earlier, found)
    return found


def is_recent(hole: Segment, timeframe: Timeframe, closed: int) -> bool:
    """Whether a hole is short and at the end of closed time, where the bars that follow will settle it."""
    return hole.end >= closed and timeframe.count(*hole) < SHORT_BARS


async def _holes_of(ports: Ports, request: FetchRequest, sent: Sent) -> Holes:
    """The holes that whole pages bracket; held bars are there, sent or not."""
    frame = request.node.timeframe
    opens = union(known_opens(sent.pages, frame), sent.held)
    spans = witnessed_spans([page for page in sent.pages if page.is_whole], frame)
    whole = holes_in(frame, spans, opens)
    lengths, bars = [frame.count(*hole) for hole in whole], sum(frame.count(*span) for span in spans)
    if whole and bars < ENOUGH_BARS:
        more, so_many = await _remembered(ports, request.node, Segment(spans[0].start, spans[-1].end))
        lengths, bars = lengths + more, bars + so_many
    return Holes(frame, spans, whole, Emptiness.of(lengths, bars))


async def _remembered(ports: Ports, node: NodeId, shown: Segment) -> tuple[list[int], int]:
    """Lengths of holes that the store knows before what pages have shown, and of how many bars it knows."""
    frame = node.timeframe
    before = Segment(frame.shift(shown.start, -REMEMBERED_BARS), shown.start)
    present = len(await ports.hot.load_opens(node, before))
    facts = facts_of(await ports.hot.load_facts(node, before)) if present else []
    quiet = {fact.segment.intersect(before) for fact in facts if fact.reason == "no_trades"}
    lengths = [frame.count(*hole) for hole in sorted(quiet)]
    return lengths, present + sum(lengths)


async def _ask_coarser(
    ports: Ports,
    witnesses: WitnessPages,
    request: FetchRequest,
    sent: Sent,
    known: Holes,
    empty: Sequence[Segment],
    found: Absence,
) -> list[Proof]:
    """Add what coarser bars say of `empty` ranges; the pauses that they show too, but account for nothing."""
    node = request.node
    coarser = in_order(node, ports.source.coarser(node))
    if not coarser:
        return []
    cells = coarser[0].timeframe
    window = Segment(cells.floor(empty[0].start), cells.ceil(max(part.end for part in empty)))
    complete = subtract(known.spans, sent.unsound, node.timeframe)
    own = volumes_in(await _known_bars(ports, node, window, sent.bars), node.timeframe, complete)
    # A coarser bar that reaches over the edge of a piece is made of its neighbour's bars too.
    beside = await witnesses.beside(node, request.bounds, window)
    bars = own.with_others(volumes_of(beside, node.timeframe), request.bounds)
    said = await hear_coarser(ports, witnesses, node, empty, bars)
    found.proofs += said.proofs
    found.denials += [
        Denial(*part, denial.evidence)
        for denial in said.denials
        for part in subtract([denial.segment], said.proofs, node.timeframe)
    ]
    return said.pauses


async def _known_bars(ports: Ports, node: NodeId, window: Segment, fresh: pa.Table) -> pa.Table:
    """Bars of the store, and those that were fetched just now in their place."""
    stored = await ports.hot.load_bars(node, window)
    is_older = ~is_in(timestamps(stored), timestamps(fresh))
    return join([stored.filter(pa.array(is_older)), fresh])


async def _ask_finer_and_trades(
    ports: Ports,
    witnesses: WitnessPages,
    node: NodeId,
    known: Holes,
    left: Sequence[Segment],
    found: Absence,
) -> list[Proof]:
    """Add what finer bars say of the ranges `left`, and trades of the first of them.

    Trades have the last word: they may be older than the bars that deny a hole, or lie beside it. Returned
    are pauses of the finer bars, which are as much in want of a witness.
    """
    frame = node.timeframe
    said = await hear_finer(ports, witnesses, node, subtract(left, found.denials, frame))
    found.proofs += said.proofs
    found.denials += said.denials
    for part in subtract(left, found.proofs, frame)[:MAX_TRADED_HOLES]:
        whole = known.around(part)
        heard = await hear_trades(witnesses, node, whole or part, known.last_bar(whole))
        proofs, denials = clipped(heard.proofs, [part]), clipped(heard.denials, [part])
        found.denials = [
            Denial(*rest, denial.evidence)
            for denial in found.denials
            for rest in subtract([denial.segment], proofs, frame)
        ]
        found.proofs += proofs
        found.denials += denials
    return said.pauses


async def _own_pauses(
    ports: Ports, witnesses: WitnessPages, node: NodeId, left: Sequence[Segment]
) -> list[Proof]:
    """Pauses that pages of the node's own series show, where there is no longer one to ask."""
    if ports.source.coarser(node):
        return []
    found = [await hear_pause(witnesses, node, part) for part in left]
    return [pause for pause in found if pause is not None]


def _wait_for_more(
    now: float,
    frame: Timeframe,
    bracketed: Sequence[Segment],
    left: Sequence[Segment],
    earlier: Sequence[Fact],
    found: Absence,
) -> None:
    """Holes that have bars on both sides and nothing else are believed when looks of a day found the same."""
    unexplained = [f for f in earlier if f.evidence == AWAITING and not f.is_dated_ahead(now)]
    since = now - LASTING_S
    open_ended = subtract(left, bracketed, frame)
    for part in subtract(left, open_ended, frame):
        looks = [f.recorded_at for f in unexplained if f.start <= part.start and part.end <= f.end]
        if len(looks) >= LASTING_LOOKS and min(looks) <= since:
            found.proofs.append(Proof(*part, pause_reason(part), LASTING))
        else:
            found.awaiting.append(part)
