"""One order of events, live and replayed, whatever clocks say and however the past is cut."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from random import Random

import pyarrow as pa
import pytest

from seamless_assets.core.bars.table import REVISIONS_SCHEMA, table_of
from seamless_assets.core.calendar.segment import Segment
from seamless_assets.core.coverage.coverage import Gap as Hole
from seamless_assets.core.live.events import Bar, Event, Revised, Values
from seamless_assets.core.live.position import Position
from seamless_assets.core.live.replay import order_of, replayed
from seamless_assets.core.live.sequence import Known, Sequencer, in_order
from seamless_assets.core.node import NodeId
from seamless_assets.testing import bars_table

NODE = NodeId.parse("ohlcv:binance:BTC/USDT:1m")
START, BARS = 1_736_553_600, 40
END = START + 60 * BARS


@dataclass(frozen=True)
class Correction:
    """What came of a bar at an instant, and what a clock said then."""

    at: float
    ts: int
    before: Values
    after: Values
    recorded_at: float


class History:
    """Bars, holes and corrections in the order in which they came."""

    def __init__(self, rng: Random, *, clocks_agree: bool) -> None:
        self.first = {
            ts: (100.0, 102.0, 98.0, 101.0, 1.0) for ts in range(START, END, 60) if rng.random() < 0.9
        }
        self.corrections: list[Correction] = []
        values = dict(self.first)
        # Often at the very instant of a close.
        times = sorted(rng.choice([0.0, 0.0, 0.4, 31.5]) + rng.randrange(START, END, 60) for _ in range(25))
        for number, at in enumerate(times):
            closed = [ts for ts in values if ts + 60 < at]
            if closed:
                ts = rng.choice(closed)
                after = (*values[ts][:4], 2.0 + number)
                recorded_at = at if clocks_agree else at + rng.uniform(-900, 900)
                self.corrections.append(Correction(at, ts, values[ts], after, recorded_at))
                values[ts] = after
        self.last = values

    def revisions(self, until: float = float("inf")) -> pa.Table:
        """Those that came until then, in the order recorded."""
        came = [one for one in self.corrections if one.at <= until]
        rows = [(one.ts, *one.before, *one.after, one.recorded_at) for one in came]
        return table_of(rows, REVISIONS_SCHEMA)

    def known(self, window: Segment, at: float, revisions: pa.Table) -> Known:
        """What is known of a window at an instant."""
        bars = {ts: row for ts, row in self.first.items() if window.start <= ts < window.end}
        bars |= {one.ts: one.after for one in self.corrections if one.at <= at and one.ts in bars}
        empty = [ts for ts in range(*window, 60) if ts not in self.first]
        holes = [Hole(ts, ts + 60, "no_trades") for ts in empty]
        return Known(window, bars_table(bars), holes, [window], revisions, is_followed=True)

    def replayed(self, cuts: Sequence[int] = ()) -> list[Event]:
        """The replay as known then, in parts that end at `cuts`."""
        position, events = Position.begin(START), []
        for end in [*cuts, END]:
            window = Segment(position.upto, end)
            known = self.known(window, float("inf"), in_order(self.revisions(), NODE.timeframe))
            for event, after in replayed(NODE, position, known):
                events.append(event)
                position = after
        return events

    def lived(self, looks: Sequence[float]) -> Iterator[Event]:
        """What a stream tells that looks at these instants."""
        position = Position.begin(START)
        for at in looks:
            window = Segment(position.upto, max(position.upto, NODE.timeframe.floor(int(at))))
            sequencer = Sequencer(NODE, position, {}, self.known(window, at, self.revisions(at)))
            yield from sequencer.events()
            position = sequencer.position


@pytest.mark.parametrize("seed", range(12))
def test_what_was_lived_is_replayed_in_its_order(seed: int) -> None:
    rng = Random(seed)
    history = History(rng, clocks_agree=True)
    # Each bar is looked at before any correction of it can come, and all else when it happens to be.
    looks = sorted([*range(START, END + 60, 60), *(rng.uniform(START, END) for _ in range(20))])
    live = [event for event in history.lived(looks) if order_of(event)[0] <= END]
    # What came with a bar's close or after the last one is told live, and lies beyond the replay.
    assert history.replayed() == [event for event in live if order_of(event) < (END, 1)]


@pytest.mark.parametrize("seed", range(12))
def test_one_order_is_kept_whatever_clocks_said_and_however_it_is_cut(seed: int) -> None:
    rng = Random(seed)
    history = History(rng, clocks_agree=False)
    whole = history.replayed()
    places = [order_of(event) for event in whole]
    assert places == sorted(places)
    for count in (1, 3, 8):
        cuts = sorted(rng.sample(range(START + 60, END, 60), count))
        assert history.replayed(cuts) == whole


@pytest.mark.parametrize("seed", range(12))
def test_corrections_of_a_bar_keep_their_order_where_a_clock_was_set_back(seed: int) -> None:
    history = History(Random(seed), clocks_agree=False)
    revisions = in_order(history.revisions(), NODE.timeframe)
    assert in_order(revisions, NODE.timeframe) == revisions
    values: dict[int, Values] = {}
    for event in history.replayed():
        if isinstance(event, Revised):
            assert event.before == values[event.ts] and event.recorded_at >= event.end
        if isinstance(event, Bar | Revised):
            values[event.ts] = event.values
    told = Counter(revisions.column("ts").to_pylist())
    beyond = Counter(
        ts
        for ts, at in zip(*(revisions.column(n).to_pylist() for n in ("ts", "recorded_at")), strict=True)
        if at >= END
    )
    for ts, first in history.first.items():
        number = told[ts] - beyond[ts]
        after = [one.after for one in history.corrections if one.ts == ts]
        assert values[ts] == (after[number - 1] if number else first)
