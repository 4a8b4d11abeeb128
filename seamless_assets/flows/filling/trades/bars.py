"""Bars of trades: all of a node's, or those that its exchange keeps sending no candles of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pyarrow as pa

from seamless_assets.core.bars.sorted_sets import is_in
from seamless_assets.core.bars.table import COLUMNS, PRICES, between, empty_bars, join, stack, timestamps
from seamless_assets.core.calendar.instant import seconds_text
from seamless_assets.core.calendar.segment import Segment, merge_ranges, outside
from seamless_assets.core.calendar.timeframe import Timeframe
from seamless_assets.core.coverage.coverage import NO_TRADES, holes
from seamless_assets.core.coverage.ledger import FROM_TRADES, Fact
from seamless_assets.core.coverage.proof import Proof, subtract
from seamless_assets.core.coverage.tape import TapeBars
from seamless_assets.core.node import NodeId
from seamless_assets.errors import ExchangeUnavailable
from seamless_assets.flows.filling.fetch import Fetched, ledger_lines
from seamless_assets.flows.filling.pages import Answers, FetchRequest
from seamless_assets.flows.filling.prove import BOTH_SIDES, LASTING, Absence, is_recent
from seamless_assets.flows.filling.trades.beginning import find_beginning, unlisted
from seamless_assets.flows.filling.trades.tapes import TapeReading, read_tapes
from seamless_assets.flows.ports import Ports

WITNESSED = "trades before and after, none within"
_WEAK = frozenset({BOTH_SIDES, LASTING})
_NEAR_BARS = 60
_SAME_VOLUME = 1e-6
_SAME_PRICE = 1e-9


@dataclass
class _Made:
    """What was made of trades, ascending; why there is no more, and whether the exchange was away."""

    parts: list[TapeBars] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    away: ExchangeUnavailable | None = None

    @property
    def known(self) -> list[Segment]:
        return [part.known for part in self.parts]

    @property
    def bars(self) -> pa.Table:
        return stack([part.bars for part in self.parts])

    async def read(self, ports: Ports, node: NodeId, window: Segment, closed: int) -> TapeReading:
        """The tapes of a window, and note why there are no others."""
        reading = await read_tapes(ports, node, window, closed)
        self.away = reading.away
        if reading.problem is not None:
            self.problems.append(reading.problem)
        return reading

    def add(self, reading: TapeReading, frame: Timeframe, window: Segment) -> None:
        """Take the bars of a window that tapes hold whole."""
        self.parts += [bars for tape in reading.tapes if (bars := tape.bars(frame, window)) is not None]

    def proofs(self, frame: Timeframe) -> list[Proof]:
        """The bars among those that are known in which nobody traded."""
        return [
            Proof(*hole, NO_TRADES, WITNESSED)
            for part in self.parts
            for hole in holes(frame, part.known, timestamps(part.bars))
        ]

    def facts(self, now: float) -> list[Fact]:
        """Which trades made the bars."""
        return [
            Fact(*part.known, FROM_TRADES, part.evidence, now) for part in self.parts if part.bars.num_rows
        ]


async def fetch_from_trades(ports: Ports, request: FetchRequest, earlier: Sequence[Fact]) -> Fetched:
    """Make every bar of `request.wanted` of trades; the exchange's candles are not asked for.

    What the exchange's trades are not proven to be whole of stays missing. `earlier` are the ledger's facts.
    """
    frame, made, before = request.node.timeframe, _Made(), list[Proof]()
    for part in request.wanted:
        beginning = await unlisted(ports, request.node, part)
        if beginning is None:
            reading = await made.read(ports, request.node, part, request.closed)
            beginning = await find_beginning(ports, request.node, part, reading)
            made.add(reading.begun_by(beginning.tape), frame, part)
        before += beginning.proofs
        if made.away is not None:
            break
    proofs = [*before, *made.proofs(frame)]
    unknown = subtract(request.wanted, [*made.known, *before], frame)
    answers = Answers(away=made.away)
    why = made.problems[0] if made.problems else "trades do not reach so far by now"
    (answers.failed if made.away else answers.refused).update(dict.fromkeys(unknown, why))
    lines = ledger_lines(ports, request, proofs, unknown, Absence(), (), answers, earlier)
    return Fetched(
        bars=made.bars,
        facts=(*made.facts(ports.clock.now()), *lines),
        candles=empty_bars(),
        long_holes=(),
        problems=tuple(dict.fromkeys(made.problems)) if unknown else (),
        away=made.away,
    )


async def trade_bars(ports: Ports, node: NodeId, window: Segment) -> TapeBars:
    """What trades make of `window` now, from the first bar on that they hold whole; nothing is stored.

    Raises `ExchangeUnavailable`.
    """
    reading = await read_tapes(ports, node, window, int(ports.clock.now()))
    if reading.away is not None:
        raise reading.away
    made = (tape.bars(node.timeframe, window) for tape in reading.tapes)
    nothing = TapeBars(Segment(window.start, window.start), empty_bars(), "")
    return next((bars for bars in made if bars is not None), nothing)


async def repaired_by_trades(
    ports: Ports, request: FetchRequest, fetched: Fetched, earlier: Sequence[Fact], held: pa.Table
) -> Fetched:
    """What was fetched, and of trades the bars that it lacks, looked for though they were.

    Those are bars that stayed missing, and those that nothing but bars on both sides says to be none; what
    trades showed to be none before, by `earlier` facts, is not asked for again. Trades make bars beside
    candles only where they make those around a hole as the exchange sent them; `held` are candles that are
    known already. Otherwise, and where trades tell nothing, it is as it was.
    """
    if fetched.away is not None:
        return fetched
    frame = request.node.timeframe
    open_ones = merge_ranges([fact.segment for fact in fetched.facts if _is_open(fact)], frame)
    shown = [fact.segment for fact in earlier if fact.evidence == WITNESSED]
    left = [hole for hole in subtract(open_ones, shown, frame) if not is_recent(hole, frame, request.closed)]
    if not left:
        return fetched
    own = join([held.filter(pa.array(~is_in(timestamps(held), timestamps(fetched.bars)))), fetched.bars])
    made = _Made()
    for holes_of_one in _near(left, frame):
        await _repair(ports, request, holes_of_one, own, made)
    return _with(ports, fetched, made, frame)


def _is_open(fact: Fact) -> bool:
    """Whether trades are asked about the bars of a fact of this fetch."""
    return fact.is_look or (fact.reason == NO_TRADES and fact.evidence in _WEAK)


def _near(left: Sequence[Segment], frame: Timeframe) -> list[list[Segment]]:
    """The ascending holes, together where they are so near that one walk over the tape shows them all."""
    groups: list[list[Segment]] = []
    for hole in left:
        if groups and frame.count(groups[-1][-1].end, hole.start) <= _NEAR_BARS:
            groups[-1].append(hole)
        else:
            groups.append([hole])
    return groups


async def _repair(
    ports: Ports, request: FetchRequest, left: Sequence[Segment], own: pa.Table, made: _Made
) -> None:
    """Add what trades make of near holes, if they make the bars beside and between them as they are."""
    frame, node = request.node.timeframe, request.node
    unit = ports.source.volume_unit(node)
    if unit is not None and unit.counts != "base":
        made.problems.append(f"{node}: volume counts {unit.counts}, and amounts of trades do not")
        return
    start, end = left[0].start, left[-1].end
    wider = Segment(frame.shift(start, -1), min(frame.shift(end, 1), request.closed))
    reading = await made.read(ports, node, wider, request.closed)
    for part in (tape.bars(frame, wider) for tape in reading.tapes):
        if part is not None and (at := _first_difference(part, own)) is not None:
            made.problems.append(
                f"{node}: trades make another bar of {seconds_text(at)} than the candle that the exchange "
                f"sent, so nothing of {seconds_text(start)} to {seconds_text(end)} is made of them"
            )
            return
    for hole in left:
        made.add(reading, frame, hole)


def _first_difference(part: TapeBars, own: pa.Table) -> int | None:
    """The open of the first candle in a part of which trades make another bar, or none."""
    candles = between(own, *part.known)
    if not candles.num_rows:
        return None
    made = part.bars.filter(pa.array(is_in(timestamps(part.bars), timestamps(candles))))
    lacking = ~is_in(timestamps(candles), timestamps(made))
    traded = candles.column("volume").to_numpy() > 0
    if (lacking & traded).any():
        return int(timestamps(candles)[lacking & traded][0])
    candles = candles.filter(pa.array(~lacking))
    differs = np.zeros(candles.num_rows, dtype=bool)
    for name in COLUMNS[1:]:
        tolerance = _SAME_PRICE if name in PRICES else _SAME_VOLUME
        ours, theirs = made.column(name).to_numpy(), candles.column(name).to_numpy()
        differs |= ~np.isclose(ours, theirs, rtol=tolerance, atol=0.0 if name in PRICES else 1e-8)
    return int(timestamps(candles)[differs][0]) if differs.any() else None


def _with(ports: Ports, fetched: Fetched, made: _Made, frame: Timeframe) -> Fetched:
    """What was fetched with what was made: its bars and proofs, and no more looks at what is known by now."""
    facts = [
        replace(fact, start=part.start, end=part.end)
        for fact in fetched.facts
        for part in (outside(fact.segment, made.known) if _is_open(fact) else [fact.segment])
    ]
    now = ports.clock.now()
    is_missing = any(fact.is_look for fact in facts)
    return replace(
        fetched,
        bars=join([fetched.bars, made.bars]),
        facts=(*facts, *made.facts(now), *(Fact(*proof, now) for proof in made.proofs(frame))),
        problems=tuple(dict.fromkeys([*fetched.problems, *made.problems])) if is_missing else (),
    )
