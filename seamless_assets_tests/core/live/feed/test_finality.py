"""Which candles of a stream are final: the rules one by one, then any stream that is mangled in any way."""

from __future__ import annotations

from random import Random

import pytest

from seamless_assets.core.calendar.segment import Segment
from seamless_assets.core.calendar.timeframe import Timeframe
from seamless_assets.core.live.events import Values
from seamless_assets.core.live.feed.finality import KEPT_BARS, SETTLE_S, FinalityJudge
from seamless_assets.core.live.feed.update import CandleUpdate

FRAME = Timeframe("1m")
T = 1_735_711_200
"""A minute's open."""


def values(volume: float) -> Values:
    return (10.0, 12.0, 9.0, 11.0, volume)


class Stream:
    """A judge, and updates with short names: of bar `n` after `T`, `at` seconds after its open."""

    def __init__(self, frame: Timeframe = FRAME) -> None:
        self.judge, self.frame = FinalityJudge(frame), frame
        self.messages = 0

    def open_of(self, n: int) -> int:
        return self.frame.shift(T, n)

    def sends(
        self,
        n: int,
        at: float,
        volume: float = 1.0,
        *,
        connection: int = 1,
        is_closed: bool | None = None,
        joins: bool = False,
    ) -> list[int]:
        """The numbers of the bars that are final then."""
        self.messages += not joins
        ts = self.open_of(n)
        update = CandleUpdate(ts, values(volume), connection, self.messages, is_closed)
        self.judge.hear(update, ts + at)
        return self.final(n, at)

    def final(self, n: int, at: float) -> list[int]:
        opens = [candle.ts for candle in self.judge.final(self.open_of(n) + at)]
        return [number for number in range(-60, 60) if self.open_of(number) in opens]


def begun(**more: bool) -> Stream:
    """A stream whose first message is of bar 0."""
    stream = Stream()
    assert stream.sends(0, 30, **more) == []
    return stream


def test_a_candle_that_is_marked_as_closed_is_final_once_the_clock_has_closed_it() -> None:
    stream = begun()
    assert stream.sends(1, 10) == []
    assert stream.sends(1, 59.9, 2.0, is_closed=True) == []
    assert stream.final(1, 61) == [], "the mark came too early to be true"
    assert stream.sends(1, 60, 3.0, is_closed=True) == [1]
    assert stream.final(1, 90) == []


def test_a_candle_that_a_later_one_follows_is_final_after_a_moment() -> None:
    stream = begun()
    stream.sends(1, 10)
    assert stream.sends(2, 0.1) == []
    assert stream.judge.next_at() == stream.open_of(2) + 0.1 + SETTLE_S
    assert stream.final(2, 0.1 + SETTLE_S) == [1]


def test_where_candles_are_marked_one_without_its_mark_is_proven_by_no_later_one() -> None:
    stream = begun()
    stream.sends(1, 10, is_closed=False)
    stream.sends(2, 10, is_closed=False)
    assert stream.final(2, 50) == []
    assert stream.sends(2, 60, 2.0, is_closed=True) == [2]
    early = begun()
    early.sends(1, 30, is_closed=True)
    early.sends(2, 10, is_closed=False)
    assert early.final(2, 50) == [], "it was marked while it formed"
    soon = begun()
    soon.sends(1, 59, is_closed=True)
    soon.sends(2, 10, is_closed=False)
    assert soon.final(2, 50) == [1], "the clock was a little slow"


def test_what_comes_in_the_wrong_order_counts() -> None:
    stream = begun()
    stream.sends(1, 10, 1.0)
    stream.sends(2, 0.1)
    assert stream.sends(1, 60.3, 5.0) == []
    (candle,) = stream.judge.final(stream.open_of(2) + 0.3 + SETTLE_S)
    assert candle.values == values(5.0)
    assert candle.proof == "successor"


def test_the_first_message_of_a_connection_proves_nothing() -> None:
    closed = Stream()
    assert closed.sends(0, 70, is_closed=True) == []
    assert closed.sends(1, 20) == [] == closed.final(1, 30), "bar 0 may have gone on before the connection"
    history = Stream()
    for n in range(5):
        history.sends(n, 300, joins=n > 0, is_closed=True)
    assert history.final(9, 0) == []
    assert history.judge.take_audit()


