"""The embedded hot store: upserts, half-open reads, the ledger, many processes, damage."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest

from seamless_assets.adapters.sqlite.store import SqliteHotStore
from seamless_assets.core.bars.table import BARS_SCHEMA, Written, empty_bars
from seamless_assets.core.calendar.segment import Segment
from seamless_assets.core.coverage.ledger import Fact, facts_of
from seamless_assets.core.node import NodeId
from seamless_assets.errors import HotStoreError
from seamless_assets.testing import START, random_walk

NODE = NodeId.parse("ohlcv:binance:BTC/USDT:1m")
SWAP = NodeId.parse("ohlcv:binance:BTC/USDT:USDT:1m")


def table(bars: dict[int, tuple[float, ...]]) -> pa.Table:
    columns = list(zip(*[(ts, *row) for ts, row in bars.items()], strict=True))
    return pa.table([pa.array(c, f.type) for c, f in zip(columns, BARS_SCHEMA, strict=True)], BARS_SCHEMA)


async def test_a_write_says_what_it_changed(tmp_path: Path) -> None:
    store, bars = SqliteHotStore(tmp_path / "a" / "hot.sqlite"), random_walk(START, START + 600)
    assert await store.write_bars(NODE, table(bars), [], recorded_at=5.0) == Written(10, 0)
    assert await store.write_bars(NODE, table(bars), [], recorded_at=5.0) == Written(0, 0)
    bars[START] = tuple(value / 2 for value in bars[START])
    more = bars | random_walk(START + 600, START + 720)
    assert await store.write_bars(NODE, table(more), [], recorded_at=5.0) == Written(2, 1)
    assert await store.load_bars(NODE, Segment(START, START + 720)) == table(more)
    await store.close()


async def test_windows_are_half_open_and_nodes_apart(tmp_path: Path) -> None:
    store = SqliteHotStore(tmp_path / "hot.sqlite")
    await store.write_bars(NODE, table(random_walk(START, START + 600)), [], recorded_at=5.0)
    read = await store.load_bars(NODE, Segment(START + 60, START + 180))
    assert read["ts"].to_pylist() == [START + 60, START + 120]
    assert await store.load_bars(SWAP, Segment(START, START + 600)) == empty_bars()
    odd = NodeId("binance", "A';DROP/TABLE--bars", NODE.timeframe)
    await store.write_bars(odd, table(random_walk(START, START + 60)), [], recorded_at=5.0)
    assert (await store.load_bars(odd, Segment(START, START + 600))).num_rows == 1
    await store.close()


async def test_the_ledger_keeps_every_fact_in_order(tmp_path: Path) -> None:
    store = SqliteHotStore(tmp_path / "hot.sqlite")
    facts = [
        Fact(START, START + 60, "missing", "not sent", 5.0, 1, 9.0),
        Fact(START, START + 60, "no_trades", "bars on both sides", 6.0),
    ]
    await store.write_bars(NODE, empty_bars(), facts[:1], recorded_at=5.0)
    await store.write_bars(NODE, empty_bars(), facts[1:], recorded_at=5.0)
    assert facts_of(await store.load_facts(NODE, Segment(START, START + 1))) == facts
    assert facts_of(await store.load_facts(NODE, Segment(START + 60, START + 120))) == []
    await store.close()


async def test_bars_and_facts_are_kept_together_or_not_at_all(tmp_path: Path) -> None:
    store = SqliteHotStore(tmp_path / "hot.sqlite")
    bad = Fact(START, START + 60, None, "", 1.0)  # type: ignore[arg-type]
    with pytest.raises(HotStoreError, match="NOT NULL"):
        await store.write_bars(NODE, table(random_walk(START, START + 60)), [bad], recorded_at=5.0)
    assert (await store.load_bars(NODE, Segment(START, START + 60))).num_rows == 0
    await store.close()


async def test_a_damaged_file_is_a_typed_error(tmp_path: Path) -> None:
    path = tmp_path / "hot.sqlite"
    path.write_bytes(b"this is no database, whatever its name says" * 100)
    with pytest.raises(HotStoreError, match=r"hot\.sqlite.*move it away.*seamless backfill"):
        await SqliteHotStore(path).load_bars(NODE, Segment(START, START + 60))


async def test_pages_that_were_spoiled_are_reported_by_a_look_and_by_a_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, window = tmp_path / "hot.sqlite", Segment(START, START + 600_000)
    store = SqliteHotStore(path)
    await store.write_bars(NODE, table(random_walk(*window)), [], recorded_at=5.0)
    assert (await store.status()).kind.startswith("SQLite")
    await store.close()
    payload = bytearray(path.read_bytes())
    half = len(payload) // 2 // 4096 * 4096
    payload[half:] = bytes(255 - byte for byte in payload[half:])
    path.write_bytes(payload)
    store = SqliteHotStore(path)
    for look in (store.status(), store.load_bars(NODE, window)):
        with pytest.raises(HotStoreError, match=r"move it away.*seamless backfill"):
            await look
    monkeypatch.setattr("seamless_assets.adapters.sqlite.store.LOOK_BYTES", len(payload) - 1)
    assert "too large to be looked at" in (await store.status()).lag
    await store.close()


async def test_a_file_that_cannot_be_opened_is_not_called_damaged(tmp_path: Path) -> None:
    (tmp_path / "hot.sqlite").mkdir()
    with pytest.raises(HotStoreError, match="the disk has room"):
        await SqliteHotStore(tmp_path / "hot.sqlite").status()


WRITER = """
import asyncio, sys
from pathlib import Path
from seamless_assets.adapters.sqlite.store import SqliteHotStore
from seamless_assets.core.node import NodeId
sys.path.insert(0, sys.argv[3])
from test_sqlite import table
from seamless_assets.testing import START, random_walk

async def main():
    store = SqliteHotStore(Path(sys.argv[1]))
    node = NodeId.parse("ohlcv:binance:BTC/USDT:1m")
    first = START + int(sys.argv[2]) * 6000
    for n in range(20):
        bars = random_walk(first + n * 300, first + (n + 1) * 300)
        await store.write_bars(node, table(bars), [], recorded_at=5.0)
    await store.close()

asyncio.run(main())
"""


async def test_many_processes_write_at_once_and_lose_nothing(tmp_path: Path) -> None:
    path = tmp_path / "hot.sqlite"
    here = Path(__file__).parent
    running = [
        await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            WRITER,
            str(path),
            str(n),
            str(here),
            stderr=subprocess.PIPE,
            env={"PYTHONPATH": f"{here.parents[1]}:{here.parents[2]}"},
        )
        for n in range(4)
    ]
    for process in running:
        _, errors = await process.communicate()
        assert process.returncode == 0, errors.decode()
    store = SqliteHotStore(path)
    assert (await store.load_bars(NODE, Segment(START, START + 24_000))).num_rows == 400
    await store.close()
