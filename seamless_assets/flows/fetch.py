"""Fetch: from a window of time to conformed bars and what is proven of the holes between them."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from seamless_assets.core.bars import between, empty_bars, sound_rows, timestamps
from seamless_assets.core.conformance import Report, conform
from seamless_assets.core.coverage import MISSING, holes
from seamless_assets.core.ledger import Fact
from seamless_assets.core.node import NodeId
from seamless_assets.core.plan import (
    Page,
    learned_page_size,
    merged_candles,
    probes,
    tiles,
    unwitnessed,
    witnessed_spans,
)
from seamless_assets.core.segment import Segment
from seamless_assets.errors import ExchangeUnavailable, RateLimited
from seamless_assets.flows.ports import Ports

MAX_ROUNDS = 12
RETRY_MISSING_S = 600.0
_NO_OPENS = np.array([], dtype=np.int64)


@dataclass(frozen=True, slots=True)
class Fetched:
    """What an exchange gave for a window: bars, facts about its holes, flags, and what went wrong."""

    bars: pa.Table
    facts: tuple[Fact, ...]
    report: Report
    problems: tuple[str, ...]


async def fetch_bars(ports: Ports, node: NodeId, window: Segment, closed: int) -> Fetched:
    """Ask the exchange for every bar of `window`, which ends at or before `closed`.

    Pages are asked for side by side; what a page leaves open is asked again with bars on both sides.
    Raises `ExchangeRefused`; an exchange that stays away ends in `problems` and missing facts.
    """
    pages: list[Page] = []
    problems: list[str] = []
    tried: set[Segment] = set()
    wanted = tiles(window, node.timeframe, ports.source.page_size(node))
    for _ in range(MAX_ROUNDS):
        tried.update(wanted)
        for answer in await asyncio.gather(*(_ask(ports, node, page) for page in wanted)):
            if isinstance(answer, Page):
                pages.append(answer)
            else:
                problems.append(str(answer))
        size = _learn(ports, node, pages)
        open_holes = unwitnessed(pages, window, node.timeframe)
        around = [probes(hole, window, node.timeframe, size, closed) for hole in open_holes]
        wanted = [page for group in around for page in group if page not in tried]
        if not wanted:
            break
    return await _conclude(ports, node, window, pages, problems)


async def with_retries(ports: Ports, node: NodeId, window: Segment) -> Page:
    """One page, asked for again with growing delays. Raises the last `ExchangeUnavailable`."""
    attempt = 1
    while True:
        try:
            return await ports.source.fetch_candles(node, window)
        except ExchangeUnavailable as error:
            if attempt >= ports.policy.max_attempts:
                raise
            told = error.retry_after if isinstance(error, RateLimited) else None
            await ports.clock.sleep(ports.policy.retry_delay(attempt, ports.rng.random(), told))
            attempt += 1


async def _ask(ports: Ports, node: NodeId, window: Segment) -> Page | ExchangeUnavailable:
    try:
        return await with_retries(ports, node, window)
    except ExchangeUnavailable as error:
        return error


def _learn(ports: Ports, node: NodeId, pages: list[Page]) -> int:
    size = ports.source.page_size(node)
    learned = learned_page_size(pages, node.timeframe)
    if learned is None or learned >= size:
        return size
    ports.source.learn_page_size(node, learned)
    return learned


async def _conclude(
    ports: Ports, node: NodeId, window: Segment, pages: list[Page], problems: list[str]
) -> Fetched:
    candles = merged_candles(pages) if pages else empty_bars()
    bars, report = conform(candles, node.timeframe, severities=ports.policy.severities)
    sound = bars.filter(sound_rows(bars))
    facts = _no_trades(ports, node, window, pages, sound)
    facts += await _unsettled(ports, node, unwitnessed(pages, window, node.timeframe))
    return Fetched(between(sound, *window), tuple(facts), report, tuple(problems))


def _no_trades(ports: Ports, node: NodeId, window: Segment, pages: list[Page], bars: pa.Table) -> list[Fact]:
    now = ports.clock.now()
    opens = np.unique(np.concatenate([page.opens(node.timeframe) for page in pages])) if pages else _NO_OPENS
    lost = np.setdiff1d(opens, timestamps(bars))
    proven = [
        hole
        for span in witnessed_spans(pages, node.timeframe)
        for hole in holes(
            node.timeframe, span.intersect(window), opens[(opens >= span.start) & (opens < span.end)]
        )
    ]
    facts = [Fact(*hole, "no_trades", "bars on both sides in one page", now) for hole in proven]
    unsound = [Segment(int(ts), node.timeframe.shift(int(ts), 1)) for ts in lost]
    return facts + [
        Fact(*bar, MISSING, "the exchange sent an unsound bar", now, next_try=now + RETRY_MISSING_S)
        for bar in unsound
        if not bar.intersect(window).is_empty
    ]


async def _unsettled(ports: Ports, node: NodeId, open_holes: list[Segment]) -> list[Fact]:
    """Facts for what no page settled: before the listing it is proven, else it stays missing."""
    if not open_holes:
        return []
    now = ports.clock.now()
    listed = await _first_listed(ports, node)
    facts: list[Fact] = []
    for hole in open_holes:
        before = hole.intersect(Segment(hole.start, max(hole.start, listed or hole.start)))
        after = Segment(before.end, hole.end)
        if not before.is_empty:
            facts.append(Fact(*before, "pre_listing", f"first bar at {listed}", now))
        if not after.is_empty:
            facts.append(Fact(*after, MISSING, "not sent", now, next_try=now + RETRY_MISSING_S))
    return facts


async def _first_listed(ports: Ports, node: NodeId) -> int | None:
    try:
        return await ports.source.first_listed(node)
    except ExchangeUnavailable:
        # Without the listing date nothing more is proven, and the bars stay missing.
        return None
