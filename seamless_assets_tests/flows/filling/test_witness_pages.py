"""Pages of witnesses: whole for each who asks, though the size of a page is learned meanwhile."""

from __future__ import annotations

import asyncio

import pytest

from seamless_assets.core.calendar.segment import Segment
from seamless_assets.core.coverage.pages import known_opens
from seamless_assets.core.node import NodeId
from seamless_assets.flows.filling.witness_pages import WitnessPages
from seamless_assets.testing import DAY, START, InMemoryExchange, in_memory_ports, random_walk

NODE = NodeId.parse("ohlcv:binance:BTC/USDT:1m")
END = START + 4 * DAY


@pytest.mark.parametrize("learned", [None, 300, 7])
async def test_pages_that_are_cut_are_asked_for_anew_by_all_who_share_them(learned: int | None) -> None:
    exchange = InMemoryExchange(random_walk(START, END), page=300, believed_page=1_000)
    exchange.clock.advance(END + DAY - exchange.clock.now())  # type: ignore[attr-defined]
    pages = WitnessPages(in_memory_ports(exchange), END)
    parts = [Segment(START + day * DAY + 3_600, START + day * DAY + 12 * 3_600) for day in range(4)]

    async def learn() -> None:
        if learned is not None:
            exchange.learn_page_size(NODE, learned)

    found = await asyncio.gather(*(pages.over(NODE, [part]) for part in parts), learn())
    for part, held in zip(parts, found, strict=False):
        assert held is not None
        opens = {int(ts) for ts in known_opens(held, NODE.timeframe)}
        assert opens >= set(range(part.start, part.end, 60))
