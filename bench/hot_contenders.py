"""Hot stores and their barest peers, one to a process: reads a task a line, answers its seconds.

    python bench/hot_contenders.py NAME FOLDER [HTTP_PORT PG_PORT]

Tasks: `load` (ten years, untimed by the caller), `write`, `read`, `day`, `coverage`, `memory` (peak MiB).
"""

from __future__ import annotations

import asyncio
import io
import json
import resource
import sqlite3
import sys
import time
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

START = 1_420_070_400
"""2015-01-01"""
MILLION = 1_000_000
TEN_YEARS = 5_260_320
DAY = 86_400
DAYS = range(START + 5 * 365 * DAY, START + 6 * 365 * DAY, 18 * DAY)
"""Days out of the middle of the ten years; the task is one of them."""


def bars(rows: int, seed: int) -> pd.DataFrame:
    """Gapless one-minute bars, `ts` in epoch seconds."""
    random = np.random.default_rng(seed)
    close = 100 + random.normal(size=rows).cumsum() / 100
    frame = {"ts": START + 60 * np.arange(rows), "open": close, "high": close + 1, "low": close - 1}
    return pd.DataFrame({**frame, "close": close, "volume": random.random(rows)})


def node_id(name: str) -> str:
    """The node that a series is kept under."""
    return f"ohlcv:binance:{name}/USDT:1m"


class Ours:
    """A hot store of the project, as the flows use it."""

    def __init__(self, store: Any) -> None:
        import pyarrow as pa

        from seamless_assets.core.bars.table import BARS_SCHEMA
        from seamless_assets.core.calendar.segment import Segment
        from seamless_assets.core.node import NodeId

        self.run, self.store = asyncio.Runner().run, store
        self.node, self.segment = NodeId.parse, Segment
        self.table = lambda frame: pa.Table.from_pandas(frame, BARS_SCHEMA, preserve_index=False)

    def write(self, name: str, frame: pd.DataFrame) -> None:
        table, node = self.table(frame), self.node(node_id(name))
        self.run(self.store.write_bars(node, table, [], recorded_at=1.0))

    def read(self, name: str, start: int, end: int) -> Any:
        return self.run(self.store.load_bars(self.node(node_id(name)), self.segment(start, end)))

    def days(self, name: str) -> None:
        node = self.node(node_id(name))

        async def each() -> None:
            for day in DAYS:
                await self.store.load_bars(node, self.segment(day, day + DAY))

        self.run(each())

    def coverage(self, name: str) -> Any:
        from seamless_assets.core.coverage.coverage import coverage_of

        node = self.node(node_id(name))
        window = self.segment(START, START + 60 * TEN_YEARS)
        opens = self.run(self.store.load_opens(node, window))
        return coverage_of(node.timeframe, window, opens, [])


class BareSqlite:
    """sqlite3 alone: one row a bar."""

    def __init__(self, folder: Path) -> None:
        self.db = sqlite3.connect(folder / "bare.sqlite")
        self.db.execute("PRAGMA journal_mode = WAL")
        self.db.execute("PRAGMA synchronous = NORMAL")
        self.db.execute(
            "CREATE TABLE bars (node TEXT, ts INTEGER, o REAL, h REAL, l REAL, c REAL, v REAL, "
            "PRIMARY KEY (node, ts)) WITHOUT ROWID"
        )

    def write(self, name: str, frame: pd.DataFrame) -> None:
        columns = [frame[column].tolist() for column in frame]
        with self.db:
            rows = zip([name] * len(frame), *columns, strict=True)
            self.db.executemany("INSERT OR REPLACE INTO bars VALUES (?, ?, ?, ?, ?, ?, ?)", rows)

    def read(self, name: str, start: int, end: int) -> Any:
        import pyarrow as pa

        query = "SELECT ts, o, h, l, c, v FROM bars WHERE node = ? AND ts >= ? AND ts < ? ORDER BY ts"
        rows = self.db.execute(query, (name, start, end)).fetchall()
        return pa.table([pa.array(column) for column in zip(*rows, strict=True)], names=list("tohlcv"))

    def coverage(self, name: str) -> Any:
        rows = self.db.execute("SELECT ts FROM bars WHERE node = ? ORDER BY ts", (name,))
        return np.flatnonzero(np.diff(np.fromiter((ts for (ts,) in rows), dtype=np.int64)) != 60)


