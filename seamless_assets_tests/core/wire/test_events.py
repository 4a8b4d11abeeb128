"""Events as messages: what is written is read again, however it is cut on its way, and nothing else is."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seamless_assets.core.coverage.coverage import Gap as Hole
from seamless_assets.core.live.cursor import Place
from seamless_assets.core.live.events import Bar, CaughtUp, Event, Filled, Gap, Revised, Stale
from seamless_assets.core.live.panel import Tick
from seamless_assets.core.live.position import Position
from seamless_assets.core.wire.events import BeginForm, read_begin, read_event, write_begin, write_event
from seamless_assets.core.wire.sse import HEARTBEAT, LONGEST, MessageReader, write_message

NODES = ("ohlcv:binance:BTC/USDT:1m", "ohlcv:okx:BTC/USDT:USDT:1M")
POSITIONS = {
    NODES[0]: Position(600, (Hole(60, 180, "no_trades"),), ((240, 2),)),
    NODES[1]: Position(-2_592_000),
}
prices = st.floats(allow_nan=False, allow_infinity=False)
volumes = st.one_of(prices, st.just(math.nan))
times = st.integers(-(2**40), 2**40)
texts = st.text(max_size=20)


def of(kind: type[Event], **more: Any) -> st.SearchStrategy[Any]:
    nodes = st.sampled_from(NODES)
    return st.builds(
        lambda node, **values: kind(node_id=node, place=Place(POSITIONS, node, POSITIONS[node]), **values),
        nodes,
        **more,
    )


bar: dict[str, Any] = {
    **dict.fromkeys(("open", "high", "low", "close"), prices),
    "ts": times,
    "end": times,
    "volume": volumes,
    "evidence": texts,
    "source": st.sampled_from(["release", "hot_store"]),
}
revised = {**bar, "before": st.tuples(prices, prices, prices, prices, volumes), "recorded_at": prices}
events = st.one_of(
    of(Bar, **bar),
    of(Filled, **bar),
    of(Revised, **revised),
    of(Gap, start=times, end=times, reason=texts, evidence=texts),
    of(CaughtUp, end=times, at=prices),
    of(Stale, end=times, lag=prices, at=prices, evidence=texts),
)
ticks = st.builds(
    Tick,
    ts=times,
    end=times,
    bars=st.dictionaries(st.sampled_from(NODES), of(Bar, **bar)),
    missing=st.dictionaries(st.sampled_from(NODES), texts),
    late=st.lists(events, max_size=3).map(tuple),
    positions=st.just(POSITIONS),
)


def plain(told: Any) -> str:
    """All that is told; what is not known is equal to itself here."""
    if isinstance(told, Tick):
        bars = {name: plain(one) for name, one in told.bars.items()}
        return repr((told.ts, told.end, bars, dict(told.missing), [plain(one) for one in told.late]))
    return repr(told)


@given(st.one_of(events, ticks))
def test_what_is_told_is_read_as_it_was(told: Event | Tick) -> None:
    again = read_event(write_event(told), told.cursor, NODES)
    assert plain(again) == plain(told) and type(again) is type(told) and again.cursor == told.cursor
    if isinstance(told, Event) and isinstance(again, Event):
        assert again.place.own == told.place.own and again.place.positions == POSITIONS


@given(st.lists(st.tuples(events, st.integers(0, 2)), max_size=6), st.data())
def test_messages_come_whole_however_they_are_cut(told: list[tuple[Event, int]], data: st.DataObject) -> None:
    written = b"".join(
        HEARTBEAT * beats + write_message(type(one).__name__, write_event(one), one.cursor)
        for one, beats in told
    )
    cuts = sorted(data.draw(st.lists(st.integers(0, len(written)), max_size=8)))
    reader = MessageReader()
    seen = [
        message
        for start, end in pairwise([0, *cuts, len(written)])
        for message in reader.feed(written[start:end])
    ]
    assert [(m.event, m.data, m.last_id) for m in seen] == [
        (type(one).__name__, write_event(one), one.cursor) for one, _ in told
    ]


def test_a_message_is_read_as_browsers_read_it() -> None:
    reader = MessageReader()
    (first,) = reader.feed(b"retry: 5\r\nid: 7\r\n\r\n")
    assert (first.event, first.data, first.last_id) == ("", b"", "7")
    (second,) = reader.feed(b"data:a\ndata: b\n:no\nevent: x\n\n")
    assert (second.event, second.data, second.last_id) == ("x", b"a\nb", "7")
    assert not list(reader.feed(b"event: lost\n\n\n"))
    with pytest.raises(ValueError, match="longer"):
        list(MessageReader().feed(b"data: " + b"x" * LONGEST))


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"{}",
        b"[",
        b'{"event":"Bar"}',
        b'{"event":"Sold"}',
        b"[" * 100_000,
        b'{"event":"Begin"}',
        b"\xff",
    ],
)
def test_what_is_no_event_is_refused(payload: bytes) -> None:
    for read in (lambda: read_event(payload, "c1.", NODES), lambda: read_begin(payload)):
        with pytest.raises(ValueError):
            read()


def test_an_event_of_a_node_that_nobody_asked_for_is_refused() -> None:
    other = CaughtUp(node_id=NODES[0], place=Place(POSITIONS, NODES[0], POSITIONS[NODES[0]]), end=0, at=0.0)
    with pytest.raises(ValueError, match="not asked for"):
        read_event(write_event(other), other.cursor, NODES[1:])
    for begin in (BeginForm(45.5), BeginForm(as_of="2025-01-02T00:00:00Z")):
        assert read_begin(write_begin(begin)) == begin
