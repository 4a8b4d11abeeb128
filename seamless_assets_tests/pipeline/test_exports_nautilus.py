"""Catalogs of NautilusTrader: what it reads of them, and what has no place in one."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.engines import python_with

import seamless_assets as sa
from seamless_assets.core.bars.table import BARS_SCHEMA, table_of
from seamless_assets.core.calendar.instant import seconds_text
from seamless_assets.core.exports import nautilus
from seamless_assets.core.node import NodeId
from seamless_assets.errors import InvalidChoice, InvalidInput
from seamless_assets.testing import DAY, START, InMemoryExchange, connect_in_memory, random_walk

SPOT, SWAP, MONTHS = "ohlcv:binance:BTC/USDT:1m", "ohlcv:bybit:ETH/USDT:USDT:4h", "ohlcv:kraken:XRP/ETH:1M"
FORM = {"form": "nautilus"}
READER = """
import json, sys
from nautilus_trader.persistence.catalog.parquet import ParquetDataCatalog
from pyarrow.parquet import read_table
from pathlib import Path
theirs, ours = ParquetDataCatalog(sys.argv[1]), Path(sys.argv[2])
bars = ParquetDataCatalog(str(ours)).bars()
theirs.write_data(bars)
for file in ours.rglob("*.parquet"):
    again = read_table(Path(sys.argv[1]) / file.relative_to(ours))
    assert again.equals(read_table(file), check_metadata=True), file
