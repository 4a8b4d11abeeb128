"""What is knowable becomes known: halts of months and years, beginnings and ends, witnesses that refuse."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest

from seamless_assets.core.calendar.segment import Segment
from seamless_assets.core.calendar.timeframe import Timeframe
from seamless_assets.core.coverage.pages import Page
from seamless_assets.core.node import NodeId
from seamless_assets.core.sharing.policy import Policy
from seamless_assets.errors import ExchangeRefused
from seamless_assets.flows.filling.backfill import backfill, refill
from seamless_assets.flows.filling.history import coverage, ledger
from seamless_assets.testing import DAY, START, InMemoryExchange, ManualClock, in_memory_ports, random_walk

FIRST = START - 2_000 * DAY
NOW = START + 60 * DAY
POLICY = Policy(retry_backoff_ms=10, max_attempts=2, lease_ttl_ms=float("inf"))
HALTS = {"weeks": 40, "months": 75, "years": 905}


class Refusing(InMemoryExchange):
    """Refuses some of the timeframes that it says it serves, which is remembered."""

    refused: frozenset[str] = frozenset()
    heard: frozenset[NodeId] = frozenset()

    def coarser(self, node: NodeId) -> tuple[NodeId, ...]:
        return tuple(other for other in super().coarser(node) if other not in self.heard)

    async def fetch_candles(self, node: NodeId, window: Segment) -> Page:
        if str(node.timeframe) in self.refused:
            self.heard |= {node}
            raise ExchangeRefused(f"{node}: no such interval")
        return await super().fetch_candles(node, window)


def node_of(frame: str) -> NodeId:
    return NodeId.parse(f"ohlcv:coinbase:XRP/USD:{frame}")


def exchange_of(hours: dict[int, tuple[float, ...]], frames: tuple[str, ...]) -> Refusing:
    series = {}
    for frame in frames:
        timeframe, bars = Timeframe(frame), dict[int, tuple[float, ...]]()
        for ts, (o, h, low, c, v) in hours.items():
            held = bars.get(at := timeframe.floor(ts))
            bars[at] = (
                (held[0], max(held[1], h), min(held[2], low), c, held[4] + v) if held else (o, h, low, c, v)
            )
        series[node_of(frame)] = bars
    exchange = Refusing(series=series, clock=ManualClock(time=NOW), page=300, believed_page=300)
    exchange.listings = {node: min(bars) for node, bars in series.items()}
    exchange.trades = [ts + 60.0 for ts in hours]
    return exchange


def market(halt: Segment, first: int = FIRST, end: int = NOW) -> dict[int, tuple[float, ...]]:
    """Bars of four hours, so that years stay short."""
    bars = random_walk(first, end, step=4 * 3_600)
    return {ts: row for ts, row in bars.items() if not halt.start <= ts < halt.end}


async def reasons(exchange: InMemoryExchange, frame: str, window: Segment) -> Counter[str]:
    """Bars of the window that are not there by reason, after looks until nothing is due soon."""
    node = node_of(frame)
    ports = in_memory_ports(exchange, policy=POLICY)
    for _ in range(3):
        known = (await backfill(ports, node, window)).coverage
        exchange.clock.time += 2 * DAY  # type: ignore[attr-defined]
    counts: Counter[str] = Counter()
    for gap in known.gaps:
        counts[gap.reason] += node.timeframe.count(gap.start, gap.end)
    return counts


@pytest.mark.parametrize("halted", HALTS)
@pytest.mark.parametrize("frame", ["4h", "1d", "1w", "1M"])
@pytest.mark.parametrize("frames", [("4h", "1d", "1w", "1M"), ("4h", "1d"), ()], ids=["all", "to 1d", "own"])
async def test_a_halt_of_any_length_ends_as_proven(halted: str, frame: str, frames: tuple[str, ...]) -> None:
    halt = Segment(START - 1_100 * DAY, START - 1_100 * DAY + HALTS[halted] * DAY)
    exchange = exchange_of(market(halt), tuple(dict.fromkeys((*frames, frame))))
    window = Segment(START - 1_500 * DAY, START)
    found = await reasons(exchange, frame, window)
    timeframe = Timeframe(frame)
    seen = halt.whole_bars(timeframe.grid)
    assert found.total() == timeframe.count(*seen) and set(found) <= {"halted", "no_trades"}
    # What a request sees of the ends of a halt may look like a short pause.
    assert (found["halted"] > 0.9 * found.total()) is (seen.end - seen.start >= 60 * DAY)


@pytest.mark.parametrize("order", ["forwards", "backwards", "inside out"])
@pytest.mark.parametrize("window_bars", [10, 30])
@pytest.mark.parametrize("frames", [("1d", "1w", "1M"), ("1d",)], ids=["witnesses", "own"])
async def test_a_halt_is_one_however_it_is_cut(frames: tuple[str, ...], window_bars: int, order: str) -> None:
    halt = Segment(START - 250 * DAY + 8 * 3_600, START - 180 * DAY + 16 * 3_600)
    quiet = Segment(START - 160 * DAY, START - 150 * DAY)
    bars = {ts: row for ts, row in market(halt).items() if not quiet.start <= ts < quiet.end}
    exchange, node = exchange_of(bars, frames), node_of("1d")
    ports = in_memory_ports(exchange, policy=replace(POLICY, window_bars=window_bars))
    parts = [Segment(START - day * DAY, START - (day - 20) * DAY) for day in range(260, 140, -20)]
    parts = {
        "forwards": parts,
        "backwards": parts[::-1],
        "inside out": sorted(parts, key=lambda part: abs(part.start - halt.start - 35 * DAY)),
    }[order]
    # At the second time what was not clear at the first is.
    for part in [*parts, *parts]:
        await backfill(ports, node, part)
        exchange.clock.time += 2 * DAY  # type: ignore[attr-defined]
    gaps = (await coverage(ports, node, Segment(START - 260 * DAY, START - 140 * DAY))).gaps
    assert {gap.reason for gap in gaps if gap.start < halt.end} == {"halted"}
    assert {gap.reason for gap in gaps if gap.start >= halt.end} <= {"no_trades"}
    before = len(await ledger(ports, node, halt))
    for part in parts:
        await refill(ports, node, part, NOW)
    assert len(await ledger(ports, node, halt)) == before


@pytest.mark.parametrize("refused", [{"1M"}, {"1w", "1M"}], ids=lambda names: " and ".join(sorted(names)))
@pytest.mark.parametrize("frame", ["4h", "1d"])
async def test_a_longer_series_that_is_refused_is_no_end_of_asking(refused: set[str], frame: str) -> None:
    halt = Segment(START - 1_100 * DAY, START - 195 * DAY)
    exchange = exchange_of(market(halt), ("4h", "1d", "1w", "1M"))
    exchange.refused = frozenset(refused)
    found = await reasons(exchange, frame, Segment(START - 1_500 * DAY, START))
    assert set(found) == {"halted"}


@pytest.mark.parametrize("day", range(0, 31, 10))
@pytest.mark.parametrize("frame", ["4h", "1d", "1w", "1M"])
async def test_a_beginning_in_the_middle_of_longer_bars_is_known(day: int, frame: str) -> None:
    listed = START - 400 * DAY + day * DAY + 8 * 3_600
    exchange = exchange_of(market(Segment(0, 0), first=listed), ("4h", "1d", "1w", "1M"))
    exchange.listings[node_of(frame)] = Timeframe(frame).floor(listed)
    found = await reasons(exchange, frame, Segment(START - 600 * DAY, START - 300 * DAY))
    assert set(found) == {"pre_listing"}


@pytest.mark.parametrize("day", range(0, 31, 15))
@pytest.mark.parametrize("frame", ["4h", "1d", "1w"])
async def test_an_end_in_the_middle_of_longer_bars_is_known(day: int, frame: str) -> None:
    end = START - 400 * DAY + day * DAY + 8 * 3_600
    exchange = exchange_of(market(Segment(0, 0), end=end), ("4h", "1d", "1w", "1M"))
    timeframe = Timeframe(frame)
    exchange.delisted = timeframe.shift(timeframe.floor(end - 1), 1)
    found = await reasons(exchange, frame, Segment(START - 500 * DAY, START))
    assert set(found) == {"post_delisting"}


@pytest.mark.parametrize("frame", ["4h", "1d", "1w"])
@pytest.mark.parametrize("days", [3, 30, 200])
@pytest.mark.parametrize("frames", [("4h", "1d", "1w"), ("4h", "1d"), ("4h",)], ids=" ".join)
async def test_what_all_series_hide_is_missing_where_it_was_traded(
    frame: str, days: int, frames: tuple[str, ...]
) -> None:
    """Finer bars and longer ones are of the same house: that they are silent too is no proof."""
    hidden = Segment(START - 400 * DAY, START - 400 * DAY + days * DAY)
    exchange = exchange_of(market(Segment(0, 0)), tuple(dict.fromkeys((*frames, frame))))
    for node, bars in exchange.series.items():
        shift = node.timeframe.shift
        exchange.series[node] = {
            ts: row for ts, row in bars.items() if shift(ts, 1) <= hidden.start or ts >= hidden.end
        }
    found = await reasons(exchange, frame, Segment(START - 600 * DAY, START - 100 * DAY))
    assert set(found) == {"missing"}
