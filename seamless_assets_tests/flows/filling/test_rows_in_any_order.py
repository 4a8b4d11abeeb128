"""A partition is judged by its own rows alone, in whatever order pages and the rows in them came."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from random import Random

import numpy as np
import pyarrow as pa
import pytest
from support.ports import embedded_ports

from seamless_assets.core.bars.table import timestamps
from seamless_assets.core.calendar.segment import Segment
from seamless_assets.core.coverage.pages import Page
from seamless_assets.core.coverage.plan import chunk_bars
from seamless_assets.core.node import NodeId
from seamless_assets.core.sharing.lease import chunks
from seamless_assets.core.sharing.policy import Policy
from seamless_assets.flows.releasing.materialize import materialize
from seamless_assets.testing import DAY, START, InMemoryExchange, ManualClock, random_walk

NODE = NodeId.parse("ohlcv:binance:BTC/USDT:1m")
DAYS = Segment(START, START + 3 * DAY)
CUT = chunks(NODE.timeframe, DAYS, chunk_bars(1000, Policy().window_bars))
EDGES = [chunk.start for chunk in CUT[1:]]
ORDERS: dict[str, Callable[[int, Random], list[int]]] = {
    "ascending": lambda rows, _: list(range(rows)),
    "descending": lambda rows, _: list(range(rows))[::-1],
    "shuffled": lambda rows, rng: rng.sample(range(rows), rows),
}


class Shuffling(InMemoryExchange):
    """Sends the rows of each page in another order."""

    order: Callable[[int, Random], list[int]]
    rng = Random(3)

    async def fetch_candles(self, node: NodeId, window: Segment) -> Page:
        page = await super().fetch_candles(node, window)
        rows = page.candles.take(pa.array(self.order(page.candles.num_rows, self.rng), pa.int64()))
        return Page(window, rows, page.served)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("edge", EDGES[::2])
async def test_one_bad_bar_spoils_its_own_day_and_no_other(tmp_path: Path, order: str, edge: int) -> None:
    """A hole over a chunk's edge has pages of both chunks asked beyond it."""
    exchange = Shuffling(random_walk(START - DAY, START + 5 * DAY, skip=0.2), ManualClock())
    exchange.order = ORDERS[order]
    for ts in range(edge - 180, edge + 180, 60):
        exchange.bars.pop(ts, None)
    bad = max(ts for ts in exchange.bars if ts < edge - 7_200)
    o, h, low, c, v = exchange.bars[bad]
    exchange.bars[bad] = (o, low, h, c, v)
    report = await materialize(embedded_ports(tmp_path, exchange), NODE, DAYS)
    for part in report.partitions:
        window, sealed = part.partition.window, part.sealed
        is_spoiled = window.start <= bad < window.end
        assert sealed is not None and part.released is not is_spoiled
        assert {name: count for name, count in sealed.flags.items() if name != "gap"} == (
            {"ohlc_inconsistent": 1} if is_spoiled else {}
        )
        truth = [ts for ts in sorted(exchange.bars) if window.start <= ts < window.end and ts != bad]
        assert sealed.coverage.present == len(truth)


@pytest.mark.parametrize("order", ORDERS)
async def test_repeats_are_counted_as_one_answer_held_them(tmp_path: Path, order: str) -> None:
    exchange = Shuffling(random_walk(START - DAY, START + 5 * DAY), ManualClock())
    exchange.order = ORDERS[order]
    repeated = [EDGES[0] - 60, EDGES[0], EDGES[1] + 600]
    fetch = exchange.fetch_candles

    async def twice(node: NodeId, window: Segment) -> Page:
        page = await fetch(node, window)
        again = page.candles.filter(pa.array(np.isin(timestamps(page.candles) // 1000, repeated)))
        return Page(window, pa.concat_tables([again, page.candles]), page.served + again.num_rows)

    exchange.fetch_candles = twice  # type: ignore[method-assign]
    report = await materialize(embedded_ports(tmp_path, exchange), NODE, DAYS)
    counted = {
        part.partition.window: part.sealed.flags.get("duplicate_ts", 0)
        for part in report.partitions
        if part.sealed is not None
    }
    assert counted == {window: sum(window.start <= ts < window.end for ts in repeated) for window in counted}
