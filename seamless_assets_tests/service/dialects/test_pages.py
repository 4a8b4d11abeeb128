"""How long the pages of one request are waited for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest

import seamless_assets as sa
from seamless_assets.core.bars.table import empty_bars
from seamless_assets.core.calendar.segment import Segment
from seamless_assets.core.live.page import PageJudgement
from seamless_assets.core.node import NodeId
from seamless_assets.core.reading.settings import ReadSettings
from seamless_assets.core.reading.sla import SLAPolicy
from seamless_assets.flows.live.served.page import LivePage
from seamless_assets.service.dialects import pages
from seamless_assets.service.dialects.pages import SHORTEST_WAIT_MS, WAIT_MS, Pages
from seamless_assets.service.dialects.visit import Visit
from seamless_assets.testing import run_on_virtual_time

NODE = NodeId.parse("ohlcv:binance:BTC/USDT:1m")
TAKES_S = 3


def test_a_request_that_reads_several_pages_waits_no_longer_than_one_that_reads_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    waits: list[int] = []

    async def load(_ports: Any, _node: Any, window: Segment, _now: Any, sla: SLAPolicy, **_: Any) -> LivePage:
        waits.append(sla.total_deadline_ms)
        await asyncio.sleep(TAKES_S)
        return LivePage(empty_bars(), 0, None, None, "storage", PageJudgement(window.end, "PASS", ()))

    async def do(ask: Callable[[Any], Any]) -> Any:
        return await ask(None)

    hot = SimpleNamespace(change_mark=lambda: None)
    aio = SimpleNamespace(
        read_settings=ReadSettings(), ports=SimpleNamespace(hot=hot), portal=SimpleNamespace(do=do)
    )

    async def read() -> None:
        visit, own = Visit(0.0), Pages(cast(sa.Seamless, SimpleNamespace(aio=aio)))
        for _ in range(4):
            await own.load(visit, NODE, Segment(0, 60), is_newest=True)

    monkeypatch.setattr(pages, "load_page", load)
    run_on_virtual_time(read)
    assert waits == [WAIT_MS, WAIT_MS - 3_000, WAIT_MS - 6_000, SHORTEST_WAIT_MS]
