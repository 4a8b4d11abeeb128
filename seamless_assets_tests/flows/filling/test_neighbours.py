"""Coarser bars over the edge of a piece: pages of its neighbour, which come anyway, say what is in them."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass, field, replace

import pyarrow as pa
import pytest

from seamless_assets.core.bars.table import empty_bars
from seamless_assets.core.calendar.segment import Segment
from seamless_assets.core.calendar.timeframe import Timeframe
from seamless_assets.core.coverage.pages import Page
from seamless_assets.core.node import NodeId
from seamless_assets.flows.filling.backfill import backfill, pieces
from seamless_assets.flows.filling.history import coverage
from seamless_assets.flows.filling.witness_pages import WitnessPages
from seamless_assets.testing import DAY, START, InMemoryExchange, in_memory_ports, random_walk

HOUR = 3_600
WINDOW = Segment(START, START + 6 * DAY)


@dataclass
class Hiding(InMemoryExchange):
    """Counts pages by timeframe, and never sends the minutes that are `hidden`, which its hours hold."""

    hidden: frozenset[int] = frozenset()
    by_frame: Counter[str] = field(default_factory=Counter)

    async def fetch_candles(self, node: NodeId, window: Segment) -> Page:
        self.by_frame[str(node.timeframe)] += 1
        page = await super().fetch_candles(node, window)
        if str(node.timeframe) != "1m":
            return page
        is_sent = [ts // 1_000 not in self.hidden for ts in page.candles.column("ts").to_pylist()]
        return replace(page, candles=page.candles.filter(pa.array(is_sent)), served=sum(is_sent))


def node_of(frame: str) -> NodeId:
    return NodeId.parse(f"ohlcv:bybit:BTC/USDT:{frame}")


NODE = node_of("1m")


def market(quiet: frozenset[int]) -> Hiding:
    """A market that trades every minute but the `quiet` ones; hours and five minutes hold what minutes do."""
    minutes = random_walk(START, WINDOW.end + HOUR)
    series: dict[NodeId, dict[int, tuple[float, ...]]] = {
        NODE: {ts: row for ts, row in minutes.items() if ts not in quiet}
    }
    for frame in ("5m", "1h"):
        made = series[node_of(frame)] = {}
        for ts, (o, h, low, c, v) in series[NODE].items():
            held = made.get(at := Timeframe(frame).floor(ts), (o, h, low, c, 0.0))
            made[at] = (held[0], max(held[1], h), min(held[2], low), c, held[4] + v)
    return Hiding.serving(series, WINDOW.end + HOUR)


def at_the_edges(exchange: Hiding) -> frozenset[int]:
    """A minute of each hour that two pieces share, in turns before and after the edge."""
    ends = [piece.bounds.end for piece in pieces(in_memory_ports(exchange), NODE, WINDOW)][:-1]
    shared = [end for end in ends if end % HOUR >= 20 * 60]
    assert len(shared) > 3
    return frozenset(end + (13 if number % 2 else -13) * 60 for number, end in enumerate(shared))


async def test_a_hole_near_an_edge_is_proven_by_the_hour_and_no_finer_page_is_asked_for() -> None:
    quiet = at_the_edges(market(frozenset()))
    exchange = market(quiet)
    report = await backfill(in_memory_ports(exchange), NODE, WINDOW)
    assert report.coverage.missing == 0
    assert {(gap.start, gap.reason) for gap in report.coverage.gaps} == {(ts, "no_trades") for ts in quiet}
    assert exchange.by_frame == {"1m": len(pieces(in_memory_ports(exchange), NODE, WINDOW)), "1h": 1}


async def test_a_bar_that_is_not_sent_near_an_edge_is_missing_and_never_absent() -> None:
    exchange = market(frozenset())
    exchange.hidden = at_the_edges(exchange)
    # Other minutes without trades make a single hole likely.
    for ts in range(START + 7 * HOUR + 300, WINDOW.end, 9 * HOUR):
        for series, bars in exchange.series.items():
            if series == NODE:
                held = bars.pop(ts)
            else:
                at = series.timeframe.floor(ts)
                bars[at] = (*bars[at][:4], bars[at][4] - held[4])
    ports = in_memory_ports(exchange)
    await backfill(ports, NODE, WINDOW)
    known = await coverage(ports, NODE, WINDOW)
    missing = {ts for gap in known.missing_gaps for ts in range(gap.start, gap.end, 60)}
    assert exchange.hidden <= missing


async def test_who_looks_beyond_its_edge_waits_for_pages_that_are_on_their_way() -> None:
    witnesses = WitnessPages(in_memory_ports(InMemoryExchange()), WINDOW.end)
    left, right = Segment(START, START + HOUR), Segment(START + HOUR, START + 2 * HOUR)
    assert await witnesses.beside(NODE, left, WINDOW) == []
    pages: list[Page] = []
    with witnesses.asking(NODE, right, pages):
        looking = asyncio.ensure_future(witnesses.beside(NODE, left, WINDOW))
        await asyncio.sleep(0)
        assert not looking.done()
        assert await asyncio.wait_for(witnesses.beside(NODE, right, WINDOW), 30) == []
        assert await asyncio.wait_for(witnesses.beside(NODE, left, left), 30) == []
        pages.append(Page(right, empty_bars(), served=0))
    assert await looking == pages


@pytest.mark.parametrize("failure", [RuntimeError, asyncio.CancelledError])
async def test_pages_that_never_come_are_waited_for_no_longer(failure: type[BaseException]) -> None:
    witnesses = WitnessPages(in_memory_ports(InMemoryExchange()), WINDOW.end)
    left, right = Segment(START, START + HOUR), Segment(START + HOUR, START + 2 * HOUR)
    with pytest.raises(failure), witnesses.asking(NODE, right, []):
        raise failure
    assert await asyncio.wait_for(witnesses.beside(NODE, left, WINDOW), 30) == []
