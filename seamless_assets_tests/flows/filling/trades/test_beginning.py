"""Where a market's trades begin: bars before its listing are absent; what nothing proves stays missing."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from seamless_assets.core.calendar.segment import Segment
from seamless_assets.core.coverage.coverage import Coverage
from seamless_assets.core.node import NodeId
from seamless_assets.errors import UnsupportedTimeframe
from seamless_assets.flows.filling.backfill import backfill
from seamless_assets.flows.ports import Ports
from seamless_assets.flows.releasing.materialize import materialize
from seamless_assets.testing import START, InMemoryExchange, ManualClock, in_memory_ports, random_walk
from seamless_assets.testing.bars import Row, bars_table
from seamless_assets_tests.flows.filling.trades.test_bars_of_trades import NODE, OF_TRADES, Trade, tape_of

HOUR_NODE = NodeId.parse("ohlcv:kraken:BTC/USD:1h")
FIRST = START + 5 * 3_600 + 1_260
"""The market's first minute, 21 minutes into its first hour."""
DAY = Segment(START, START + 86_400)
TRADED = dict(random_walk(FIRST, DAY.end + 3_600))


class HoursAlone(InMemoryExchange):
    """An exchange that has trades, and candles of hours."""

    async def check_node(self, node: NodeId) -> None:
        if node != HOUR_NODE:
            raise UnsupportedTimeframe("hours alone", node_id=str(node), choices=("1h",))

    def coarser(self, node: NodeId) -> tuple[NodeId, ...]:
        return (HOUR_NODE,)


def hours_of(bars: Mapping[int, Row]) -> dict[int, Row]:
    """The candles of hours that bars of minutes make."""
    made: dict[int, Row] = {}
    for ts, (opened, high, low, close, volume) in bars.items():
        start = ts - ts % 3_600
        first, top, bottom, _, sum_ = made.get(start, (opened, high, low, close, 0.0))
        made[start] = (first, max(top, high), min(bottom, low), close, sum_ + volume)
    return made


def market(
    kind: type[InMemoryExchange] = HoursAlone,
    candles: Mapping[int, Row] | None = None,
    tape: list[Trade] | None = None,
) -> tuple[Ports, InMemoryExchange]:
    hours = hours_of(TRADED) if candles is None else dict(candles)
    exchange = kind(
        series={NODE: dict(TRADED) if kind is InMemoryExchange else {}, HOUR_NODE: hours},
        clock=ManualClock(DAY.end + 7_200),
        tape={NODE: tape_of(TRADED) if tape is None else tape},
        trades_page=1_000,
        listings={HOUR_NODE: min(hours), NODE: FIRST},
    )
    return in_memory_ports(exchange, policy=OF_TRADES), exchange


def absent(known: Coverage) -> list[tuple[int, int, str]]:
    return [(gap.start, gap.end, gap.reason) for gap in known.gaps]


@pytest.mark.parametrize("kind", [HoursAlone, InMemoryExchange])
async def test_bars_before_the_first_trade_are_absent_and_the_day_is_released(
    kind: type[InMemoryExchange],
) -> None:
    ports, _ = market(kind)
    report = await materialize(ports, NODE, DAY)
    assert report.released, report.problems
    assert absent(report.coverage) == [(DAY.start, FIRST, "pre_listing")]
    (ref,) = (await ports.artifacts.load_snapshot(NODE)).artifacts
    bars = await ports.artifacts.load_artifact(NODE, ref)
    assert bars.to_pylist() == bars_table({ts: row for ts, row in TRADED.items() if ts < DAY.end}).to_pylist()


async def test_days_before_the_listing_are_absent_and_asked_for_once() -> None:
    ports, exchange = market()
    years = Segment(DAY.start - 3 * 86_400, DAY.start)
    report = await backfill(ports, NODE, years)
    assert absent(report.coverage) == [(*years, "pre_listing")]
    assert not report.problems
    asked = len(exchange.asked_trades)
    earlier = Segment(years.start - 3 * 86_400, years.start)
    assert absent((await backfill(ports, NODE, earlier)).coverage) == [(*earlier, "pre_listing")]
    assert len(exchange.asked_trades) == asked
    # Between the listing's hour and the first trade's minute.
    inside = Segment(FIRST - 1_200, FIRST - 600)
    assert absent((await backfill(ports, NODE, inside)).coverage) == [(*inside, "pre_listing")]


SHORTENED = [trade for trade in tape_of(TRADED) if trade[0] >= FIRST + 600]
HOURS = hours_of(TRADED)
OTHER_OPEN = {ts: (row[0] * 1.001, *row[1:]) if ts == min(HOURS) else row for ts, row in HOURS.items()}


@pytest.mark.parametrize(
    ("candles", "tape", "missing_from"),
    [
        pytest.param(HOURS, SHORTENED, min(HOURS), id="trades that are kept no longer"),
        pytest.param(OTHER_OPEN, None, min(HOURS), id="a candle that opens otherwise"),
        pytest.param(
            {ts: row for ts, row in HOURS.items() if ts > FIRST},
            None,
            DAY.start,
            id="trades before the listing",
        ),
        pytest.param(
            {START - 3_600: next(iter(HOURS.values())), **HOURS}, None, DAY.start, id="candles long before"
        ),
    ],
)
async def test_what_is_not_proven_to_be_the_first_trade_leaves_bars_missing(
    candles: dict[int, Row], tape: list[Trade] | None, missing_from: int
) -> None:
    ports, _ = market(HoursAlone, candles, tape)
    clock = ports.clock
    assert isinstance(clock, ManualClock)
    report = await backfill(ports, NODE, DAY)
    first = FIRST + 600 if tape else FIRST
    # Of the minute in which its trades begin nobody knows whether they are all.
    gaps = [(DAY.start, missing_from, "pre_listing"), (missing_from, first + 60, "missing")]
    assert absent(report.coverage) == [gap for gap in gaps if gap[0] < gap[1]]
    # A later look, which may be at a part of it, proves no more.
    clock.time += 4_000
    again = await backfill(ports, NODE, Segment(DAY.start, first + 60))
    assert absent(again.coverage) == [gap for gap in gaps if gap[0] < gap[1]]


async def test_an_exchange_without_any_candles_proves_nothing() -> None:
    class Candleless(HoursAlone):
        def coarser(self, node: NodeId) -> tuple[NodeId, ...]:
            return ()

    ports, _ = market(Candleless)
    report = await backfill(ports, NODE, DAY)
    assert absent(report.coverage) == [(DAY.start, FIRST + 60, "missing")]
