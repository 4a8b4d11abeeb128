"""Subscriptions through the face: sync and async, on the local exchange, and what is refused."""

from __future__ import annotations

import asyncio
import math
import re
from collections.abc import Callable
from contextlib import aclosing
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

import seamless_assets as sa
from seamless_assets.config.load import Settings
from seamless_assets.core.live.events import Bar, CaughtUp
from seamless_assets.errors import (
    InvalidChoice,
    InvalidCursor,
    InvalidInput,
    InvalidSegment,
    InvalidTimestamp,
)
from seamless_assets.sandbox.server import Sandbox
from seamless_assets.testing import DAY, START, InMemoryExchange, connect_in_memory, random_walk

NODES = ["ohlcv:binance:BTC/USDT:1m", "ohlcv:kraken:ETH/USD:5m"]
NOW = START + 10 * DAY


@pytest.fixture
def settings(exchange: Sandbox, settings_for: Callable[..., Settings]) -> Settings:
    reached = {"base_url": exchange.url, "start": "2025-01-01"}
    return settings_for(
        {
            "binance": {**reached, "symbols": ["BTC/USDT"], "timeframes": ["1m"]},
            "kraken": {**reached, "symbols": ["ETH/USD"], "timeframes": ["5m"]},
        }
    )


def test_it_is_iterated_sync_and_async_and_resumed_in_another_process(
    settings: Settings, exchange: Sandbox
) -> None:
    begin, end = NOW - 7_200, NOW - 600
    with sa.connect(settings) as s:
        events = list(s.subscribe(NODES, since=begin, until=end))
        for node in NODES:
            s.backfill(node, begin, end)
            s.publish(node, begin, end)
            bars = [event for event in events if event.node_id == node and isinstance(event, Bar)]
            held = s.read(
                node, begin, end, context=sa.ComputeContext(domain="live"), strategy="AUTO_BACKFILL"
            ).to_arrow()
            assert [event.ts for event in bars] == held["ts"].to_pylist()
            assert [event.close for event in bars] == held["close"].to_pylist()
        middle = len(events) // 2
        asked = len(exchange.requests)

        async def rest() -> list[Any]:
            return [event async for event in s.aio.subscribe(NODES, since=events[middle].cursor, until=end)]

        with sa.connect(settings) as other:
            again = list(other.subscribe(reversed(NODES), since=events[middle].cursor, until=end))
        rests = [events[middle + 1 :], asyncio.run(rest()), again]
        for node in NODES:
            bars = [[e for e in events if e.node_id == node and isinstance(e, Bar)] for events in rests]
            assert bars[0] == bars[1] == bars[2]
        # What is stored is not asked for again.
        assert not [r for r in list(exchange.requests)[asked:] if "line" in r.path or "OHLC" in r.path]


async def test_an_open_end_waits_for_the_exchanges_clock_and_closes_at_once(
    settings: Settings, exchange: Sandbox
) -> None:
    exchange.clock.set(NOW - 1)
    async with (
        sa.connect(settings).aio as s,
        aclosing(s.subscribe(NODES[0], since=NOW - 180)) as stream,
    ):
        seen = []
        async for event in stream:
            seen.append(event)
            if isinstance(event, CaughtUp):
                exchange.clock.set(NOW + 1)
            if isinstance(event, Bar) and event.end == NOW:
                break
        assert [event.ts for event in seen if isinstance(event, Bar)] == [NOW - 180, NOW - 120, NOW - 60]


def test_what_cannot_be_meant_is_refused_before_anything_is_asked(
    settings: Settings, exchange: Sandbox
) -> None:
    with sa.connect(settings) as s:
        refused: list[tuple[type[Exception], str, dict[str, Any]]] = [
            (InvalidInput, "0 nodes", {"nodes": []}),
            (InvalidChoice, "not in the settings", {"nodes": "ohlcv:bybit:BTC/USDT:1m"}),
            (InvalidCursor, "cannot be read", {"nodes": NODES, "since": "c2.eJxjYBgFo2AUAAUAAAUCAAE"}),
            (InvalidTimestamp, "since", {"nodes": NODES, "since": "not a time"}),
            (InvalidSegment, "lies before", {"nodes": NODES, "since": NOW, "until": NOW - 60}),
            (InvalidInput, "domain live", {"nodes": NODES, "context": sa.ComputeContext()}),
            (
                InvalidInput,
                "no use for as_of, min_coverage",
                {"nodes": NODES, "context": sa.ComputeContext(domain="live", as_of=NOW, min_coverage=0.5)},
            ),
        ]
        for kind, reason, arguments in refused:
            with pytest.raises(kind, match=reason):
                s.subscribe(**arguments)
    assert not exchange.requests


NO_NUMBERS = [
    0,
    -1,
    math.inf,
    math.nan,
    True,
    "60",
    b"1",
    [60],
    10**400,
    1j,
    Decimal(1),
    timedelta(seconds=1),
]
NO_NODES = [None, 5, b"ohlcv:binance:BTC/USDT:1m", object()]


@pytest.mark.parametrize("where", ["here", "at a service"])
def test_what_is_no_number_or_names_no_node_is_refused_by_its_name(settings: Settings, where: str) -> None:
    with sa.connect(settings if where == "here" else "http://127.0.0.1:9") as s:
        for number in NO_NUMBERS:
            with pytest.raises(InvalidInput, match="speed is "):
                s.replay(NODES, NOW - 60, NOW, speed=number)  # type: ignore[arg-type]
            with pytest.raises(InvalidInput, match="deadline is "):
                s.panel(NODES[:1], deadline=number)  # type: ignore[arg-type]
        for nodes in NO_NODES:
            for ask in (s.subscribe, s.panel, lambda nodes: s.replay(nodes, NOW - 60, NOW)):
                with pytest.raises(InvalidInput, match="nodes is "):
                    ask(nodes)
        with pytest.raises(InvalidTimestamp, match="start "):
            s.replay(NODES, "x", NOW)
        with pytest.raises(InvalidInput, match="one timeframe"):
            s.panel(iter(NODES))
        for ask in (s.subscribe, s.panel):
            with pytest.raises(InvalidInput, match="0 nodes"):
                ask([])


def test_the_loop_of_the_page_is_the_same_over_history_and_what_closes() -> None:
    page = Path(__file__).resolve().parents[2] / "docs" / "live.md"
    loop = next(
        code
        for code in re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL)
        if "def trade" in code
    )
    room: dict[str, Any] = {"sa": sa}
    exec(compile(loop.partition("\nwith ")[0], str(page), "exec"), room)
    end = START + 6 * 3_600
    exchange = InMemoryExchange.serving(
        {node: random_walk(START, START + DAY, skip=0.05) for node in NODES[:1]}
    )
    seen: list[list[tuple[Any, ...]]] = [[], []]
    with connect_in_memory(exchange) as s:
        assert s.materialize(NODES[0], START, START + DAY).released
        for acted, events in zip(
            seen,
            (s.replay(NODES[0], START, end, knowledge="then"), s.subscribe(NODES[0], since=START, until=end)),
            strict=True,
        ):
            room["trade"](events, act=lambda event, closes, acted=acted: acted.append((event, dict(closes))))
    assert len(seen[0]) > 300 and seen[0] == seen[1]
