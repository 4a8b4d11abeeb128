"""Panels: many nodes in one frame, equal to the reads they are made of, all at one moment of the logs."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import seamless_assets as sa
from seamless_assets.core.bars.table import COLUMNS
from seamless_assets.core.node import NodeId
from seamless_assets.core.reading.panel import FIELDS, PanelRequest, join_reads
from seamless_assets.core.reading.request import ReadRequest
from seamless_assets.core.reading.result import ReadResult
from seamless_assets.errors import InvalidChoice, InvalidInput, NothingReleased
from seamless_assets.flows.ports import Ports
from seamless_assets.flows.reading import panel as panels
from seamless_assets.testing import (
    DAY,
    START,
    InMemoryExchange,
    ManualClock,
    bars_table,
    connect_in_memory,
    random_walk,
)

HOUR = 3_600
NODES = [f"ohlcv:binance:{symbol}/USDT:1h" for symbol in ("BTC", "ETH", "XRP")]
SYMBOLS = ["BTC/USDT", "ETH/USDT", "XRP/USDT"]


NOTHING_KNOWN: Any = SimpleNamespace(as_of=None, verdict="PASS", coverage_ratio=1.0)
"""Metadata of a read, as far as a join looks at them."""


def walk(seed: int, start: int = START) -> dict[int, Any]:
    return random_walk(start, START + 2 * DAY, step=HOUR, seed=seed)


@pytest.fixture
def exchange() -> InMemoryExchange:
    series = {node: walk(seed) for seed, node in enumerate(NODES)}
    # The youngest begins a day later.
    series[NODES[2]] = walk(2, START + DAY)
    return InMemoryExchange.serving(series, now=START + 3 * DAY)


@pytest.fixture
def pipeline(exchange: InMemoryExchange) -> Iterator[sa.Seamless]:
    with connect_in_memory(exchange, {"partitions": {"1h": "day"}}) as opened:
        for node in NODES:
            opened.materialize(node, START, START + 2 * DAY)
        yield opened


def joined(pipeline: sa.Seamless, field: str, how: str) -> pd.DataFrame:
    """What people write by hand: single reads, joined by pandas."""
    reads = [pipeline.read(node).to_pandas(index="time")[field] for node in NODES]
    return pd.concat(reads, axis=1, join=how, keys=SYMBOLS).sort_index()


@pytest.mark.parametrize("how", ["outer", "inner"])
def test_a_panel_is_the_reads_it_is_made_of(pipeline: sa.Seamless, how: str) -> None:
    panel = pipeline.read_panel(NODES, fields=["close", "volume"], join=how)
    frame = panel.to_pandas()
    for field in ("close", "volume"):
        pd.testing.assert_frame_equal(
            frame[field], joined(pipeline, field, how), check_names=False, check_freq=False
        )
    assert len(frame) == (48 if how == "outer" else 24)
    one = pipeline.read_panel(NODES, join=how)
    pd.testing.assert_frame_equal(one.to_pandas(), frame["close"], check_names=False)
    table = one.to_arrow()
    assert table.column_names == ["ts", *SYMBOLS]
    assert table.column("XRP/USDT").null_count == (24 if how == "outer" else 0)
    assert panel.to_arrow().column_names[:3] == ["ts", "close BTC/USDT", "close ETH/USDT"]


def test_metadata_are_those_of_each_series_and_of_the_cut(pipeline: sa.Seamless) -> None:
    panel = pipeline.read_panel(NODES)
    reads = {symbol: pipeline.read(node).metadata for symbol, node in zip(SYMBOLS, NODES, strict=True)}
    assert dict(panel.metadata.series) == reads
    assert panel.metadata.as_of == max(str(read.as_of) for read in reads.values())
    assert panel.metadata.coverage == dict.fromkeys(SYMBOLS, 1.0) and panel.metadata.verdict == "PASS"
    assert len(repr(panel)) < 1_000
    frame = panel.to_pandas()
    frame.iloc[:] = 0.0
    assert panel.to_pandas().loc[:, "BTC/USDT"].gt(0).all()


def test_a_panel_of_an_as_of_stays(pipeline: sa.Seamless, exchange: InMemoryExchange) -> None:
    before = pipeline.read_panel(NODES)
    correct(exchange, NODES[0])
    pipeline.materialize(NODES[0], START, START + 2 * DAY)
    after = pipeline.read_panel(NODES)
    advance(exchange)
    assert not after.to_arrow().equals(before.to_arrow())
    for made in (before, after):
        again = pipeline.read_panel(NODES, context=sa.ComputeContext(as_of=made.metadata.as_of))
        assert again.to_arrow().equals(made.to_arrow())
        assert again.metadata.requested_as_of == made.metadata.as_of


def advance(exchange: InMemoryExchange) -> None:
    """Let a second pass: releases of one moment stand a millisecond apart, the last of them ahead of it."""
    assert isinstance(exchange.clock, ManualClock)
    exchange.clock.advance(1)


def correct(exchange: InMemoryExchange, node: str) -> None:
    series = exchange.series[NodeId.parse(node)]
    first = max(series)
    series[first] = tuple(value * 2 for value in series[first])  # type: ignore[assignment]


def test_all_series_are_of_one_moment_though_some_are_released_meanwhile(
    pipeline: sa.Seamless, exchange: InMemoryExchange, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, released = panels.read, list[str]()

    async def read_and_release(ports: Ports, request: ReadRequest) -> ReadResult:
        found = await read(ports, request)
        if str(request.node) == NODES[0] and not released:
            for node in NODES:
                released.append(node)
                correct(exchange, node)
                await pipeline.aio.materialize(node, START, START + 2 * DAY)
        return found

    monkeypatch.setattr(panels, "AT_ONCE", 1)
    monkeypatch.setattr(panels, "read", read_and_release)
    panel = pipeline.read_panel(NODES)
    assert released == NODES
    advance(exchange)
    again = pipeline.read_panel(NODES, context=sa.ComputeContext(as_of=panel.metadata.as_of))
    assert again.to_arrow().equals(panel.to_arrow())


REFUSED: dict[str, tuple[dict[str, Any], type[Exception], str]] = {
    "no list": ({"nodes": NODES[0]}, InvalidInput, "give a list of node ids"),
    "none": ({"nodes": []}, InvalidInput, "at least one node id"),
    "twice": ({"nodes": [NODES[0], NODES[0]]}, InvalidInput, "twice"),
    "two timeframes": ({"nodes": [NODES[0], "ohlcv:binance:BTC/USDT:1m"]}, InvalidInput, "one timeframe"),
    "field": ({"fields": "clsoe"}, InvalidChoice, "did you mean close"),
    "time": ({"fields": ["ts"]}, InvalidChoice, "field 'ts' is not one of"),
    "no field": ({"fields": []}, InvalidChoice, "fields is empty"),
    "field twice": ({"fields": ["close", "close"]}, InvalidInput, "twice"),
    "join": ({"join": "left"}, InvalidChoice, "join 'left' is not one of outer, inner"),
    "live": ({"context": sa.ComputeContext(domain="live")}, InvalidInput, "which a live session is not"),
    "unknown": (
        {"nodes": [*NODES, "ohlcv:binance:BTC/USD:1h"]},
        NothingReleased,
        "BTC/USD:1h has no release",
    ),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_no_panel_can_be_made_of_is_refused(pipeline: sa.Seamless, what: str) -> None:
    arguments, kind, text = REFUSED[what]
    with pytest.raises(kind, match=text):
        pipeline.read_panel(**{"nodes": NODES, **arguments})


def test_series_of_one_symbol_are_named_by_their_nodes() -> None:
    nodes = ["ohlcv:kraken:BTC/USD:1h", "ohlcv:coinbase:BTC/USD:1h"]
    assert PanelRequest.parse(nodes, "close", None, "outer").labels == tuple(nodes)


@settings(max_examples=60, deadline=None)
@given(
    held=st.lists(st.sets(st.integers(0, 30)), min_size=1, max_size=6),
    fields=st.lists(st.sampled_from(FIELDS), min_size=1, unique=True),
    how=st.sampled_from(["outer", "inner"]),
)
def test_any_series_join_as_pandas_joins_them(held: list[set[int]], fields: list[str], how: str) -> None:
    nodes = [f"ohlcv:binance:S{number}/USDT:1h" for number in range(len(held))]
    request = PanelRequest.parse(nodes, fields, None, how)
    walks = [random_walk(START, START + 31 * HOUR, step=HOUR, seed=seed) for seed in range(len(held))]
    tables = [
        bars_table({START + at * HOUR: walk[START + at * HOUR] for at in sorted(opens)})
        for walk, opens in zip(walks, held, strict=True)
    ]
    frames = [table.select(COLUMNS).to_pandas().set_index("ts") for table in tables]
    truth = pd.concat(frames, axis=1, join=how, keys=request.labels).sort_index()
    panel = join_reads(request, [ReadResult(table, NOTHING_KNOWN) for table in tables], None)
    found = panel.to_pandas()
    assert (found.index.as_unit("s").asi8 == truth.index.to_numpy()).all()
    for field in fields:
        for label in request.labels:
            np.testing.assert_array_equal(found[field][label].to_numpy(), truth[label][field].to_numpy())