def test_what_was_open_when_an_old_first_message_came_is_not_known_whole() -> None:
    """Trades make it: those between the old message and the first new one were never sent."""
    stream = Stream()
    assert stream.sends(0, 3 * 60 + 6) == []
    assert stream.sends(3, 36, 2.0) == []
    stream.sends(4, 1)
    assert stream.final(4, 50) == [], "it was open when the connection began"
    stream.sends(5, 1)
    assert stream.final(5, 2) == [4]


@pytest.mark.parametrize(
    ("volumes", "told"),
    [
        ((3.0, 2.0), None),
        ((3.0, 2.0, 2.0), None),
        ((3.0, 2.0, 2.5), None),
        ((3.0, 2.0, 3.0), 3.0),
        ((1.0, 3.0, 2.0, 4.0), 4.0),
    ],
)
def test_an_older_state_that_comes_last_proves_nothing(
    volumes: tuple[float, ...], told: float | None
) -> None:
    stream = begun()
    for at, volume in enumerate(volumes):
        stream.sends(1, 20 + at, volume)
    stream.sends(2, 1)
    found = stream.judge.final(stream.open_of(2) + 1 + SETTLE_S)
    assert [candle.values for candle in found] == ([] if told is None else [values(told)])


def test_a_mark_counts_whatever_was_told_before() -> None:
    stream = begun()
    stream.sends(1, 20, 3.0)
    stream.sends(1, 30, 2.0)
    assert stream.sends(1, 60, 2.5, is_closed=True) == [1]


def test_a_candle_of_the_first_message_is_final_by_a_mark_that_comes_later() -> None:
    assert begun().sends(0, 60, 2.0, is_closed=True) == [0]


def test_a_reconnect_forgets_what_was_not_proven_and_asks_for_it() -> None:
    stream = begun()
    stream.sends(0, 60, 2.0, is_closed=True)
    stream.sends(1, 10)
    assert stream.judge.take_audit() and not stream.judge.take_audit()
    assert stream.sends(3, 10, connection=2) == []
    assert stream.sends(3, 20, connection=2) == []
    assert stream.sends(4, 10, connection=2) == []
    assert stream.final(4, 50) == [], "bar 3 was begun before the connection"
    assert stream.judge.take_audit()
    assert stream.judge.take_doubts() == [Segment(stream.open_of(1), stream.open_of(3))]
    assert stream.sends(4, 30, 9.0, connection=1) == [], "an old connection is heard no more"
    assert stream.sends(5, 1, connection=2) == []
    (candle,) = stream.judge.final(stream.open_of(5) + 2)
    assert candle.values == values(1.0)


@pytest.mark.parametrize("connection", [1, 2])
def test_a_subscription_that_begins_anew_proves_nothing_of_what_it_finds_begun(connection: int) -> None:
    stream = begun()
    stream.sends(1, 10)
    stream.judge.take_audit()
    stream.judge.end_connection()
    assert stream.judge.take_doubts() == [Segment(stream.open_of(1), stream.open_of(2))]
    assert stream.sends(1, 50, 0.5, connection=connection) == []
    assert stream.judge.take_audit(), "it may have missed what closed meanwhile"
    assert stream.sends(1, 55, 0.7, connection=connection) == []
    stream.sends(2, 1, connection=connection)
    assert stream.final(2, 50) == [], "bar 1 was begun before the subscription"
    stream.sends(3, 1, connection=connection)
    assert stream.final(3, 2) == [2]


def test_skipped_candles_are_asked_for() -> None:
    stream = begun()
    stream.sends(0, 60, is_closed=True)
    stream.sends(4, 60, is_closed=True)
    assert stream.judge.take_doubts() == [Segment(stream.open_of(1), stream.open_of(4))]
    assert stream.judge.take_doubts() == []


def test_silence_makes_no_bar() -> None:
    stream = begun()
    stream.sends(1, 10)
    assert stream.final(50, 0) == []
    assert stream.judge.next_at() is None


