"""Hot stores and their barest peers.

    python -m bench.contenders.hot NAME FOLDER ROWS YEARS [HTTP_PORT PG_PORT]

Tasks: `load` (so many years, and what `read` reads), `write` and `read` (so many rows), `days` (20 single
ones), `coverage`.
"""

from __future__ import annotations

import asyncio
import io
import json
import sqlite3
import sys
import time
import urllib.parse
import urllib.request
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bench.measuring.contender import serve_tasks
from bench.worlds.bars import DAY, LONG_START, MINUTE, YEAR_BARS, indexed, market_bars

DAYS = 20


@dataclass(frozen=True)
class Work:
    """How much to do: bars of what is written and read, and of the long series."""

    rows: int
    long_rows: int

    @property
    def days(self) -> range:
        """The opens of single days, spread over the long series."""
        step = max(1, self.long_rows * MINUTE // DAY // DAYS) * DAY
        return range(LONG_START, LONG_START + self.long_rows * MINUTE // DAY * DAY, step)[:DAYS]


class Store(ABC):
    """A contender; what it stands on is written and read by `put`, `get` and `opens`."""

    def __init__(self, work: Work) -> None:
        self.work, self.written = work, 0
        self.bars = market_bars(work.rows, 1, LONG_START)

    def load(self) -> None:
        self.put("LONG", market_bars(self.work.long_rows, 2, LONG_START))
        self.write()

    def write(self) -> None:
        self.written += 1
        self.put(f"M{self.written}", self.bars)

    def read(self) -> None:
        found = self.get("M1", LONG_START, LONG_START + MINUTE * self.work.rows)
        assert len(found) == self.work.rows, f"{len(found)} bars were read"

    def days(self) -> None:
        for day in self.work.days:
            self.get("LONG", day, day + DAY)

    @abstractmethod
    def put(self, name: str, frame: pd.DataFrame) -> None:
        """Write a series under a name."""

    @abstractmethod
    def get(self, name: str, start: int, end: int) -> Any:
        """The bars of a series from one open to another."""

    @abstractmethod
    def coverage(self) -> None:
        """Find the gaps of the long series."""


def node_id(name: str) -> str:
    """The node that a series is kept under."""
    return f"ohlcv:binance:{name}/USDT:1m"


class Ours(Store):
    """A hot store of the project, as the flows use it."""

    def __init__(self, work: Work, store: Any) -> None:
        super().__init__(work)
        from seamless_assets.core.calendar.segment import Segment
        from seamless_assets.core.node import NodeId

        self.run, self.store = asyncio.Runner().run, store
        self.node, self.segment = NodeId.parse, Segment

    def put(self, name: str, frame: pd.DataFrame) -> None:
        from bench.worlds.releases import table_of_frame

        self.run(self.store.write_bars(self.node(node_id(name)), table_of_frame(frame), [], recorded_at=1.0))

    def get(self, name: str, start: int, end: int) -> Any:
        return self.run(self.store.load_bars(self.node(node_id(name)), self.segment(start, end)))

    def days(self) -> None:
        node = self.node(node_id("LONG"))

        async def each() -> None:
            for day in self.work.days:
                await self.store.load_bars(node, self.segment(day, day + DAY))

        self.run(each())

    def coverage(self) -> None:
        from seamless_assets.core.coverage.coverage import coverage_of

        node = self.node(node_id("LONG"))
        window = self.segment(LONG_START, LONG_START + MINUTE * self.work.long_rows)
        opens = self.run(self.store.load_opens(node, window))
        coverage_of(node.timeframe, window, opens, [])


class BareSqlite(Store):
    """sqlite3 alone: one row a bar."""

    def __init__(self, work: Work, folder: Path) -> None:
        super().__init__(work)
        self.db = sqlite3.connect(folder / "bare.sqlite")
        self.db.execute("PRAGMA journal_mode = WAL")
        self.db.execute("PRAGMA synchronous = NORMAL")
        self.db.execute(
            "CREATE TABLE bars (node TEXT, ts INTEGER, o REAL, h REAL, l REAL, c REAL, v REAL, "
            "PRIMARY KEY (node, ts)) WITHOUT ROWID"
        )

    def put(self, name: str, frame: pd.DataFrame) -> None:
        columns = [frame[column].tolist() for column in frame]
        with self.db:
            rows = zip([name] * len(frame), *columns, strict=True)
            self.db.executemany("INSERT OR REPLACE INTO bars VALUES (?, ?, ?, ?, ?, ?, ?)", rows)

    def get(self, name: str, start: int, end: int) -> Any:
        import pyarrow as pa

        query = "SELECT ts, o, h, l, c, v FROM bars WHERE node = ? AND ts >= ? AND ts < ? ORDER BY ts"
        rows = self.db.execute(query, (name, start, end)).fetchall()
        return pa.table([pa.array(column) for column in zip(*rows, strict=True)], names=list("tohlcv"))

    def coverage(self) -> None:
        rows = self.db.execute("SELECT ts FROM bars WHERE node = 'LONG' ORDER BY ts")
        np.flatnonzero(np.diff(np.fromiter((ts for (ts,) in rows), dtype=np.int64)) != MINUTE)


class BareQuestDb(Store):
    """questdb.Sender, /exp and psycopg alone, on a table like ours."""

    def __init__(self, work: Work, http_port: int, pg_port: int) -> None:
        super().__init__(work)
        import psycopg
        import questdb

        self.place = f"http://127.0.0.1:{http_port}"
        self.sender = questdb.Sender.from_conf(f"http::addr=127.0.0.1:{http_port};auto_flush_rows=50000;")
        self.sender.establish()
        self.ask(
            "exec",
            query="CREATE TABLE bare (ts TIMESTAMP, node SYMBOL, token LONG, recorded_at DOUBLE, "
            "open DOUBLE, high DOUBLE, low DOUBLE, close DOUBLE, volume DOUBLE, version LONG) TIMESTAMP(ts) "
            "PARTITION BY WEEK WAL DEDUP UPSERT KEYS(ts, node, token, version, recorded_at)",
        )
        self.pg = psycopg.connect(
            f"host=127.0.0.1 port={pg_port} user=admin password=quest dbname=qdb", autocommit=True
        )

    def ask(self, path: str, **query: str) -> bytes:
        with urllib.request.urlopen(f"{self.place}/{path}?{urllib.parse.urlencode(query)}") as answer:
            body: bytes = answer.read()
            return body

    def put(self, name: str, frame: pd.DataFrame) -> None:
        node = pd.Categorical.from_codes(np.zeros(len(frame), dtype="int8"), [node_id(name)])
        sent = frame.assign(node=node, token=1_000_000, recorded_at=1.0, version=1)
        sent["ts"] = (sent["ts"].to_numpy() * 1_000_000).astype("datetime64[us]")
        self.sender.dataframe(sent, table_name="bare", symbols=["node"], at="ts")
        self.sender.flush()
        progress = "SELECT writerTxn, sequencerTxn FROM wal_tables() WHERE name = 'bare'"
        while True:
            ((applied, written),) = json.loads(self.ask("exec", query=progress))["dataset"]
            if applied >= written:
                return
            time.sleep(0.002)

    def get(self, name: str, start: int, end: int) -> Any:
        import pyarrow as pa
        import pyarrow.parquet as pq

        if end - start > DAY:
            query = (
                f"SELECT ts, open, high, low, close, volume FROM bare WHERE node = '{node_id(name)}' "
                f"AND ts >= {start * 1_000_000} AND ts < {end * 1_000_000} ORDER BY ts"
            )
            return pq.read_table(io.BytesIO(self.ask("exp", query=query, fmt="parquet")))
        cursor = self.pg.cursor(binary=True)
        cursor.execute(
            "SELECT cast(ts AS LONG), open, high, low, close, volume FROM bare "
            "WHERE node = %s AND ts >= %s AND ts < %s ORDER BY ts",
            (node_id(name), *(pd.Timestamp(at, unit="s").to_pydatetime() for at in (start, end))),
            prepare=True,
        )
        return pa.table([pa.array(column) for column in zip(*cursor.fetchall(), strict=True)], list("tohlcv"))

    def coverage(self) -> None:
        import pyarrow.parquet as pq

        query = f"SELECT ts FROM bare WHERE node = '{node_id('LONG')}' ORDER BY ts"
        table = pq.read_table(io.BytesIO(self.ask("exp", query=query, fmt="parquet")))
        np.flatnonzero(np.diff(table["ts"].to_numpy().astype("int64")) != MINUTE * 1_000_000)


class Arctic(Store):
    """ArcticDB on a folder (LMDB)."""

    def __init__(self, work: Work, folder: Path) -> None:
        super().__init__(work)
        import arcticdb

        store = arcticdb.Arctic(f"lmdb://{folder / 'arctic'}?map_size=8GB")
        self.library = store.get_library("bars", create_if_missing=True)

    def put(self, name: str, frame: pd.DataFrame) -> None:
        self.library.write(name, indexed(frame))

    def get(self, name: str, start: int, end: int) -> Any:
        bounds = (pd.Timestamp(start, unit="s"), pd.Timestamp(end - 1, unit="s"))
        return self.library.read(name, date_range=bounds).data

    def coverage(self) -> None:
        index = self.library.read("LONG", columns=["volume"]).data.index
        np.flatnonzero(np.diff(index.to_numpy().astype("int64")) != MINUTE * 10**9)


def contender(name: str, work: Work, folder: Path, ports: list[int]) -> Store:
    """The contender of a name, its imports done."""
    if name == "sqlite":
        from seamless_assets.adapters.sqlite.store import SqliteHotStore

        return Ours(work, SqliteHotStore(folder / "hot.sqlite"))
    if name == "questdb":
        from seamless_assets.adapters.questdb.address import QuestDbAddress
        from seamless_assets.adapters.questdb.store import QuestDbHotStore

        return Ours(work, QuestDbHotStore(QuestDbAddress("127.0.0.1", *ports)))
    if name == "bare-sqlite":
        return BareSqlite(work, folder)
    return BareQuestDb(work, *ports) if name == "bare-questdb" else Arctic(work, folder)


def main() -> None:
    """Answer tasks until the input ends."""
    name, folder, rows, years, *ports = sys.argv[1:]
    work = Work(int(rows), int(float(years) * YEAR_BARS))
    store = contender(name, work, Path(folder), [int(port) for port in ports])
    serve_tasks(store)
    if isinstance(store, Ours):
        store.run(store.store.close())


if __name__ == "__main__":
    main()
