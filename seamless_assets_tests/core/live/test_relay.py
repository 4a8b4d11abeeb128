"""What the reader of a stream over the wire believes to have, while connections come and go."""

from __future__ import annotations

from typing import Any

from seamless_assets.core.live.cursor import Place
from seamless_assets.core.live.events import Bar, CaughtUp, Stale
from seamless_assets.core.live.position import Position
from seamless_assets.core.live.relay import AWAY, Relay
from seamless_assets.core.node import NodeId

NODES = [NodeId.parse("ohlcv:binance:BTC/USDT:1m"), NodeId.parse("ohlcv:binance:ETH/USDT:1h")]
FAST, SLOW = map(str, NODES)
AHEAD = 1_000.0
"""How far the exchange's clock is ahead of the reader's."""


def place(name: str) -> Any:
    return Place({FAST: Position(0), SLOW: Position(0)}, name, Position(0))


def caught_up(name: str, now: float) -> CaughtUp:
    return CaughtUp(node_id=name, place=place(name), end=0, at=now + AHEAD)


def stale(name: str, now: float) -> Stale:
    return Stale(node_id=name, place=place(name), end=0, lag=1.0, at=now + AHEAD, evidence="no answer")


def begun() -> Relay:
    relay = Relay(NODES)
    relay.begin({FAST: Position(0), SLOW: Position(0)}, max_lag=120.0)
    return relay


def overdue(relay: Relay, theirs: float) -> list[tuple[str, int, float]]:
    found = list(relay.overdue(theirs - AHEAD, "c1.x"))
    assert all(event.evidence == AWAY and event.cursor == "c1.x" and event.at == theirs for event in found)
    return [(event.node_id, event.end, event.lag) for event in found]


def test_what_was_current_is_told_stale_once_while_nobody_vouches_for_it() -> None:
    relay = begun()
    for name in (FAST, SLOW):
        assert relay.take(caught_up(name, 0.0), 0.0)
    values: Any = dict.fromkeys(("open", "high", "low", "close", "volume"), 1.0)
    bar = Bar(node_id=FAST, place=place(FAST), ts=0, end=60, source="release", evidence="", **values)
    assert relay.take(bar, 0.0)
    assert not overdue(relay, 10_000.0), "the service would have told"
    relay.lose()
    # The bar that opens at 60 closes at 120, and is overdue 120 s later.
    assert not overdue(relay, 240.0)
    assert overdue(relay, 241.0) == [(FAST, 60, 121.0)]
    assert not overdue(relay, 3_720.0)
    assert overdue(relay, 3_721.0) == [(SLOW, 0, 121.0)]


def test_what_the_reader_knows_already_is_not_told_again() -> None:
    relay = begun()
    assert relay.take(caught_up(FAST, 0.0), 0.0)
    relay.lose()
    # The service has begun anew and says so; the reader never heard of a break.
    assert not relay.take(caught_up(FAST, 5.0), 5.0)
    assert relay.take(stale(FAST, 6.0), 6.0) and not relay.take(stale(FAST, 7.0), 7.0)
    assert relay.take(caught_up(FAST, 8.0), 8.0)


def test_a_break_that_was_told_ends_with_a_caught_up() -> None:
    relay = begun()
    assert relay.take(caught_up(FAST, 0.0), 0.0)
    relay.lose()
    assert overdue(relay, 1_000.0)
    assert relay.take(caught_up(FAST, 1_001.0), 1_001.0)
    assert not overdue(relay, 5_000.0), "the service vouches for it again"


def test_what_never_was_current_is_not_stale() -> None:
    relay = begun()
    relay.lose()
    assert not overdue(relay, 10**9)
