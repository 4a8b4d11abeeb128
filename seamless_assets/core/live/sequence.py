"""What a stream tells next: from where it stands and what is known of a node to the events that follow.

Pure, and the same whoever asks: a stream that is resumed by a cursor goes on with just these events. There is
one order: by the time of each event, that of a bar or a gap being its end, and what closes before corrections
of the same instant.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections import defaultdict, deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from seamless_assets.core.bars.table import COLUMNS, REVISIONS_SCHEMA
from seamless_assets.core.calendar.segment import Segment, outside
from seamless_assets.core.calendar.timeframe import Timeframe
from seamless_assets.core.coverage.coverage import MISSING
from seamless_assets.core.coverage.coverage import Gap as Hole
from seamless_assets.core.live.cursor import Place
from seamless_assets.core.live.events import Bar, Event, Filled, Gap, Revised, Source, Values
from seamless_assets.core.live.feed.finality import FinalCandle, Proof
from seamless_assets.core.live.position import Position
from seamless_assets.core.live.progress import Progress
from seamless_assets.core.node import NodeId

EVIDENCE: Mapping[Source, str] = {
    "release": "sealed in a release",
    "hot_store": "stored after the exchange's clock had closed it",
}
PROOFS: Mapping[Proof, str] = {
    "closed_flag": "marked as closed by the exchange",
    "successor": "followed by a later bar",
}
CORRECTED = "the exchange sent other values for a closed bar"


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of a node.

    `bars` and `holes` (ascending) account for what is still to be told of `window`, and for the ranges that
    were told as gaps. `looked` are ranges of missing bars that an exchange was asked for. `revisions`
    (`REVISIONS_SCHEMA`) are those of all bars that the stream follows and of the window, in the order
    recorded. `released` are ranges that releases hold, ascending. `is_followed`: a bar is known that opens
    after the window. `at` is when all this was known, in epoch seconds.
    """

    window: Segment
    bars: pa.Table
    holes: Sequence[Hole]
    looked: Sequence[Segment]
    revisions: pa.Table
    released: Sequence[Segment] = ()
    is_followed: bool = False
    at: float = 0.0


@dataclass(frozen=True, slots=True)
class Correction:
    """The `number`-th correction (from 1) of the bar that opens at `ts`."""

    ts: int
    number: int
    before: Values
    after: Values
    recorded_at: float


