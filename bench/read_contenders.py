"""Readers of released bars and of ArcticDB, one to a process: reads a task a line, answers a number.

    python bench/read_contenders.py NAME FOLDER

`load` writes a year of one node and ten days of 49 others. Other tasks answer seconds, `crowd` reads a second
of 200 readers at once, `latencies` the seconds of one such read at p50 and p99, `overrun` how many
milliseconds after its deadline a read returns, at p50 and p99, by what hangs.
"""

from __future__ import annotations

import asyncio
import json
import logging
import random
import shutil
import signal
import sys
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

START = 1_577_836_800
"""2020-01-01"""
DAY = 86_400
YEAR_DAYS, OTHER_DAYS, NODES = 365, 10, 50
READERS, READS = 200, 3
DEADLINE_MS, HANGS = 250.0, 20
REPEATS = 20
"""Of a task that is too short to be timed by itself."""


def frame(days: int, seed: int) -> pd.DataFrame:
    """Gapless one-minute bars, `ts` in epoch seconds; prices in cents, volumes of five decimals."""
    dice = np.random.default_rng(seed)
    rows = days * 1440
    close = np.round(30_000 * np.exp(dice.normal(scale=6e-4, size=rows).cumsum()), 2)
    opened = np.append(close[0], close[:-1])
    high = np.maximum(opened, close) + np.round(np.abs(dice.normal(scale=9, size=rows)), 2)
    low = np.minimum(opened, close) - np.round(np.abs(dice.normal(scale=9, size=rows)), 2)
    volume = np.round(dice.exponential(20.0, rows), 5)
    prices = {"open": opened, "high": np.round(high, 2), "low": np.round(low, 2), "close": close}
    return pd.DataFrame({"ts": START + 60 * np.arange(rows), **prices, "volume": volume})


def frames() -> list[pd.DataFrame]:
    """Those of every node, the first of a whole year."""
    return [frame(YEAR_DAYS if number == 0 else OTHER_DAYS, number) for number in range(NODES)]


def node_id(number: int) -> str:
    """The node that a frame belongs to."""
    return f"ohlcv:binance:N{number}/USDT:1m"


class Arctic:
    """ArcticDB on a folder (LMDB)."""

    def __init__(self, folder: Path) -> None:
        import arcticdb

        store = arcticdb.Arctic(f"lmdb://{folder / 'arctic'}?map_size=4GB")
        self.library = store.get_library("bars", create_if_missing=True)
        self.pool = ThreadPoolExecutor()

    def load(self) -> None:
        for number, bars in enumerate(frames()):
            index = pd.DatetimeIndex((bars["ts"].to_numpy() * 10**9).astype("datetime64[ns]"), name="ts")
            self.library.write(node_id(number), bars.drop(columns="ts").set_index(index))

    def read(self, number: int, first: int, days: int) -> pd.DataFrame:
        start = pd.Timestamp(START + first * DAY, unit="s")
        bounds = (start, start + pd.Timedelta(days=days) - pd.Timedelta(seconds=1))
        return self.library.read(node_id(number), date_range=bounds).data

    def day(self) -> None:
        assert len(self.read(0, 100, 1)) == 1440

    def year(self) -> None:
        assert len(self.read(0, 0, YEAR_DAYS)) == YEAR_DAYS * 1440

    async def read_aside(self, number: int, first: int) -> None:
        await asyncio.get_running_loop().run_in_executor(self.pool, self.read, number, first, 1)


