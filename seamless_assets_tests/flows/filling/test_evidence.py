"""What a market hides and what it never had, on busy, normal and thin markets: silence is no proof.

The truth of a market is its trades; its minutes, and all longer bars, are made of them. Rows are then hidden
from some of its series, as a slip of an exchange hides them, or the market pauses, which no series shows.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from random import Random

import numpy as np
import pytest

from seamless_assets.core.calendar.segment import Segment
from seamless_assets.core.calendar.timeframe import Timeframe
from seamless_assets.core.coverage.coverage import MISSING
from seamless_assets.core.coverage.witnesses import Trades
from seamless_assets.core.node import NodeId
from seamless_assets.core.sharing.policy import Policy
from seamless_assets.flows.filling.backfill import backfill
from seamless_assets.flows.filling.history import coverage
from seamless_assets.testing import DAY, START, InMemoryExchange, ManualClock, in_memory_ports, random_walk

MINUTE, HOUR = 60, 3_600
WINDOW = Segment(START + 2 * DAY, START + 5 * DAY)
WHOLE = Segment(START, START + 7 * DAY)
POLICY = Policy(retry_backoff_ms=10, lease_ttl_ms=float("inf"))
QUIET = {"busy": 0.0, "normal": 0.02, "thin": 0.6}
"""The share of minutes in which nobody trades."""
MARKETS = pytest.mark.parametrize("market", QUIET)
LONGER = ("5m", "1h", "1d")


def node_of(frame: str) -> NodeId:
    return NodeId.parse(f"ohlcv:binance:BTC/USDT:{frame}")


NODE = node_of("1m")


@dataclass
class World:
    """A market, and the exchange that serves it."""

    exchange: InMemoryExchange
    truth: dict[int, tuple[float, ...]]

    def hide(self, opens: Iterable[int], *frames: str) -> None:
        """Leave the bars that hold these minutes out of series, though trades were made in them."""
        gone = set(opens)
        for frame in frames:
            timeframe = Timeframe(frame)
            for ts in {timeframe.floor(ts) for ts in gone}:
                self.exchange.series[node_of(frame)].pop(ts, None)

    async def fill(self, window: Segment = WINDOW) -> dict[int, str]:
        """Why the bars of the window are not there, by open."""
        ports = in_memory_ports(self.exchange, policy=POLICY)
        await backfill(ports, NODE, window)
        known = await coverage(ports, NODE, window)
        return {ts: gap.reason for gap in known.gaps for ts in range(gap.start, gap.end, MINUTE)}

    @property
    def empty(self) -> set[int]:
        """Minutes of the window in which nobody traded."""
        return set(range(*WINDOW, MINUTE)) - set(self.truth)


def world(share: float, pause: Iterable[int] = (), longer: Iterable[str] = LONGER, seed: int = 7) -> World:
    minutes = random_walk(*WHOLE, skip=share, seed=seed)
    minutes = {ts: row for ts, row in minutes.items() if ts not in set(pause)}
    series = {NODE: dict(minutes)}
    for frame in longer:
        timeframe, bars = Timeframe(frame), dict[int, tuple[float, ...]]()
        for ts, (o, h, low, c, v) in minutes.items():
            held = bars.get(at := timeframe.floor(ts))
            bars[at] = (
                (held[0], max(held[1], h), min(held[2], low), c, held[4] + v) if held else (o, h, low, c, v)
            )
        series[node_of(frame)] = bars
    exchange = InMemoryExchange(series=series, clock=ManualClock(time=WHOLE.end), listed=WHOLE.start)
    exchange.trades = [ts + 30.0 for ts in minutes]
    return World(exchange, minutes)


def stretch(start: int, minutes: int) -> range:
    return range(WINDOW.start + start * MINUTE, WINDOW.start + (start + minutes) * MINUTE, MINUTE)


HOLES = [stretch(1_500, 121), stretch(1_530, 47), stretch(2_879, 180)]


@MARKETS
async def test_what_nobody_traded_is_absent_and_known_at_the_first_look(market: str) -> None:
    made = world(QUIET[market])
    found = await made.fill()
    assert set(found) == made.empty and set(found.values()) <= {"no_trades"}


@MARKETS
@pytest.mark.parametrize("hole", HOLES, ids=lambda hole: f"{len(hole)} minutes")
@pytest.mark.parametrize("series", [("1m",), ("1m", "5m", "1h")], ids=" ".join)
async def test_hidden_hours_are_missing_whatever_else_hides_them(
    market: str, hole: range, series: tuple[str, ...]
) -> None:
    made = world(QUIET[market])
    made.hide(hole, *series)
    found = await made.fill()
    hidden = set(hole) & set(made.truth)
    assert {found[ts] for ts in hidden} == {MISSING}
    # Of quiet minutes in the hole nobody can tell, nor of those that share a bar of an hour with it.
    hours = {ts // HOUR for ts in hole}
    assert all(reason == "no_trades" for ts, reason in found.items() if ts // HOUR not in hours)
    assert set(found) == made.empty | hidden


@MARKETS
@pytest.mark.parametrize(
    "longer", [LONGER, ("1h", "1d"), ("1d",), ()], ids=lambda longer: " ".join(longer) or "none"
)
async def test_an_honest_pause_is_absent_whatever_tells_of_it(market: str, longer: tuple[str, ...]) -> None:
    pause = stretch(1_470, 190)
    made = world(QUIET[market], pause, longer)
    found = await made.fill()
    assert set(found) == made.empty and set(found.values()) == {"no_trades"}


@pytest.mark.parametrize("market", ["busy", "normal"])
@pytest.mark.parametrize("count", [1, 3, 40])
async def test_single_rows_left_out_of_a_page_are_missing(market: str, count: int) -> None:
    made = world(QUIET[market])
    there = sorted(ts for ts in made.truth if WINDOW.start <= ts < WINDOW.end)
    gone = Random(count).sample(there, count)
    made.hide(gone, "1m")
    found = await made.fill()
    missing = {ts for ts, reason in found.items() if reason == MISSING}
    assert missing >= set(gone) and set(found) == made.empty | set(gone)
    # A quiet minute beside one that was left out, in one bar of five, cannot be told from it.
    assert {ts // 300 for ts in missing} == {ts // 300 for ts in gone}


@pytest.mark.parametrize("share", [0.0, 0.02, 0.3, 0.6, 0.9])
@pytest.mark.parametrize("trades", [True, False], ids=["trades", "no trades"])
async def test_evidence_costs_few_requests(share: float, trades: bool) -> None:
    """As a multiple of the pages of the window alone, which a fetch without evidence would take."""
    made = world(share)
    if not trades:
        made.exchange.trades = []
    pages = (WINDOW.end - WINDOW.start) // MINUTE / 1_000
    await made.fill()
    asked = len(made.exchange.asked) + len(made.exchange.asked_trades)
    assert asked <= 2 * pages + 6
    if share == 0.0:
        assert asked <= pages + 3


@MARKETS
@pytest.mark.parametrize("denier", ["trades", "5m", "1h", "1d"])
async def test_one_witness_that_says_the_contrary_is_enough(market: str, denier: str) -> None:
    """Each time all others are silent."""
    made = world(QUIET[market], longer=[frame for frame in LONGER if denier in ("trades", frame)])
    hole = stretch(1_500, 240)
    made.hide(hole, "1m", *(frame for frame in LONGER if denier == "trades"))
    if denier != "trades":
        made.exchange.trades = []
    found = await made.fill()
    assert {found[ts] for ts in set(hole) & set(made.truth)} == {MISSING}


class TradesOfTheLast(InMemoryExchange):
    """Sends the newest trades only, whatever time they are asked from, or those before the asked end."""

    is_bounded = False
    per_minute = 1

    async def fetch_trades(self, node: NodeId, window: Segment) -> Trades:
        self.asked_trades.append(window)
        end = min(self.clock.now(), window.end) if self.is_bounded else self.clock.now()
        step = MINUTE / self.per_minute
        newest = end - step * np.arange(1, 1_001)[::-1]
        return Trades(window, newest[newest >= window.start], self.is_bounded)


@pytest.mark.parametrize("is_bounded", [False, True], ids=["the newest", "the newest before the end"])
@pytest.mark.parametrize("length", [3, 400])
@pytest.mark.parametrize("minutes_ago", [7, 20, 90, 200])
async def test_the_newest_trades_are_none_since_the_beginning_of_a_hole(
    minutes_ago: int, length: int, is_bounded: bool
) -> None:
    """Where the page of a thousand happens to begin in the bar after it."""
    made = world(0.0)
    made.exchange.__class__ = TradesOfTheLast
    exchange = made.exchange
    assert isinstance(exchange, TradesOfTheLast)
    stop = WHOLE.end - minutes_ago * MINUTE
    hidden = range(stop - length * MINUTE, stop, MINUTE)
    made.hide(hidden, "1m", *LONGER)
    exchange.is_bounded = is_bounded
    exchange.per_minute = round(1_000 / (minutes_ago - 0.5))
    found = await made.fill(Segment(stop - 12 * HOUR, stop + (minutes_ago - 1) * MINUTE))
    assert {found.get(ts) for ts in hidden} == {MISSING}


async def test_trades_that_are_sent_with_an_end_only_are_asked_for_inside_a_hole() -> None:
    made = world(0.0)
    made.exchange.__class__ = TradesOfTheLast
    exchange = made.exchange
    assert isinstance(exchange, TradesOfTheLast)
    exchange.is_bounded, exchange.per_minute = True, 500
    hidden = stretch(60, 180)
    made.hide(hidden, "1m", *LONGER)
    found = await made.fill(Segment(WINDOW.start, WINDOW.start + 8 * HOUR))
    assert {found.get(ts) for ts in hidden} == {MISSING}
