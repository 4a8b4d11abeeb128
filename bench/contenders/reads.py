"""Readers of released bars and of ArcticDB: `python -m bench.contenders.reads NAME FOLDER DAYS NODES`.

`load` writes so many days of one node and ten (or as many) of the others. `crowd` is one read of many readers
at once, in seconds, `latencies` its p50 and p99; `late_exchange` and the like tell how many seconds after its
deadline a read returns, at p50 and p99, where that hangs.
"""

from __future__ import annotations

import asyncio
import json
import logging
import random
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bench.measuring.contender import serve_tasks
from bench.worlds.bars import DAY, DAY_BARS, START, indexed, market_bars

READERS, READS = 200, 3
REPEATS = {
    **dict.fromkeys(("day", "day_arrow", "day_pandas", "held", "refused"), 20),
    **dict.fromkeys(("whole", "whole_arrow", "whole_pandas"), 3),
}
"""Of a task that is too short to be timed by itself."""


@dataclass(frozen=True)
class Work:
    """Days of the long node, and how many nodes there are."""

    days: int
    nodes: int

    @property
    def other_days(self) -> int:
        """Days of every other node."""
        return min(10, self.days)

    @property
    def single_day(self) -> int:
        """The day that is read alone."""
        return self.days // 3

    def frames(self) -> list[pd.DataFrame]:
        """The bars of every node, the first of them long."""
        lengths = [self.days, *[self.other_days] * (self.nodes - 1)]
        return [market_bars(days * DAY_BARS, seed) for seed, days in enumerate(lengths)]


def node_id(number: int) -> str:
    """The node that a frame belongs to."""
    return f"ohlcv:binance:N{number}/USDT:1m"


class Reader(ABC):
    """What both have in common: many readers at once."""

    work: Work

    @abstractmethod
    async def read_aside(self, number: int, first: int) -> None:
        """Read a day of a node."""

    def crowd(self) -> float:
        """Seconds that a read of the crowd costs."""
        began = time.perf_counter()
        reads = len(asyncio.run(_crowd(self.work, self.read_aside)))
        return (time.perf_counter() - began) / reads

    def latencies(self) -> list[float]:
        """Seconds that a read of the crowd takes, at p50 and p99."""
        return percentiles(asyncio.run(_crowd(self.work, self.read_aside)))


class Arctic(Reader):
    """ArcticDB on a folder (LMDB)."""

    def __init__(self, folder: Path, work: Work) -> None:
        import arcticdb

        store = arcticdb.Arctic(f"lmdb://{folder / 'arctic'}?map_size=4GB")
        self.library, self.work = store.get_library("bars", create_if_missing=True), work
        self.pool = ThreadPoolExecutor()

    def load(self) -> None:
        for number, bars in enumerate(self.work.frames()):
            self.library.write(node_id(number), indexed(bars))

    def read(self, number: int, first: int, days: int) -> pd.DataFrame:
        start = pd.Timestamp(START + first * DAY, unit="s")
        bounds = (start, start + pd.Timedelta(days=days) - pd.Timedelta(seconds=1))
        return self.library.read(node_id(number), date_range=bounds).data

    def day(self) -> None:
        assert len(self.read(0, self.work.single_day, 1)) == DAY_BARS

    def whole(self) -> None:
        assert len(self.read(0, 0, self.work.days)) == self.work.days * DAY_BARS

    async def read_aside(self, number: int, first: int) -> None:
        await asyncio.get_running_loop().run_in_executor(self.pool, self.read, number, first, 1)