def test_repetitions_say_nothing_and_contradictions_are_asked_about() -> None:
    stream = begun()
    stream.sends(1, 60, 2.0, is_closed=True)
    stream.judge.take_audit()
    assert stream.sends(1, 61, 2.0, is_closed=True) == []
    assert not stream.judge.take_audit()
    assert stream.sends(1, 62, 3.0, is_closed=True) == []
    assert stream.judge.take_audit()


@pytest.mark.parametrize(
    ("update", "fault"),
    [
        (CandleUpdate(T + 61, values(1.0), 1, 9), "misaligned"),
        (CandleUpdate(T + 600, values(1.0), 1, 9), "ahead"),
        (CandleUpdate(T + 60, (10.0, 9.0, 8.0, 9.0, 1.0), 1, 9, True), "unsound"),
        (CandleUpdate(T + 60, (10.0, 12.0, 0.0, 9.0, 1.0), 1, 9, True), "unsound"),
        (CandleUpdate(T + 60, (10.0, 12.0, 9.0, 9.0, float("nan")), 1, 9, True), "unsound"),
        (CandleUpdate(T + 60, (10.0, 12.0, 9.0, 9.0, -1.0), 1, 9, True), "unsound"),
    ],
)
def test_what_an_exchange_never_sends_is_refused_and_told(update: CandleUpdate, fault: str) -> None:
    stream = begun()
    stream.judge.hear(update, T + 121)
    assert stream.judge.take_faults() == [fault]
    assert stream.judge.final(T + 500) == []


def test_what_is_remembered_is_bounded() -> None:
    stream = begun()
    for n in range(1, 500):
        stream.sends(n, 10)
        stream.sends(n - 5, 320 + n % 7, n)
    judge = stream.judge
    assert max(map(len, (judge._open, judge._final, judge._followed_at))) <= KEPT_BARS + 2


def mangled(rng: Random, frame: Timeframe, truth: dict[int, float]) -> list[tuple[float, CandleUpdate]]:
    """What an unsteady exchange makes of true candles: when each update comes, and what it says.

    It sends the last state of each candle of which it sends anything, or marks those that it has closed.
    """
    sent: list[tuple[float, CandleUpdate]] = []
    connection, message = 1, 0
    marks = rng.random() < 0.5
    for ts, volume in truth.items():
        end = frame.shift(ts, 1)
        is_skipped = rng.random() < 0.1
        kept = rng.random() if marks and rng.random() < 0.2 else 1.0
        for share in [*sorted(rng.uniform(0, 0.98) for _ in range(rng.randint(0, 4))), None]:
            message += 1
            connection += rng.random() < 0.05
            if is_skipped or (share or 1.0) > kept:
                continue
            at = end + 0.05 if share is None else ts + share * (end - ts)
            part = volume if share is None else 1.0 + (volume - 1.0) * share
            lies = share is not None and rng.random() < 0.1
            is_closed = lies or (share is None if marks else None)
            update = CandleUpdate(ts, values(part), connection, message, is_closed)
            # No message overtakes one that was sent more than this before it.
            sent += [(at + rng.random() * 0.4, update) for _ in range(rng.choice([1, 1, 1, 2]))]
    return sorted(sent, key=lambda pair: pair[0])


@pytest.mark.parametrize("name", ["1m", "1h", "1M"])
def test_no_forming_candle_is_ever_final_and_none_is_twice(name: str) -> None:
    frame, total = Timeframe(name), 0
    begin = frame.floor(T)
    for seed in range(60):
        rng = Random(f"{name} {seed}")
        truth = {frame.shift(begin, n): rng.randint(2, 99) + 0.5 for n in range(12) if rng.random() < 0.8}
        judge, found = FinalityJudge(frame), []
        for at, update in mangled(rng, frame, truth):
            judge.hear(update, at)
            found += judge.final(at)
        found += judge.final(frame.shift(begin, 20))
        assert len({candle.ts for candle in found}) == len(found)
        assert [c for c in found if c.values != values(truth[c.ts]) or c.end != frame.shift(c.ts, 1)] == []
        total += len(found)
    assert total > 60 * 4, "most candles of most streams are proven"