class Sequencer:
    """Tells what is new of one node, event by event, and keeps the `position` after the last one.

    `others` are the positions of all nodes of the stream, for the events' cursors.
    """

    def __init__(
        self, node: NodeId, position: Position, others: Mapping[str, Position], known: Known
    ) -> None:
        self._name, self._frame = str(node), node.timeframe
        self._others, self._known = others, known
        self._rows = rows_of(known.bars)
        self._opens = sorted(self._rows)
        self._corrections = corrections_of(in_order(known.revisions, self._frame))
        self._corrections_by_open: defaultdict[int, list[Correction]] = defaultdict(list)
        for one in self._corrections:
            self._corrections_by_open[one.ts].append(one)
        self._pending: deque[Correction] = deque()
        self.position = position

    def events(self) -> Iterator[Event]:
        """What follows from what is known: bars and corrections in the order in which they came."""
        yield from self._reconciled()
        before = self.position
        self._pending = self._corrections_of(before)
        for gap in before.gaps:
            if gap.start >= self._known.window.start:
                yield from self._resolved(gap)
        yield from self._new()
        yield from self._corrected(math.inf)

    def _reconciled(self) -> Iterator[Event]:
        """What became of the bar that was told before it was stored, where that is another one."""
        told = self.position.unstored
        if told is None:
            return
        (ts, values), end = told, self._frame.shift(told[0], 1)
        if ts not in self._rows:
            for hole in self._known.holes:
                is_over = hole.reason != MISSING or self._is_decided(Segment(ts, end))
                if hole.start <= ts < hole.end and is_over:
                    self._move(is_stored=True)
                    yield self._gap(Segment(ts, end), hole.reason)
            return
        row, corrections = self._rows[ts], self._corrections_by_open[ts]
        was_known = values in (row, *(one.before for one in corrections), *(one.after for one in corrections))
        number = _corrections_in(values, corrections)
        revised = {**dict(self.position.revised), ts: number} if number else dict(self.position.revised)
        self._move(revised=tuple(sorted(revised.items())), is_stored=True)
        if not was_known:
            at = max(self._known.at, float(end), *(one.recorded_at for one in corrections))
            changed = self._bar(ts, end, row, "hot_store")
            yield Revised(**changed, evidence=CORRECTED, before=values, recorded_at=at)

    def _corrections_of(self, before: Position) -> deque[Correction]:
        """Corrections of bars that were emitted without them."""
        emitted = dict(before.revised)
        return deque(
            one
            for one in self._corrections
            if before.follows(one.ts, self._frame)
            and not _holds(before.gaps, one.ts)
            and one.ts != (before.unstored or (None,))[0]
            and one.number > emitted.get(one.ts, 0)
        )

    def _corrected(self, until: float) -> Iterator[Event]:
        """The corrections that are still to be emitted and were recorded before `until`."""
        while self._pending and self._pending[0].recorded_at < until:
            one = self._pending.popleft()
            self._move(revised=tuple(sorted({**dict(self.position.revised), one.ts: one.number}.items())))
            end = self._frame.shift(one.ts, 1)
            yield Revised(
                **self._bar(one.ts, end, one.after, "hot_store"),
                evidence=CORRECTED,
                before=one.before,
                recorded_at=one.recorded_at,
            )

    def _resolved(self, gap: Hole) -> Iterator[Event]:
        """What became of a range without bars: bars that came after all, or another reason."""
        low, high = bisect_left(self._opens, gap.start), bisect_left(self._opens, gap.end)
        for ts in self._opens[low:high]:
            bar = Segment(ts, self._frame.shift(ts, 1))
            self._move(gaps=_without(self.position.gaps, bar), revised=self._revised_with(ts))
            source = self._source(ts)
            yield Filled(**self._bar(*bar, self._rows[ts], source), evidence=EVIDENCE[source])
        for hole in self._known.holes:
            part = hole.segment.intersect(gap.segment)
            if not part.is_empty and hole.reason != gap.reason:
                yield self._gap(part, hole.reason)

    def _new(self) -> Iterator[Event]:
        """Bars in their turn, and the ranges between them, as far as both are decided."""
        at = self.position.upto
        holes = [hole for hole in self._known.holes if hole.end > at]
        for ts in [*self._opens[bisect_left(self._opens, at) :], self._known.window.end]:
            while holes and holes[0].start < ts:
                hole = holes.pop(0)
                part = Segment(max(hole.start, at), hole.end)
                if hole.reason == MISSING and not self._is_decided(part):
                    return
                yield from self._corrected(part.end)
                self._move(upto=part.end)
                yield self._gap(part, hole.reason)
            if ts in self._rows:
                end = self._frame.shift(ts, 1)
                yield from self._corrected(end)
                self._move(upto=end, revised=self._revised_with(ts))
                source = self._source(ts)
                yield Bar(**self._bar(ts, end, self._rows[ts], source), evidence=EVIDENCE[source])

    def _is_decided(self, missing: Segment) -> bool:
        """Whether missing bars were asked for and newer ones are there: those at the end may still come."""
        is_followed = self._known.is_followed or (bool(self._opens) and self._opens[-1] >= missing.end)
        return is_followed and not outside(missing, self._known.looked)

    def _gap(self, part: Segment, reason: str) -> Gap:
        gaps = [*_without(self.position.gaps, part), Hole(*part, reason)]
        self._move(gaps=_joined(gaps))
        evidence = "asked for and not sent" if reason == MISSING else "proven in the coverage ledger"
        return Gap(
            node_id=self._name,
            place=self._place(),
            start=part.start,
            end=part.end,
            reason=reason,
            evidence=evidence,
        )

    def _bar(self, ts: int, end: int, values: Values, source: Source) -> dict[str, Any]:
        bar = Segment(ts, end)
        return {"node_id": self._name, "place": self._place(), **_facts(bar, values), "source": source}

    def _source(self, ts: int) -> Source:
        at = bisect_right(self._known.released, ts, key=lambda part: part.start)
        return "release" if at and ts < self._known.released[at - 1].end else "hot_store"

    def _revised_with(self, ts: int) -> tuple[tuple[int, int], ...]:
        """The corrections told, once the bar is told as it is known now."""
        if ts not in self._corrections_by_open:
            return self.position.revised
        number = _corrections_in(self._rows[ts], self._corrections_by_open[ts])
        revised = {**dict(self.position.revised), ts: number} if number else dict(self.position.revised)
        return tuple(sorted(revised.items())) if number else self.position.revised

    def _move(
        self,
        *,
        upto: int | None = None,
        gaps: tuple[Hole, ...] | None = None,
        revised: tuple[tuple[int, int], ...] | None = None,
        is_stored: bool = False,
    ) -> None:
        before = self.position
        self.position = Position(
            before.upto if upto is None else upto,
            before.gaps if gaps is None else gaps,
            before.revised if revised is None else revised,
            before.since,
            None if is_stored else before.unstored,
        ).without_old(self._frame)

    def _place(self) -> Place:
        return Place(self._others, self._name, self.position)