class Ours:
    """A pipeline over released artifacts, as users open it."""

    def __init__(self, folder: Path) -> None:
        import seamless_assets as sa

        sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "seamless_assets_tests"))
        # Reads are held on purpose, which is logged each time.
        logging.getLogger("seamless_assets").setLevel(logging.CRITICAL)
        self.sa, self.folder = sa, folder
        self.file = folder / "seamless.yaml"
        symbols = [node_id(number).split(":")[2] for number in range(NODES)]
        declared = {
            "seamless": {"artifact": {"object_store_uri": "./artifacts"}},
            # Every node's day, and more than one; and the year.
            "cache": {"max_shards": 4_096, "ttl_ms": 600_000},
            "exchanges": {"binance": {"symbols": symbols, "timeframes": ["1m"], "start": START}},
        }
        self.file.write_text(json.dumps(declared))
        self.pipeline = sa.connect(str(self.file))

    def load(self) -> dict[str, Any]:
        import pyarrow.parquet as pq

        asyncio.run(self._release())
        year = self.read(0, 0, YEAR_DAYS).to_arrow()
        pq.write_table(year, self.folder / "one.parquet", compression="zstd")
        self.as_of = self.pipeline.releases(node_id(0))[-1].as_of
        pq.write_table(self.read(0, 100, 1).to_arrow(), self.folder / "day.parquet", compression="zstd")
        return {
            "settings": str(self.file),
            "file": str(self.folder / "day.parquet"),
            "read": [node_id(0), START + 100 * DAY, START + 101 * DAY],
        }

    async def _release(self) -> None:
        import pyarrow as pa
        from artifact_speed import bare_ports, opened, released

        from seamless_assets.adapters.sqlite.store import SqliteHotStore
        from seamless_assets.core.bars.table import BARS_SCHEMA
        from seamless_assets.core.calendar.partition import partition_of_key
        from seamless_assets.core.node import NodeId
        from seamless_assets.core.releases.log import ReleaseLog
        from seamless_assets.flows.releasing.publish import seal

        hot = SqliteHotStore(self.folder / "loading.sqlite")
        store = opened(self.folder)
        ports = bare_ports(store, hot)
        for number, bars in enumerate(frames()):
            node, log = NodeId.parse(node_id(number)), ReleaseLog(node_id(number))
            table = pa.Table.from_pandas(bars, BARS_SCHEMA, preserve_index=False)
            await hot.write_bars(node, table, [], recorded_at=0.0)
            refs = []
            for day in range(len(bars) // 1440):
                key = time.strftime("%Y-%m-%d", time.gmtime(START + day * DAY))
                sealed = await seal(ports, node, partition_of_key(node.timeframe, "day", key), time.time())
                assert sealed is not None
                refs.append(sealed.ref)
            await store.append_release(node, released(log, added=refs))
        await hot.close()

    def read(self, number: int, first: int, days: int, **more: Any) -> Any:
        start = START + first * DAY
        return self.pipeline.read(node_id(number), start, start + days * DAY, **more)

    def context(self, **more: Any) -> Any:
        return self.sa.ComputeContext(domain="backtest", as_of=self.as_of, **more)

    def day_arrow(self) -> None:
        assert self.read(0, 100, 1).to_arrow().num_rows == 1440

    def day_pandas(self) -> None:
        assert len(self.read(0, 100, 1).to_pandas()) == 1440

    def year_arrow(self) -> None:
        assert self.read(0, 0, YEAR_DAYS).to_arrow().num_rows == YEAR_DAYS * 1440

    def year_pandas(self) -> None:
        assert len(self.read(0, 0, YEAR_DAYS).to_pandas()) == YEAR_DAYS * 1440

    def live(self, max_lag: float = 1e12, verdict: str = "PASS") -> None:
        context = self.sa.ComputeContext(domain="live", max_lag=max_lag)
        result = self.read(0, 100, 1, context=context, strategy="FAIL_FAST", sla="baseline")
        assert result.metadata.verdict == verdict

    def held(self) -> None:
        self.live(max_lag=1.0, verdict="HOLD")

    def refused(self) -> None:
        try:
            self.read(0, YEAR_DAYS, 1, context=self.context())
        except self.sa.SeamlessError:
            return
        raise AssertionError("a window that is not released was served")

    async def read_aside(self, number: int, first: int) -> None:
        start = START + first * DAY
        await self.pipeline.aio.read(node_id(number), start, start + DAY)

    def overrun(self) -> dict[str, list[float]]:
        """Reads whose exchange, lease store or hot store hangs."""
        from seamless_assets.sandbox.faults import Fault
        from seamless_assets.sandbox.server import Sandbox

        found: dict[str, list[float]] = {}
        with Sandbox(now=START + YEAR_DAYS * DAY).running() as exchange:
            exchange.faults.add(Fault("hang", times=None))
            found["the exchange hangs"] = self._late(exchange.url, {}, {}, lambda: None)
        with Sandbox(now=START + YEAR_DAYS * DAY).running() as exchange:
            if program := shutil.which("redis-server"):
                from support.services import RedisServer

                redis = RedisServer(program, self.folder / "redis")
                redis.start()
                shared = {"coordinator_url": redis.url, "rate_limiter_redis": redis.url}
                stop = lambda: redis.signal(signal.SIGSTOP)  # noqa: E731
                found["Redis hangs"] = self._late(exchange.url, shared, {}, stop)
                redis.kill()
            if (jar := Path(sys.prefix) / "services" / "questdb-9.3.4.jar").exists():
                from support.services import QuestDbServer

                server = QuestDbServer(jar, self.folder / "questdb")
                server.start()
                hot = {"dsn": f"questdb://127.0.0.1:{server.http_port}", "pg_port": server.pg_port}
                found["QuestDB hangs"] = self._late(exchange.url, {}, hot, server.hang)
                server.kill()
        return found

    def _late(
        self, url: str, environment: dict[str, str], hot: dict[str, Any], stop: Callable[[], None]
    ) -> list[float]:
        from seamless_assets.config.load import settings_from_mapping

        folder = self.folder / f"late-{time.monotonic_ns()}"
        declared = {
            "seamless": {
                "artifact": {"object_store_uri": "./artifacts"},
                "hot_store": hot or {"dsn": "sqlite:///./hot.sqlite"},
                "state_dir": "./state",
            },
            "exchanges": {"binance": {"base_url": url, "symbols": ["BTC/USDT"], "start": START}},
            "environment": environment,
        }
        context = self.sa.ComputeContext(domain="live", max_lag=1e12)
        sla = {"max_wait_backfill_ms": DEADLINE_MS, "total_deadline_ms": DEADLINE_MS, "on_violation": "HOLD"}
        late = []
        with self.sa.connect(settings_from_mapping(declared, base=folder, environ={})) as pipeline:
            for number in range(HANGS + 1):
                start = START + number * 3_600
                began = time.perf_counter()
                pipeline.read(
                    *("ohlcv:binance:BTC/USDT:1m", start, start + 3_600),
                    context=context,
                    strategy="AUTO_BACKFILL",
                    sla=sla,
                )
                late.append((time.perf_counter() - began) * 1000 - DEADLINE_MS)
                if number == 0:
                    # The first one opens everything; it is not counted.
                    stop()
        return percentiles(late[1:])


def percentiles(values: list[float]) -> list[float]:
    """p50 and p99."""
    return [float(np.percentile(values, 50)), float(np.percentile(values, 99))]


async def crowd(read: Callable[[int, int], Awaitable[None]]) -> list[float]:
    """Seconds of each read of all readers."""
    dice, took = random.Random(3), []
    wanted = [
        [(dice.randrange(NODES), dice.randrange(OTHER_DAYS)) for _ in range(READS)] for _ in range(READERS)
    ]

    async def reader(reads: list[tuple[int, int]]) -> None:
        for number, first in reads:
            began = time.perf_counter()
            await read(number, first)
            took.append(time.perf_counter() - began)

    await asyncio.gather(*(reader(reads) for reads in wanted))
    return took


def answer(contender: Any, task: str) -> Any:
    """What a task comes to."""
    if task == "latencies":
        return percentiles(asyncio.run(crowd(contender.read_aside)))
    call = getattr(contender, task.replace(" ", "_"), None)
    if task in ("load", "overrun"):
        return call() if call else None
    began = time.perf_counter()
    if task == "crowd":
        reads = len(asyncio.run(crowd(contender.read_aside)))
        return reads / (time.perf_counter() - began)
    repeats = 3 if task.startswith("year") else REPEATS
    for _ in range(repeats):
        call()
    return (time.perf_counter() - began) / repeats


def main() -> None:
    """Answer tasks until the input ends."""
    name, folder = sys.argv[1], Path(sys.argv[2])
    contender = Ours(folder) if name == "ours" else Arctic(folder)
    for task in map(str.strip, sys.stdin):
        print(json.dumps(answer(contender, task)), flush=True)


if __name__ == "__main__":
    main()
