"""What a stream tells next, from each thing that can be known of a node."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seamless_assets.core.bars.table import REVISIONS_SCHEMA, table_of
from seamless_assets.core.calendar.segment import Segment
from seamless_assets.core.coverage.coverage import Gap as Hole
from seamless_assets.core.live.cursor import read_cursor
from seamless_assets.core.live.events import Bar, Event, Filled, Gap, Revised
from seamless_assets.core.live.position import FOLLOWED_BARS, Position
from seamless_assets.core.live.replay import replayed
from seamless_assets.core.live.sequence import Known, Sequencer
from seamless_assets.core.node import NodeId
from seamless_assets.testing import bars_table

NODE = NodeId.parse("ohlcv:binance:BTC/USDT:1m")
START = 1_736_553_600
Row = tuple[float, float, float, float, float]


def row(value: float) -> Row:
    return (value, value + 2, value - 2, value + 1, 5.0)


def at(number: int) -> int:
    return START + 60 * number


def known(
    bars: dict[int, Row],
    end: int,
    holes: Sequence[tuple[int, int, str]] = (),
    *,
    looked: Sequence[tuple[int, int]] = (),
    revisions: Sequence[tuple[int, Row, Row]] = (),
    begin: int = 0,
    is_followed: bool = False,
) -> Known:
    """Numbers of bars from `START` on, instead of times."""
    return Known(
        window=Segment(at(begin), at(end)),
        bars=bars_table({at(number): values for number, values in sorted(bars.items())}),
        holes=[Hole(at(a), at(b), reason) for a, b, reason in holes],
        looked=[Segment(at(a), at(b)) for a, b in looked],
        revisions=table_of(
            [(at(n), *old, *new, 1000.0 + i) for i, (n, old, new) in enumerate(revisions)], REVISIONS_SCHEMA
        ),
        is_followed=is_followed,
    )


def emitted(position: Position, what: Known) -> tuple[list[Event], Position]:
    sequencer = Sequencer(NODE, position, {str(NODE): position}, what)
    events = list(sequencer.events())
    return events, sequencer.position


def short(events: Sequence[Event]) -> list[tuple[Any, ...]]:
    """Kind, number of the bar, and what else matters."""
    found: list[tuple[Any, ...]] = []
    for event in events:
        if isinstance(event, Gap):
            found.append(("Gap", (event.start - START) // 60, (event.end - START) // 60, event.reason))
        elif isinstance(event, Bar | Filled | Revised):
            found.append((type(event).__name__, (event.ts - START) // 60, event.open))
    return found


BEGIN = Position(at(0))


def test_bars_come_once_and_in_order() -> None:
    events, position = emitted(BEGIN, known({0: row(1), 1: row(2), 2: row(3)}, 3))
    assert short(events) == [("Bar", 0, 1), ("Bar", 1, 2), ("Bar", 2, 3)]
    assert position == Position(at(3))
    assert emitted(position, known({}, 3, begin=3)) == ([], position)


@pytest.mark.parametrize(
    ("holes", "looked", "bars", "expected"),
    [
        # The newest bars may still come.
        ([(1, 3, "missing")], [(1, 3)], {0}, [("Bar", 0, 0)]),
        # A newer one is there, but nobody has asked yet.
        ([(1, 2, "missing")], [], {0, 2}, [("Bar", 0, 0)]),
        ([(1, 3, "missing")], [(1, 2)], {0, 3}, [("Bar", 0, 0)]),
        ([(1, 2, "missing")], [(1, 2)], {0, 2}, [("Bar", 0, 0), ("Gap", 1, 2, "missing"), ("Bar", 2, 2)]),
        ([(1, 2, "no_trades")], [], {0, 2}, [("Bar", 0, 0), ("Gap", 1, 2, "no_trades"), ("Bar", 2, 2)]),
        # What is proven needs no bar after it.
        ([(1, 3, "halted")], [], {0}, [("Bar", 0, 0), ("Gap", 1, 3, "halted")]),
        ([(0, 2, "pre_listing")], [], {2}, [("Gap", 0, 2, "pre_listing"), ("Bar", 2, 2)]),
    ],
)
def test_a_hole_is_emitted_when_it_is_decided(
    holes: Any, looked: Any, bars: set[int], expected: list[tuple[Any, ...]]
) -> None:
    events, _ = emitted(BEGIN, known({n: row(n) for n in sorted(bars)}, 4, holes, looked=looked))
    assert short(events) == expected


def test_missing_bars_at_the_end_of_what_was_loaded_are_emitted_where_later_ones_are_known() -> None:
    for is_followed in (False, True):
        what = known({0: row(1)}, 2, [(1, 2, "missing")], looked=[(1, 2)], is_followed=is_followed)
        assert len(emitted(BEGIN, what)[0]) == 1 + is_followed


def test_a_bar_that_came_after_all_fills_its_gap() -> None:
    gapped = Position(at(4), (Hole(at(1), at(4), "missing"),))
    events, position = emitted(
        gapped, known({0: row(0), 2: row(2)}, 4, [(1, 2, "missing"), (3, 4, "outage")])
    )
    assert short(events) == [("Filled", 2, 2), ("Gap", 3, 4, "outage")]
    assert position.gaps == (Hole(at(1), at(2), "missing"), Hole(at(3), at(4), "outage"))
    events, position = emitted(position, known({n: row(n) for n in range(4)}, 4))
    assert short(events) == [("Filled", 1, 1), ("Filled", 3, 3)] and position.gaps == ()


def test_each_correction_is_emitted_once_whatever_was_in_the_bar_already() -> None:
    first, second, third = row(1), row(2), row(3)
    twice = [(0, first, second), (0, second, third)]
    for value, number in ((first, 0), (second, 1), (third, 2)):
        _, position = emitted(BEGIN, known({0: value}, 1, revisions=twice[:number]))
        events, position = emitted(position, known({}, 1, begin=1, revisions=twice))
        assert [(e.before, e.values) for e in events if isinstance(e, Revised)] == [
            (old, new) for _, old, new in twice[number:]
        ]
        assert emitted(position, known({}, 1, begin=1, revisions=twice))[0] == []


def test_a_bar_read_before_its_correction_was_is_not_taken_for_the_corrected_one() -> None:
    """Between the bars and the revisions that a stream loads, a correction is stored."""
    events, position = emitted(BEGIN, known({0: row(1)}, 1, revisions=[(0, row(1), row(2))]))
    assert short(events) == [("Bar", 0, 1)]
    events, _ = emitted(position, known({}, 1, begin=1, revisions=[(0, row(1), row(2))]))
    assert short(events) == [("Revised", 0, 2)]


def test_a_bar_that_was_corrected_before_it_filled_a_gap_is_emitted_as_it_is() -> None:
    gapped = Position(at(1), (Hole(at(0), at(1), "missing"),))
    revisions = [(0, row(1), row(2))]
    events, position = emitted(gapped, known({0: row(2)}, 1, revisions=revisions))
    assert short(events) == [("Filled", 0, 2)]
    assert emitted(position, known({}, 1, begin=1, revisions=revisions))[0] == []


def test_the_cursor_of_each_event_resumes_after_it() -> None:
    bars = {0: row(0), 2: row(2), 3: row(3), 5: row(5)}
    what = known(
        bars, 6, [(1, 2, "missing"), (4, 5, "no_trades")], looked=[(1, 2)], revisions=[(2, row(1), row(2))]
    )
    events, _ = emitted(BEGIN, what)
    assert len(events) == 6
    for number, event in enumerate(events):
        resumed = read_cursor(event.cursor, [str(NODE)])[str(NODE)]
        assert emitted(resumed, what)[0] == events[number + 1 :]


def test_a_position_forgets_what_is_too_old_to_be_followed() -> None:
    recent = at(FOLLOWED_BARS)
    gaps = (
        Hole(at(0), at(1), "no_trades"),
        Hole(at(2), at(3), "missing"),
        Hole(recent, recent + 60, "outage"),
    )
    position = Position(at(FOLLOWED_BARS + 10), gaps, ((at(0), 1), (recent, 2)))
    kept = position.without_old(NODE.timeframe)
    assert [gap.reason for gap in kept.gaps] == ["missing", "outage"] and kept.revised == ((recent, 2),)
    assert kept.followed_from(NODE.timeframe) == at(2)


@given(st.lists(st.sampled_from("bcmp"), min_size=1, max_size=12), st.data())
def test_any_growth_of_knowledge_tells_each_bar_once(kinds: list[str], data: st.DataObject) -> None:
    """Bars that are there, corrected, missing and later there, or proven absent, known step by step."""
    final = {n: row(n) for n, kind in enumerate(kinds) if kind in "bcm"}
    corrections = [(n, row(n + 50), row(n)) for n, kind in enumerate(kinds) if kind == "c"]
    position, every = BEGIN, list[Event]()
    for step in range(1, len(kinds) + 2):
        is_last = step > len(kinds)
        end = len(kinds) if is_last else min(step + data.draw(st.integers(0, 2)), len(kinds))
        bars = {n: values for n, values in final.items() if n < end and (kinds[n] != "m" or is_last)}
        if not is_last:
            bars.update({n: old for n, old, _ in corrections if n < end})
        holes = [
            (n, n + 1, "no_trades" if kinds[n] == "p" else "missing") for n in range(end) if n not in bars
        ]
        revisions = corrections if is_last else []
        what = known(bars, end, holes, looked=[(0, end)], revisions=revisions, is_followed=is_last)
        events, position = emitted(position, what)
        every += events
    shown: dict[int, Row] = {}
    for event in every:
        if isinstance(event, Bar | Filled):
            assert event.ts not in shown
        if isinstance(event, Bar | Filled | Revised):
            shown[event.ts] = event.values
    assert shown == {at(n): values for n, values in final.items()}
    assert position.upto == at(len(kinds))


def ahead(revised: Sequence[tuple[int, int]] = ()) -> Position:
    """That of a stream which told bar 0 with values 1 before it was stored."""
    return Position(at(1), revised=tuple((at(n), count) for n, count in revised), unstored=(at(0), row(1)))


@pytest.mark.parametrize(
    ("what", "told", "corrections"),
    [
        (known({0: row(1)}, 1), [], 0),
        (known({0: row(2)}, 1), [("Revised", 0, 2)], 0),
        (known({0: row(2)}, 1, revisions=[(0, row(1), row(2))]), [("Revised", 0, 2)], 1),
        (known({0: row(1)}, 1, revisions=[(0, row(2), row(1))]), [], 1),
        (known({0: row(3)}, 1, revisions=[(0, row(2), row(1)), (0, row(1), row(3))]), [("Revised", 0, 3)], 2),
        (known({0: row(3)}, 1, revisions=[(0, row(2), row(3))]), [("Revised", 0, 3)], 1),
        (known({}, 1, [(0, 1, "no_trades")]), [("Gap", 0, 1, "no_trades")], 0),
        (known({0: row(1), 1: row(5)}, 2), [("Bar", 1, 5)], 0),
        (known({0: row(2), 1: row(5)}, 2), [("Revised", 0, 2), ("Bar", 1, 5)], 0),
        # Asked for and not sent, though later ones are there.
        (
            known({1: row(5)}, 2, [(0, 1, "missing")], looked=[(0, 1)]),
            [("Gap", 0, 1, "missing"), ("Bar", 1, 5)],
            0,
        ),
    ],
)
def test_a_bar_that_was_told_before_it_was_stored(what: Known, told: list[Any], corrections: int) -> None:
    events, position = emitted(ahead(), what)
    assert short(events) == told and position.unstored is None
    assert dict(position.revised).get(at(0), 0) == corrections
    assert all(event.before == row(1) for event in events if isinstance(event, Revised))
    # Nothing of it is told again.
    assert emitted(position, what)[0] == []


@pytest.mark.parametrize("holes", [[], [(0, 1, "missing")]])
def test_one_of_which_nothing_is_known_yet_is_waited_for(holes: list[tuple[int, int, str]]) -> None:
    events, position = emitted(ahead(), known({}, 1, holes, looked=[(0, 1)]))
    assert events == [] and position == ahead()


@pytest.mark.parametrize("position", [Position(at(1)), ahead()], ids=["stored", "told ahead"])
def test_a_replay_tells_what_became_of_the_last_bar_that_was_told(position: Position) -> None:
    what = known({0: row(2), 1: row(5)}, 2, revisions=[(0, row(1), row(2))])
    events = [event for event, _ in replayed(NODE, position, what)]
    assert short(events) == [("Revised", 0, 2), ("Bar", 1, 5)]
