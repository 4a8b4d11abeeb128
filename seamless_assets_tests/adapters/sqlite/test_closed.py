"""What is asked of a store that gives nothing any more: told at once, in kind, and not asked for ever."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT

from seamless_assets.adapters.sqlite.store import SqliteHotStore
from seamless_assets.core.bars.table import empty_bars
from seamless_assets.core.calendar.segment import Segment
from seamless_assets.core.node import NodeId
from seamless_assets.errors import HotStoreClosed, HotStoreError
from seamless_assets.flows.live.passing import is_passing
from seamless_assets.testing import START

NODE = NodeId.parse("ohlcv:binance:BTC/USDT:1m")


async def test_a_store_that_was_closed_is_neither_read_nor_written(tmp_path: Path) -> None:
    """Else a connection would be opened that nobody closes."""
    store = SqliteHotStore(tmp_path / "hot.sqlite")
    await store.close()
    for window in (Segment(START, START + 3600), Segment(START, START + 10**7)):
        with pytest.raises(HotStoreClosed, match="was closed before this was read"):
            await store.load_bars(NODE, window)
    with pytest.raises(HotStoreClosed, match="was closed before this was written"):
        await store.write_bars(NODE, empty_bars(), [], recorded_at=1.0)


def test_a_closed_store_is_no_outage_that_passes() -> None:
    assert is_passing(HotStoreError("away")) and not is_passing(HotStoreClosed("closed"))


ENDING = """
import asyncio, atexit, gc, threading
from pathlib import Path
from seamless_assets.adapters.sqlite.store import SqliteHotStore
from seamless_assets.core.bars.table import empty_bars
from seamless_assets.core.calendar.segment import Segment
from seamless_assets.core.node import NodeId
from seamless_assets.errors import HotStoreClosed

loop, store = asyncio.new_event_loop(), SqliteHotStore(Path("hot.sqlite"))
threading.Thread(target=loop.run_forever, daemon=True).start()
node = NodeId.parse("ohlcv:binance:BTC/USDT:1m")
asks = (
    lambda: store.load_bars(node, Segment(0, 3600)),
    lambda: store.load_bars(node, Segment(0, 10**7)),
    lambda: store.write_bars(node, empty_bars(), [], recorded_at=1.0),
)
answer = lambda work: asyncio.run_coroutine_threadsafe(work, loop).result(20)

def end():
    for ask in asks:
        try:
            answer(ask())
        except HotStoreClosed as error:
            print("told:", error)
    answer(store.close())
    gc.collect()

atexit.register(end)
for ask in asks:
    answer(ask())
"""


def test_who_asks_a_store_as_the_process_ends_is_told_so(tmp_path: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", ENDING],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    told = ended.stdout.splitlines()
    assert len(told) == 3 and all(
        line.startswith("told: hot store hot.sqlite cannot be asked") for line in told
    )
    assert all("as the process ends" in line and "close the pipeline" in line for line in told)
    assert (ended.returncode, ended.stderr) == (0, "")
