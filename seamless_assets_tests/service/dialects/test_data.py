"""Which candles of declared nodes are told: what is streamed, and what stands in place of late ones."""

from __future__ import annotations

from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest

import seamless_assets as sa
from seamless_assets.core.calendar.segment import Segment
from seamless_assets.core.calendar.timeframe import Timeframe
from seamless_assets.core.node import NodeId
from seamless_assets.dialects.market_data import CANDLE
from seamless_assets.errors import ReadRefused
from seamless_assets.service.dialects.data import DeclaredData
from seamless_assets.service.dialects.pages import Page, Pages
from seamless_assets.service.dialects.visit import VISIT, Visit

PLAIN, DERIVED = (NodeId.parse(f"ohlcv:binance:{symbol}/USDT:1m") for symbol in ("BTC", "ETH"))


def settings_of(starts: dict[NodeId, int], recipes: dict[NodeId, None] | None = None) -> SimpleNamespace:
    return SimpleNamespace(starts=starts, recipes=recipes or {}, exchanges={})


@pytest.mark.parametrize(("as_of", "is_streamed"), [(None, False), ("2025-01-10T00:00:00Z", True)])
def test_derived_nodes_are_streamed_in_worlds_of_the_past_alone(as_of: str | None, is_streamed: bool) -> None:
    settings = settings_of(starts={PLAIN: 0, DERIVED: 0}, recipes={DERIVED: None})
    pipeline = cast(sa.Seamless, SimpleNamespace(settings=settings, aio=None))
    data, minute = DeclaredData(pipeline, "binance", cast(Pages, None)), Timeframe("1m")
    token = VISIT.set(Visit(0.0, as_of))
    try:
        assert data.is_streamed("ETH/USDT", minute) is is_streamed
        assert data.is_streamed("BTC/USDT", minute)
        assert not data.is_streamed("BTC/USDT", Timeframe("5m")) and not data.is_streamed("BTC/USDT", None)
    finally:
        VISIT.reset(token)


class LatePages:
    """Pages of a node of which `[since, until)` is there; other holes in front of later bars are refused."""

    def __init__(self, since: int, until: int) -> None:
        self.since, self.until = since, until

    async def newest_end(self, _visit: Visit, _node: NodeId, closed: int) -> int:
        return closed

    async def load(self, _visit: Visit, node: NodeId, window: Segment, *, is_newest: bool) -> Page:
        until = max(window.start, min(window.end, self.until))
        if (until < window.end and not is_newest) or window.start < self.since:
            raise ReadRefused(f"{node} is on HOLD")
        opens = list(node.timeframe.opens(window.start, until))
        rows = np.zeros(len(opens), dtype=CANDLE)
        rows["ts"] = opens
        return Page(rows, until)


@pytest.mark.parametrize("late", [0, 1, 2, 5])
@pytest.mark.parametrize("count", [1, 2, 3, 100])
async def test_the_newest_so_many_are_told_though_others_are_late(late: int, count: int) -> None:
    settings, minute, now = settings_of(starts={PLAIN: 0}), Timeframe("1m"), 6_030
    until = 6_000 - 60 * late
    pages = cast(Pages, LatePages(max(0, until - 60 * count), until))
    data = DeclaredData(cast(sa.Seamless, SimpleNamespace(settings=settings, aio=None)), "binance", pages)
    token = VISIT.set(Visit(now))
    try:
        told = [
            await data.newest("BTC/USDT", minute, None, count),
            await data.last("BTC/USDT", minute, 0, None, count),
        ]
    finally:
        VISIT.reset(token)
    assert [list(rows["ts"]) for rows in told] == [list(range(max(0, until - 60 * count), until, 60))] * 2
