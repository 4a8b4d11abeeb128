"""Which candles of a stream are final: those that are proven to be, and no others.

- A candle that the exchange marks as closed is final once the exchange's clock has closed it.
- A candle that a later one follows is final once neither was contradicted for `SETTLE_S`, where the exchange
  marks none. Where it does, the last of a candle without its mark was lost.
- The first message of a connection proves nothing: it may be old, and what it tells of may have gone on
  unseen. Its candles are asked for over REST, and so is the one that was open when it came.
- Nobody trades back: of two states of an open candle the one with less volume is the older one, or the
  exchange takes trades back. Where it comes last, a later candle proves nothing of it.
- Silence proves nothing.
- What contradicts what was told before is asked for over REST; a stream corrects nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from seamless_assets.core.calendar.segment import Segment, join_segments
from seamless_assets.core.calendar.timeframe import Timeframe
from seamless_assets.core.live.events import Values
from seamless_assets.core.live.feed.update import CandleUpdate

SETTLE_S = 0.5
"""Seconds in which messages may come in another order than they were sent."""
AHEAD_S = 2.0
"""So much earlier than the exchange's clock says a candle may begin: the clock is known that well."""
KEPT_BARS = 20
"""Candles that are remembered, final ones to know repetitions by and others to wait for their proof."""

Proof = Literal["closed_flag", "successor"]
Fault = Literal["ahead", "misaligned", "unsound"]
"""What an exchange that works never sends: a candle of the future, one off the grid, one that cannot be."""


@dataclass(frozen=True, slots=True)
class FinalCandle:
    """A candle `[ts, end)` that will not change, and what proves it."""

    ts: int
    end: int
    values: Values
    proof: Proof

    @property
    def is_flat(self) -> bool:
        """Whether it has one price and no volume."""
        o, high, low, c, volume = self.values
        return volume == 0 and o == high == low == c


@dataclass(slots=True)
class _Candle:
    """A candle that is not known to be final: its newest values, when they came, whether marked as closed.

    `is_unmarked`: its exchange marks those that are closed, and not this one.
    `is_doubted`: less volume was told of it afterwards.
    """

    values: Values
    heard_at: float
    is_closed: bool
    is_unmarked: bool
    is_doubted: bool = False

    def is_newer_than(self, update: CandleUpdate) -> bool:
        """Whether more had been traded when it stood so."""
        *_, volume = update.values
        return volume < self.values[-1]