print(json.dumps([[str(b.bar_type), b.ts_event, str(b.open), str(b.close), str(b.volume)] for b in bars]))
"""


@pytest.fixture(scope="module")
def pipeline() -> Iterator[sa.Seamless]:
    steps = {SPOT: 60, SWAP: 14_400}
    series = {
        node: {ts: tuple(round(value, 4) for value in bar) for ts, bar in walk.items()}
        for node, step in steps.items()
        for walk in [random_walk(START, START + 2 * DAY, step=step)]
    }
    exchange = InMemoryExchange.serving(series, START + 40 * DAY)
    with connect_in_memory(exchange, {"partitions": {"4h": "day"}}) as opened:
        for node in steps:
            assert opened.materialize(node, START, START + 2 * DAY).released
        yield opened


def bars_of(*rows: tuple[float, ...]) -> pa.Table:
    return table_of(rows, BARS_SCHEMA)


prices = st.decimals(min_value="0.00000001", max_value="10000000", places=8).map(float)


@given(st.lists(st.tuples(prices, st.decimals(0, 10_000_000, places=8).map(float)), min_size=1, max_size=20))
def test_any_decimals_that_markets_have_come_back_as_they_were(rows: list[tuple[float, float]]) -> None:
    node = NodeId.parse(SPOT)
    bars = bars_of(*((START + 60 * at, p, p, p, p, v) for at, (p, v) in enumerate(rows)))
    ((path, payload),) = nautilus.encode(node, bars)
    assert nautilus.decode(node, {path: payload}).equals(bars)
    said = pa.parquet.read_schema(pa.BufferReader(payload)).metadata
    most = max(max(-Decimal(repr(p)).normalize().as_tuple().exponent, 0) for p, _ in rows)
    assert int(said[b"price_precision"]) == most


def test_a_file_is_named_and_stamped_by_the_closes_of_its_bars() -> None:
    node, opens = NodeId.parse(MONTHS), [1_735_689_600, 1_738_368_000]
    bars = bars_of(*((ts, 1.0, 2.0, 0.5, 1.5, 3.0) for ts in opens))
    ((path, payload),) = nautilus.encode(node, bars)
    assert path == (
        "data/bar/XRPETH.KRAKEN-1-MONTH-LAST-EXTERNAL/"
        "2025-02-01T00-00-00-000000000Z_2025-03-01T00-00-00-000000000Z.parquet"
    )
    closes = pa.parquet.read_table(pa.BufferReader(payload)).column("ts_event").to_pylist()
    assert closes == [1_738_368_000 * 10**9, 1_740_787_200 * 10**9]
    assert nautilus.decode(node, {path: payload}).equals(bars)


@pytest.mark.parametrize(
    ("bar", "reason"),
    [
        ((1.0, 2.0, 0.5, 1.5, np.nan), "volume is not known"),
        ((1.0, 2.0, 0.5, 1.5, 1e14), "above 34028236692093"),
        ((1e14, 1e14, 1e14, 1e14, 1.0), "above 17014118346046"),
        ((1e-17, 2.0, 1e-17, 1.5, 1.0), "open has more than 16 decimals"),
    ],
)
def test_what_nautilus_cannot_hold_is_refused(bar: tuple[float, ...], reason: str) -> None:
    with pytest.raises(InvalidInput, match=reason):
        list(nautilus.encode(NodeId.parse(SPOT), bars_of((START, *bar))))


sums = st.lists(st.integers(1, 99), min_size=2, max_size=4).map(
    lambda parts: sum(part / 100 for part in parts)
)


@given(st.lists(sums, min_size=1, max_size=20))
def test_what_only_sums_of_floats_left_behind_is_rounded(volumes: list[float]) -> None:
    node = NodeId.parse(SPOT)
    bars = bars_of(
        *(
            (START + 60 * at, 1.0, 2.0, 0.5, 1.5, v)
            for at, v in enumerate([0.1 + 0.2, 3e13, 0.22000000000000003, *volumes])
        )
    )
    ((path, payload),) = nautilus.encode(node, bars)
    back = nautilus.decode(node, {path: payload})
    assert back.equals(nautilus.held(node, bars))
    for was, now in zip(bars.column("volume").to_pylist(), back.column("volume").to_pylist(), strict=True):
        assert now == pytest.approx(was, rel=6e-16, abs=0)
        assert -Decimal(repr(now)).as_tuple().exponent <= 16
    assert back.column("volume").to_pylist()[:3] == [0.3, 3e13, 0.22]
    assert back.drop(["volume"]).equals(bars.drop(["volume"]))


@pytest.mark.parametrize("value", [1e-17, 0.01234567890123456789, 3.5e-16])
def test_a_value_of_more_decimals_is_named_with_its_bar(value: float) -> None:
    bars = bars_of((START, 1.0, 2.0, 0.5, 1.5, 0.1 + 0.2), (START + 60, 1.0, 2.0, 0.5, 1.5, value))
    with pytest.raises(InvalidInput) as refused:
        list(nautilus.encode(NodeId.parse(SPOT), bars))
    assert f"{value!r} of {seconds_text(START + 60)}" in str(refused.value)


def test_a_rounded_export_is_proven_by_itself_and_by_its_release(tmp_path: Path) -> None:
    bars = dict.fromkeys(range(START, START + DAY, 14400), (1.0, 2.0, 0.5, 1.5, 0.1 + 0.2))
    exchange = InMemoryExchange.serving({SWAP: bars}, START + 40 * DAY)
    with connect_in_memory(exchange, {"partitions": {"4h": "day"}}) as opened:
        assert opened.materialize(SWAP, START, START + DAY).released
        made = opened.export(SWAP, tmp_path, **FORM)
        assert sa.verify_export(made.files[0]) == opened.verify_export(made.files[0]) == made.sidecar


@pytest.mark.parametrize("node", ["ohlcv:okx:BTC/USDT:USDT-251226:1m", "ohlcv:okx:BTC/USDT:1y"])
def test_nodes_that_it_has_no_name_for_are_refused(node: str) -> None:
    with pytest.raises(InvalidChoice, match="Nautilus"):
        list(nautilus.encode(NodeId.parse(node), bars_of((START, 1.0, 1.0, 1.0, 1.0, 1.0))))


def test_windows_that_overlap_do_not_come_together_in_a_catalog(
    pipeline: sa.Seamless, tmp_path: Path
) -> None:
    first = pipeline.export(SPOT, tmp_path, START, START + DAY, **FORM)
    with pytest.raises(InvalidInput, match="read twice"):
        pipeline.export(SPOT, tmp_path, START, START + 2 * DAY, overwrite=True, **FORM)
    second = pipeline.export(SPOT, tmp_path, START + DAY, START + 2 * DAY, **FORM)
    for made in (first, second):
        assert pipeline.verify_export(made.files[0]) == made.sidecar
    pipeline.export(SWAP, tmp_path, **FORM)


def test_decimals_are_those_that_were_asked_for_or_refused(pipeline: sa.Seamless, tmp_path: Path) -> None:
    made = pipeline.export(SPOT, tmp_path, decimals=(6, 8), **FORM)
    said = pa.parquet.read_schema(made.files[0]).metadata
    assert (said[b"price_precision"], said[b"size_precision"]) == (b"6", b"8")
    assert sa.verify_export(made.files[0]) == made.sidecar
    refused = [
        ((2, 8), "have 4 decimals"),
        ((6, 17), "at most 16"),
        ((6,), "two whole numbers"),
        ("ab", "two"),
    ]
    for decimals, reason in refused:
        with pytest.raises(InvalidInput, match=reason):
            pipeline.export(SPOT, tmp_path / "other", decimals=decimals, **FORM)
    with pytest.raises(InvalidInput, match="for the form nautilus"):
        pipeline.export(SPOT, tmp_path / "bars.csv", decimals=(6, 8))


@pytest.mark.deep
def test_nautilus_reads_what_is_exported_and_would_write_it_so(pipeline: sa.Seamless, tmp_path: Path) -> None:
    python = python_with("nautilus", "nautilus_trader==1.221.*")
    nodes = (SPOT, SWAP)
    for node in nodes:
        pipeline.export(node, tmp_path / "ours", **FORM)
    words = [str(python), "-c", READER, str(tmp_path / "theirs"), str(tmp_path / "ours")]
    ran = subprocess.run(words, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    seen = {(kind, ts): tuple(map(float, values)) for kind, ts, *values in json.loads(ran.stdout)}
    kinds = ["BTCUSDT.BINANCE-1-MINUTE-LAST-EXTERNAL", "ETHUSDT-PERP.BYBIT-4-HOUR-LAST-EXTERNAL"]
    wanted = {}
    for node, kind, step in zip(nodes, kinds, (60, 14_400), strict=True):
        for ts, open_, _, _, close, volume in pipeline.read(node).to_pandas().itertuples(index=False):
            wanted[kind, (ts + step) * 10**9] = open_, close, volume
    assert seen == wanted