def told_ahead(node: NodeId, candle: FinalCandle, before: Position, progress: Progress) -> Bar | None:
    """The next bar of a node that stands at `before`, told before it is stored; None where it has no turn.

    That of a later one waits until this one is known to be stored. It is a move of `progress`.
    """
    if before.upto != candle.ts or before.unstored is not None:
        return None
    name, unstored = str(node), (candle.ts, candle.values)
    own = Position(candle.end, before.gaps, before.revised, before.since, unstored)
    own = own.without_old(node.timeframe)
    return Bar(
        node_id=name,
        place=Place(progress.move(name, own), name, own),
        **_facts(Segment(candle.ts, candle.end), candle.values),
        source="stream",
        evidence=PROOFS[candle.proof],
    )


def _facts(bar: Segment, values: Values) -> dict[str, Any]:
    (ts, end), (o, high, low, c, volume) = bar, values
    return {"ts": ts, "end": end, "open": o, "high": high, "low": low, "close": c, "volume": volume}


def rows_of(bars: pa.Table) -> dict[int, Values]:
    """Bars by open."""
    columns = [bars.column(name).to_pylist() for name in COLUMNS]
    return {row[0]: row[1:] for row in zip(*columns, strict=True)}


def in_order(revisions: pa.Table, timeframe: Timeframe) -> pa.Table:
    """Revisions (`REVISIONS_SCHEMA`, in the order recorded) by the time of each correction, which they get.

    None lies before its bar's close or before an earlier correction of that bar, however clocks were set.
    Those of one instant are in the order of their bars.
    """
    if not revisions.num_rows:
        return revisions
    opens = revisions.column("ts").to_pylist()
    times: list[float] = []
    latest: dict[int, float] = {}
    for ts, recorded_at in zip(opens, revisions.column("recorded_at").to_pylist(), strict=True):
        latest[ts] = max(recorded_at, latest.get(ts, float(timeframe.shift(ts, 1))))
        times.append(latest[ts])
    place = REVISIONS_SCHEMA.get_field_index("recorded_at")
    dated = revisions.set_column(place, "recorded_at", pa.array(times, pa.float64()))
    return dated.take(pa.array(sorted(range(len(opens)), key=lambda at: (times[at], opens[at])), pa.int64()))


def corrections_of(revisions: pa.Table) -> list[Correction]:
    """Revisions (`REVISIONS_SCHEMA`) in their order, those of each bar numbered from 1."""
    counts: defaultdict[int, int] = defaultdict(int)
    found = []
    for row in zip(*(column.to_pylist() for column in revisions.columns), strict=True):
        counts[row[0]] += 1
        found.append(Correction(row[0], counts[row[0]], row[1:6], row[6:11], row[11]))
    return found


def _corrections_in(values: Values, corrections: Sequence[Correction]) -> int:
    """How many corrections of a bar lie behind the values it has; all where they are of none of them."""
    for one in reversed(corrections):
        if one.after == values:
            return one.number
    if corrections and corrections[0].before == values:
        return 0
    return len(corrections)


def _holds(gaps: Sequence[Hole], ts: int) -> bool:
    at = bisect_right(gaps, ts, key=lambda gap: gap.start)
    return at > 0 and ts < gaps[at - 1].end


def _without(gaps: Sequence[Hole], part: Segment) -> tuple[Hole, ...]:
    return tuple(Hole(*rest, gap.reason) for gap in gaps for rest in outside(gap.segment, [part]))


def _joined(gaps: Sequence[Hole]) -> tuple[Hole, ...]:
    """Ranges in order, those that adjoin for one reason as one."""
    joined: list[Hole] = []
    for gap in sorted(gaps):
        if joined and joined[-1].end == gap.start and joined[-1].reason == gap.reason:
            joined[-1] = Hole(joined[-1].start, gap.end, gap.reason)
        else:
            joined.append(gap)
    return tuple(joined)