class FinalityJudge:
    """Judges the updates of one node. Times are epoch seconds of the exchange's clock.

    What `take_...` gives was found since it was taken last.
    """

    def __init__(self, timeframe: Timeframe) -> None:
        self._frame = timeframe
        self._connection = -1
        self._first_message = -1
        self._whole_from = 0
        self._newest = -1
        self._followed_at: dict[int, float] = {}
        self._open: dict[int, _Candle] = {}
        self._final: dict[int, Values] = {}
        self._expected: int | None = None
        self._wants_audit = False
        self._doubts: list[Segment] = []
        self._faults: list[Fault] = []

    def hear(self, update: CandleUpdate, now: float) -> None:
        """Take note of an update that came at `now`."""
        if update.connection < self._connection:
            return
        if update.connection > self._connection:
            self._begin(update)
        if self._is_refused(update, now):
            return
        self._newest = max(self._newest, update.ts)
        if update.message == self._first_message:
            opened = max(update.ts, self._frame.floor(int(now)))
            self._whole_from = max(self._whole_from, self._frame.shift(opened, 1))
        elif update.ts in self._final:
            self._wants_audit |= self._final[update.ts] != update.values
        else:
            self._note(update, now)

    def end_connection(self) -> None:
        """Forget what was not proven: nobody knows what was sent since.

        Whatever is heard next begins anew, be it on the same connection.
        """
        for ts in self._open:
            self._doubt(ts)
        self._open.clear()
        self._connection = -1

    def final(self, now: float) -> list[FinalCandle]:
        """Candles that are proven final at `now` and were not before, ascending."""
        found = []
        for ts in sorted(self._open):
            proof = self._proof(ts, now)
            if proof is not None:
                candle, end = self._open.pop(ts), self._frame.shift(ts, 1)
                found.append(FinalCandle(ts, end, candle.values, proof))
                self._doubt_skipped(ts)
                self._final[ts] = candle.values
                self._expected = end if self._expected is None else max(end, self._expected)
        self._forget_old()
        return found

    def next_at(self) -> float | None:
        """When `final` may find more, though nothing is heard; None where that needs an update."""
        times = [self._final_at(ts) for ts in self._open]
        return min((at for at in times if at is not None), default=None)

    @property
    def has_findings(self) -> bool:
        """Whether there is anything to take."""
        return self._wants_audit or bool(self._doubts or self._faults)

    def take_audit(self) -> bool:
        """Whether the newest bars are to be asked for again: a connection began, or one was contradicted."""
        wants_audit, self._wants_audit = self._wants_audit, False
        return wants_audit

    def take_doubts(self) -> list[Segment]:
        """Ranges to ask for over REST, ascending."""
        doubts, self._doubts = join_segments(sorted(self._doubts)), []
        return doubts

    def take_faults(self) -> list[Fault]:
        """What was wrong with updates."""
        faults, self._faults = self._faults, []
        return faults

    def _begin(self, update: CandleUpdate) -> None:
        self.end_connection()
        self._wants_audit = True
        if self._expected is not None and self._expected < update.ts:
            self._doubts.append(Segment(self._expected, update.ts))
        self._connection, self._first_message = update.connection, update.message
        self._whole_from, self._newest = 0, -1
        self._followed_at.clear()

    def _is_refused(self, update: CandleUpdate, now: float) -> bool:
        fault: Fault | None = None
        if self._frame.floor(update.ts) != update.ts:
            fault = "misaligned"
        elif update.ts > now + AHEAD_S:
            fault = "ahead"
        elif not update.is_sound:
            fault = "unsound"
        if fault is None:
            return False
        self._faults.append(fault)
        if fault == "unsound":
            # Whatever was known of it before, the newest of it is not.
            self._open.pop(update.ts, None)
            self._doubt(update.ts)
        return True

    def _note(self, update: CandleUpdate, now: float) -> None:
        """Keep the newest values of a candle that is open still, and whom it follows."""
        ahead = self._frame.shift(update.ts, 1) - now
        is_closed = bool(update.is_closed) and ahead <= 0
        # A mark that comes a little too early is one where a later candle says that it was right.
        is_unmarked = update.is_closed is False or (bool(update.is_closed) and ahead > AHEAD_S)
        known = self._open.get(update.ts)
        if known is not None and known.is_newer_than(update) and not is_closed:
            known.is_doubted = True
        elif known is None or known.values != update.values:
            self._open[update.ts] = _Candle(update.values, now, is_closed, is_unmarked)
        else:
            known.is_closed |= is_closed
            known.is_unmarked &= is_unmarked
            known.is_doubted = False
        for ts in self._open:
            if ts < self._newest:
                self._followed_at.setdefault(ts, max(now, float(self._newest)))

    def _proof(self, ts: int, now: float) -> Proof | None:
        at = self._final_at(ts)
        if at is None or now < at:
            return None
        return "closed_flag" if self._open[ts].is_closed else "successor"

    def _final_at(self, ts: int) -> float | None:
        """From when on a candle is final if nothing more is heard; None where it is not."""
        candle = self._open[ts]
        if candle.is_closed:
            return candle.heard_at
        is_unknown = candle.is_unmarked or candle.is_doubted
        if is_unknown or ts < self._whole_from or ts not in self._followed_at:
            return None
        return max(self._followed_at[ts], candle.heard_at) + SETTLE_S

    def _doubt(self, ts: int) -> None:
        self._doubts.append(Segment(ts, self._frame.shift(ts, 1)))

    def _doubt_skipped(self, ts: int) -> None:
        if self._expected is not None and self._expected < ts:
            self._doubts.append(Segment(self._expected, ts))

    def _forget_old(self) -> None:
        """Keep the newest candles; of older ones that are open still nothing more is to be expected."""
        oldest = self._frame.shift(max([self._newest, *self._final]), -KEPT_BARS) if self._newest >= 0 else 0
        for ts in [ts for ts in self._open if ts < oldest]:
            del self._open[ts]
            self._doubt(ts)
        for kept in (self._final, self._followed_at):
            for ts in [ts for ts in kept if ts < oldest]:
                del kept[ts]