class BareQuestDb:
    """questdb.Sender, /exp and psycopg alone, on a table like ours."""

    def __init__(self, http_port: int, pg_port: int) -> None:
        import psycopg
        import questdb

        self.place = f"http://127.0.0.1:{http_port}"
        self.sender = questdb.Sender.from_conf(f"http::addr=127.0.0.1:{http_port};auto_flush_rows=50000;")
        self.sender.establish()
        self.get(
            "exec",
            query="CREATE TABLE bare (ts TIMESTAMP, node SYMBOL, token LONG, recorded_at DOUBLE, "
            "open DOUBLE, high DOUBLE, low DOUBLE, close DOUBLE, volume DOUBLE, version LONG) TIMESTAMP(ts) "
            "PARTITION BY WEEK WAL DEDUP UPSERT KEYS(ts, node, token, version, recorded_at)",
        )
        self.pg = psycopg.connect(
            f"host=127.0.0.1 port={pg_port} user=admin password=quest dbname=qdb", autocommit=True
        )

    def get(self, path: str, **query: str) -> bytes:
        with urllib.request.urlopen(f"{self.place}/{path}?{urllib.parse.urlencode(query)}") as answer:
            body: bytes = answer.read()
            return body

    def write(self, name: str, frame: pd.DataFrame) -> None:
        node = pd.Categorical.from_codes(np.zeros(len(frame), dtype="int8"), [node_id(name)])
        sent = frame.assign(node=node, token=1_000_000, recorded_at=1.0, version=1)
        sent["ts"] = (sent["ts"].to_numpy() * 1_000_000).astype("datetime64[us]")
        self.sender.dataframe(sent, table_name="bare", symbols=["node"], at="ts")
        self.sender.flush()
        progress = "SELECT writerTxn, sequencerTxn FROM wal_tables() WHERE name = 'bare'"
        while True:
            ((applied, written),) = json.loads(self.get("exec", query=progress))["dataset"]
            if applied >= written:
                return
            time.sleep(0.002)

    def read(self, name: str, start: int, end: int) -> Any:
        import pyarrow as pa
        import pyarrow.parquet as pq

        if end - start > DAY:
            query = (
                f"SELECT ts, open, high, low, close, volume FROM bare WHERE node = '{node_id(name)}' "
                f"AND ts >= {start * 1_000_000} AND ts < {end * 1_000_000} ORDER BY ts"
            )
            return pq.read_table(io.BytesIO(self.get("exp", query=query, fmt="parquet")))
        cursor = self.pg.cursor(binary=True)
        cursor.execute(
            "SELECT cast(ts AS LONG), open, high, low, close, volume FROM bare "
            "WHERE node = %s AND ts >= %s AND ts < %s ORDER BY ts",
            (node_id(name), *(pd.Timestamp(at, unit="s").to_pydatetime() for at in (start, end))),
            prepare=True,
        )
        return pa.table([pa.array(column) for column in zip(*cursor.fetchall(), strict=True)], list("tohlcv"))

    def coverage(self, name: str) -> Any:
        import pyarrow.parquet as pq

        query = f"SELECT ts FROM bare WHERE node = '{node_id(name)}' ORDER BY ts"
        table = pq.read_table(io.BytesIO(self.get("exp", query=query, fmt="parquet")))
        return np.flatnonzero(np.diff(table["ts"].to_numpy().astype("int64")) != 60_000_000)


class Arctic:
    """ArcticDB on a folder (LMDB)."""

    def __init__(self, folder: Path) -> None:
        import arcticdb

        store = arcticdb.Arctic(f"lmdb://{folder / 'arctic'}?map_size=8GB")
        self.library = store.get_library("bars", create_if_missing=True)

    def write(self, name: str, frame: pd.DataFrame) -> None:
        index = pd.DatetimeIndex((frame["ts"].to_numpy() * 10**9).astype("datetime64[ns]"), name="ts")
        self.library.write(name, frame.drop(columns="ts").set_index(index))

    def read(self, name: str, start: int, end: int) -> Any:
        bounds = (pd.Timestamp(start, unit="s"), pd.Timestamp(end - 1, unit="s"))
        return self.library.read(name, date_range=bounds).data

    def coverage(self, name: str) -> Any:
        index = self.library.read(name, columns=["volume"]).data.index
        return np.flatnonzero(np.diff(index.to_numpy().astype("int64")) != 60 * 10**9)


def contender(name: str, folder: Path, ports: list[int]) -> Any:
    """The contender of a name, its imports done."""
    if name == "ours on SQLite":
        from seamless_assets.adapters.sqlite.store import SqliteHotStore

        return Ours(SqliteHotStore(folder / "hot.sqlite"))
    if name == "ours on QuestDB":
        from seamless_assets.adapters.questdb.address import QuestDbAddress
        from seamless_assets.adapters.questdb.store import QuestDbHotStore

        return Ours(QuestDbHotStore(QuestDbAddress("127.0.0.1", *ports)))
    peers = {
        "bare sqlite3": lambda: BareSqlite(folder),
        "bare QuestDB calls": lambda: BareQuestDb(*ports),
        "ArcticDB": lambda: Arctic(folder),
    }
    return peers[name]()


def main() -> None:
    """Answer tasks until the input ends."""
    name, folder, *ports = sys.argv[1:]
    store = contender(name, Path(folder), [int(port) for port in ports])
    million = bars(MILLION, 1)
    written = 0
    for task in map(str.strip, sys.stdin):
        began = time.perf_counter()
        if task == "load":
            store.write("LONG", bars(TEN_YEARS, 2))
        elif task == "write":
            written += 1
            store.write(f"M{written}", million)
        elif task == "read":
            store.read("M1", START, START + 60 * MILLION)
        elif task == "day" and isinstance(store, Ours):
            store.days("LONG")
        elif task == "day":
            for day in DAYS:
                store.read("LONG", day, day + DAY)
        elif task == "coverage":
            store.coverage("LONG")
        seconds = (time.perf_counter() - began) / (len(DAYS) if task == "day" else 1)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(peak if task == "memory" else seconds, flush=True)
    if isinstance(store, Ours):
        store.run(store.store.close())


if __name__ == "__main__":
    main()