class Ours(Reader):
    """A pipeline over released artifacts, as users open it."""

    def __init__(self, folder: Path, work: Work) -> None:
        import seamless_assets as sa

        # Reads are held on purpose, which is logged each time.
        logging.getLogger("seamless_assets").setLevel(logging.CRITICAL)
        self.sa, self.folder, self.work = sa, folder, work
        self.file = folder / "seamless.yaml"
        symbols = [node_id(number).split(":")[2] for number in range(work.nodes)]
        declared = {
            "seamless": {"artifact": {"object_store_uri": "./artifacts"}},
            # Every node's day, and more than one; and the year.
            "cache": {"max_shards": 4_096, "ttl_ms": 600_000},
            "exchanges": {"binance": {"symbols": symbols, "timeframes": ["1m"], "start": START}},
        }
        self.file.write_text(json.dumps(declared))
        self.pipeline = sa.connect(str(self.file))

    def load(self) -> dict[str, Any]:
        """Release everything; tells where a new process finds it."""
        import pyarrow.parquet as pq

        asyncio.run(self._release())
        self.as_of = self.pipeline.releases(node_id(0))[-1].as_of
        first = self.work.single_day
        pq.write_table(self.read(0, first, 1).to_arrow(), self.folder / "day.parquet", compression="zstd")
        start = START + first * DAY
        return {
            "settings": str(self.file),
            "file": str(self.folder / "day.parquet"),
            "read": [node_id(0), start, start + DAY],
            "whole": [node_id(0), START, START + self.work.days * DAY],
            "files": self._files_of_the_long_node(),
        }

    def _files_of_the_long_node(self) -> list[str]:
        return sorted(map(str, self.folder.glob("artifacts/**/*N0*/**/*.parquet")))

    async def _release(self) -> None:
        from bench.worlds.releases import open_store, release_days, table_of_frame
        from seamless_assets.core.node import NodeId

        store = open_store(self.folder)
        for number, bars in enumerate(self.work.frames()):
            node = NodeId.parse(node_id(number))
            await release_days(store, node, table_of_frame(bars), days_at_once=self.work.days)

    def read(self, number: int, first: int, days: int, **more: Any) -> Any:
        start = START + first * DAY
        return self.pipeline.read(node_id(number), start, start + days * DAY, **more)

    def day_arrow(self) -> None:
        assert self.read(0, self.work.single_day, 1).to_arrow().num_rows == DAY_BARS

    def day_pandas(self) -> None:
        assert len(self.read(0, self.work.single_day, 1).to_pandas()) == DAY_BARS

    def whole_arrow(self) -> None:
        assert self.read(0, 0, self.work.days).to_arrow().num_rows == self.work.days * DAY_BARS

    def whole_pandas(self) -> None:
        assert len(self.read(0, 0, self.work.days).to_pandas()) == self.work.days * DAY_BARS

    def held(self) -> None:
        context = self.sa.ComputeContext(domain="live", max_lag=1.0)
        result = self.read(0, self.work.single_day, 1, context=context, strategy="FAIL_FAST", sla="baseline")
        assert result.metadata.verdict == "HOLD"

    def refused(self) -> None:
        context = self.sa.ComputeContext(domain="backtest", as_of=self.as_of)
        try:
            self.read(0, self.work.days, 1, context=context)
        except self.sa.SeamlessError:
            return
        raise AssertionError("a window that is not released was served")

    async def read_aside(self, number: int, first: int) -> None:
        start = START + first * DAY
        await self.pipeline.aio.read(node_id(number), start, start + DAY)

    def late_exchange(self) -> list[float] | None:
        from bench.worlds.hanging import behind_an_exchange

        return _told(behind_an_exchange(self.folder))

    def late_live(self) -> list[float] | None:
        from bench.worlds.hanging import behind_newest_bars

        return _told(behind_newest_bars(self.folder))

    def late_leases(self) -> list[float] | None:
        from bench.worlds.hanging import behind_leases

        return _told(behind_leases(self.folder))

    def late_redis(self) -> list[float] | None:
        from bench.worlds.hanging import behind_redis

        return _told(behind_redis(self.folder))

    def late_questdb(self) -> list[float] | None:
        from bench.worlds.hanging import behind_questdb

        return _told(behind_questdb(self.folder))


def percentiles(values: list[float]) -> list[float]:
    """p50 and p99."""
    return [float(np.percentile(values, 50)), float(np.percentile(values, 99))]


def _told(late: list[float] | None) -> list[float] | None:
    return None if late is None else percentiles(late)


async def _crowd(work: Work, read: Callable[[int, int], Awaitable[None]]) -> list[float]:
    """Seconds of each read of all readers."""
    dice, took = random.Random(3), []
    wanted = [
        [(dice.randrange(work.nodes), dice.randrange(work.other_days)) for _ in range(READS)]
        for _ in range(READERS)
    ]

    async def reader(reads: list[tuple[int, int]]) -> None:
        for number, first in reads:
            began = time.perf_counter()
            await read(number, first)
            took.append(time.perf_counter() - began)

    await asyncio.gather(*(reader(reads) for reads in wanted))
    return took


def main() -> None:
    """Answer tasks until the input ends."""
    name, folder, days, nodes = sys.argv[1:]
    work = Work(int(days), int(nodes))
    contender = Ours(Path(folder), work) if name == "ours" else Arctic(Path(folder), work)
    serve_tasks(contender, REPEATS)


if __name__ == "__main__":
    main()
