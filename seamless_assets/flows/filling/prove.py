"""Prove: why bars are not there. An empty answer alone proves nothing."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import TypeVar

import pyarrow as pa

from seamless_assets.core.bars.sorted_sets import is_in
from seamless_assets.core.bars.table import join, timestamps
from seamless_assets.core.calendar.segment import Segment
from seamless_assets.core.calendar.timeframe import Timeframe
from seamless_assets.core.coverage.plan import Page, page_around
from seamless_assets.core.coverage.proof import Proof, Trades, by_coarser, by_trades, left_open, silent
from seamless_assets.core.node import NodeId
from seamless_assets.errors import ExchangeError, ExchangeRefused, ExchangeUnavailable
from seamless_assets.flows.ports import Ports
from seamless_assets.flows.sharing.retry import with_retries

T = TypeVar("T")
SHORT_BARS = 10
MOST_COARSE_PAGES = 3
MOST_TRADED_HOLES = 3
MOST_TRADE_PAGES = 5
LONGEST_TRADED_S = 6 * 3_600
LEAD_S = 600
REMEMBERED_S = 400 * 86_400


async def explain(
    ports: Ports, node: NodeId, open_holes: Sequence[Segment], closed: int, bars: pa.Table
) -> list[Proof]:
    """Proofs for holes that no page brackets, `bars` being what was fetched around them.

    The reach of the exchange comes first, then coarser bars, then trades. A short hole at the end of time
    waits for the bars that come after it.
    """
    timeframe = node.timeframe
    left = [hole for hole in open_holes if not is_recent(hole, timeframe, closed)]
    found = await _by_reach(ports, node, left, bars) if left else []
    if left := left_open(left, found, timeframe):
        found += await _by_coarser(ports, node, left, closed, bars)
    if left := left_open(left, found, timeframe):
        found += await _by_trades(ports, node, left)
    return found


def is_recent(hole: Segment, timeframe: Timeframe, closed: int) -> bool:
    """Whether a hole is short and at the end of closed time, where the bars that follow will settle it."""
    return hole.end >= closed and timeframe.count(*hole) < SHORT_BARS


async def _by_reach(ports: Ports, node: NodeId, open_holes: Sequence[Segment], bars: pa.Table) -> list[Proof]:
    opens = timestamps(bars)
    first, last = (opens[0], opens[-1]) if len(opens) else (open_holes[-1].end, -1)
    if open_holes[0].start < first:
        listed = await _asked(ports, lambda: ports.source.first_listed(node))
        if any((listed or 0) < hole.end <= first for hole in open_holes):
            await _asked(ports, lambda: ports.source.oldest_served(node))
    reach = ports.source.reach(node)
    if open_holes[-1].end > last:
        reach = replace(reach, delisted=await _delisted_at(ports, node, open_holes[-1]))
    return [proof for hole in open_holes for proof in reach.proofs(hole)]


async def _delisted_at(ports: Ports, node: NodeId, hole: Segment) -> int | None:
    """Close of the last bar of a delisted symbol; as the store has it, where the exchange refuses to tell."""
    if not await _asked(ports, lambda: ports.source.is_delisted(node)):
        return None
    try:
        return await with_retries(ports, lambda: ports.source.last_traded(node))
    except ExchangeRefused:
        known = await ports.hot.load_opens(node, Segment(hole.end - REMEMBERED_S, hole.end))
        return node.timeframe.shift(int(known[-1]), 1) if len(known) else None
    except ExchangeUnavailable:
        return None


async def _by_coarser(
    ports: Ports, node: NodeId, open_holes: Sequence[Segment], closed: int, bars: pa.Table
) -> list[Proof]:
    found: list[Proof] = []
    left = list(open_holes)
    for coarse in ports.source.coarser(node):
        if left:
            found += await _by_one_coarser(ports, node, coarse, left, closed, bars)
            left = left_open(left, found, node.timeframe)
    return found


async def _by_one_coarser(
    ports: Ports, node: NodeId, coarse: NodeId, left: Sequence[Segment], closed: int, bars: pa.Table
) -> list[Proof]:
    """What bars of `coarse` show: their volumes, and where they are not there, for as far as that goes."""
    frame = coarse.timeframe
    end, size = frame.floor(closed), ports.source.page_size(coarse)
    cells = _merged([Segment(frame.floor(hole.start), frame.ceil(hole.end)) for hole in left])
    windows = [page_around(cell, frame, size, end) for cell in cells if cell.end <= end]
    asked = [await _asked(ports, _candles(ports, coarse, window)) for window in windows[:MOST_COARSE_PAGES]]
    pages = [page for page in asked if page is not None]
    if not pages:
        return []
    bounds = Segment(pages[0].asked.start, max(page.asked.end for page in pages))
    quiet = [
        Proof(*part, "no_trades", f"no {frame} bar either")
        for part in silent(pages, bounds, frame)
        if any(not hole.intersect(part).is_empty for hole in left)
    ]
    known = await _known_bars(ports, node, Segment(cells[0].start, cells[-1].end), bars)
    return quiet + by_coarser(left_open(left, quiet, node.timeframe), node.timeframe, frame, pages, known)


async def _known_bars(ports: Ports, node: NodeId, window: Segment, fresh: pa.Table) -> pa.Table:
    """Bars of the store, and those that were fetched just now in their place."""
    stored = await ports.hot.load_bars(node, window)
    is_older = ~is_in(timestamps(stored), timestamps(fresh))
    return join([stored.filter(pa.array(is_older)), fresh])


async def _by_trades(ports: Ports, node: NodeId, open_holes: Sequence[Segment]) -> list[Proof]:
    found: list[Proof] = []
    for hole in open_holes[:MOST_TRADED_HOLES]:
        if hole.end - hole.start <= LONGEST_TRADED_S:
            answers = await _trades_around(ports, node, hole)
            found += by_trades([hole], node.timeframe, answers)
    return found


async def _trades_around(ports: Ports, node: NodeId, hole: Segment) -> list[Trades]:
    """Pages of trades from before `hole` to after it, each beginning where the one before ended."""
    answers: list[Trades] = []
    since = hole.start - LEAD_S
    for _ in range(MOST_TRADE_PAGES):
        answer = await _asked(ports, _trades(ports, node, Segment(since, hole.end + LEAD_S)))
        if answer is None or len(answer.times) == 0:
            break
        answers.append(answer)
        newest = int(answer.times[-1])
        if newest >= hole.end or newest <= since:
            break
        since = newest
    return answers


def _candles(ports: Ports, node: NodeId, window: Segment) -> Callable[[], Awaitable[Page]]:
    return lambda: ports.source.fetch_candles(node, window)


def _trades(ports: Ports, node: NodeId, window: Segment) -> Callable[[], Awaitable[Trades]]:
    return lambda: ports.source.fetch_trades(node, window)


async def _asked(ports: Ports, ask: Callable[[], Awaitable[T]]) -> T | None:
    """The answer; None where the exchange gives none, which leaves the bars missing."""
    try:
        return await with_retries(ports, ask)
    except ExchangeError:
        return None


def _merged(cells: Sequence[Segment]) -> list[Segment]:
    merged: list[Segment] = []
    for cell in cells:
        if merged and cell.start <= merged[-1].end:
            merged[-1] = Segment(merged[-1].start, max(merged[-1].end, cell.end))
        else:
            merged.append(cell)
    return merged
