"""One path of data in a process of its own, for the memory that it takes at most.

    python -m bench.contenders.paths PATH FOLDER ROWS [HTTP_PORT PG_PORT]

`prepare` makes the world that the others walk: released days, a hot store, a Parquet file, settings;
`questdb_fill` what is read from a QuestDB. The others print the MiB that the path took beyond what the
process held, its input counted, and the MiB that its result or its input, whichever is larger, has in Arrow.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import sys
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

import seamless_assets as sa
from bench.measuring.sample import MIB, take, trim
from bench.worlds.bars import DAY_BARS, LONG_START, MINUTE, dirty_bars, market_bars
from bench.worlds.releases import open_store, release_days, table_of_frame
from seamless_assets.adapters.questdb.address import QuestDbAddress
from seamless_assets.adapters.questdb.store import QuestDbHotStore
from seamless_assets.adapters.sqlite.store import SqliteHotStore
from seamless_assets.core.calendar.segment import Segment
from seamless_assets.core.node import NodeId

T = TypeVar("T")
NODES = [NodeId.parse(f"ohlcv:binance:N{number}/USDT:1m") for number in range(5)]
NODE = NODES[0]


class World:
    """What lies in the folder, and the paths through it; `rows` says how far each goes.

    `ports` are those of a QuestDB by HTTP and by the protocol of PostgreSQL, for paths that go there.
    """

    def __init__(self, folder: Path, rows: int, *ports: int) -> None:
        self.folder, self.rows, self.ports = folder, rows, ports
        self.settings = folder / "seamless.yaml"

    def prepare(self) -> None:
        """Write everything that is walked later."""
        symbols = [node.symbol for node in NODES] + [f"I{rows}/USDT" for rows in (DAY_BARS, self.rows)]
        declared = {
            "seamless": {
                "artifact": {"object_store_uri": "./artifacts"},
                "hot_store": {"dsn": "sqlite:///./hot.sqlite"},
                "state_dir": "./state",
            },
            "exchanges": {"binance": {"symbols": symbols, "timeframes": ["1m"], "start": LONG_START}},
        }
        self.settings.write_text(json.dumps(declared))
        bars = table_of_frame(market_bars(self.rows, 1, LONG_START))
        pq.write_table(bars.slice(0, max(DAY_BARS, self.rows // 5)), self.folder / "file.parquet")
        asyncio.run(self._fill(bars))

    async def _fill(self, bars: pa.Table) -> None:
        hot = SqliteHotStore(self.folder / "hot.sqlite")
        await hot.write_bars(NODE, bars, [], recorded_at=0.0)
        await hot.close()
        store = open_store(self.folder)
        for node in NODES:
            await release_days(
                store, node, bars if node is NODE else bars.slice(0, self.panel_rows), days_at_once=10_000
            )

    @property
    def panel_rows(self) -> int:
        """Rows of each node of a panel."""
        return max(DAY_BARS, self.rows // 5 // DAY_BARS * DAY_BARS)

    def window(self, rows: int) -> tuple[int, int]:
        """So many rows from the first on."""
        return (LONG_START, LONG_START + rows * MINUTE)

    def bars(self, rows: int) -> pa.Table:
        """Bars as a caller has them."""
        return table_of_frame(market_bars(rows, 1, LONG_START))

    def hot_read(self, rows: int) -> Callable[[], pa.Table]:
        """Read from the hot store."""
        store, window = SqliteHotStore(self.folder / "hot.sqlite"), Segment(*self.window(rows))
        return lambda: asyncio.run(store.load_bars(NODE, window))

    def hot_write(self, rows: int) -> Callable[[], pa.Table]:
        """Write to a hot store that holds nothing of it."""
        store, bars = SqliteHotStore(self.folder / f"written-{rows}.sqlite"), self.bars(rows)

        def write() -> pa.Table:
            asyncio.run(store.write_bars(NODE, bars, [], recorded_at=1.0))
            return bars

        return write

    def questdb_fill(self) -> None:
        """Write what `questdb_read` reads."""
        bars = self.bars(self.rows)
        asyncio.run(self._on_questdb(lambda store: store.write_bars(NODE, bars, [], recorded_at=1.0)))

    def questdb_read(self, rows: int) -> Callable[[], pa.Table]:
        """Read from QuestDB."""
        window = Segment(*self.window(rows))
        return lambda: asyncio.run(self._on_questdb(lambda store: store.load_bars(NODE, window)))

    def questdb_write(self, rows: int) -> Callable[[], pa.Table]:
        """Write to a QuestDB that holds nothing of it."""
        node, bars = NodeId.parse(f"ohlcv:binance:W{rows}/USDT:1m"), self.bars(rows)

        def write() -> pa.Table:
            asyncio.run(self._on_questdb(lambda store: store.write_bars(node, bars, [], recorded_at=1.0)))
            return bars

        return write

    async def _on_questdb(self, work: Callable[[QuestDbHotStore], Awaitable[T]]) -> T:
        store = QuestDbHotStore(QuestDbAddress("127.0.0.1", *self.ports))
        try:
            return await work(store)
        finally:
            await store.close()

    def read_arrow(self, rows: int) -> Callable[[], pa.Table]:
        """Read what is released, as Arrow."""
        return lambda: self._read(rows).to_arrow()

    def read_pandas(self, rows: int) -> Callable[[], pa.Table]:
        """Read what is released, as pandas; both are held."""
        return lambda: self._both(self._read(rows), "to_pandas")

    def read_polars(self, rows: int) -> Callable[[], pa.Table]:
        """Read what is released, as polars; both are held."""
        return lambda: self._both(self._read(rows), "to_polars")

    def _read(self, rows: int) -> Any:
        with sa.connect(str(self.settings)) as pipeline:
            return pipeline.read(str(NODE), *self.window(rows))

    def _both(self, result: Any, conversion: str) -> pa.Table:
        self.held = getattr(result, conversion)()
        return result.to_arrow()

    def panel(self, rows: int) -> Callable[[], pa.Table]:
        """All columns of five nodes in one frame."""
        fields = ["open", "high", "low", "close", "volume"]

        def read() -> pa.Table:
            with sa.connect(str(self.settings)) as pipeline:
                window = self.window(min(rows, self.panel_rows))
                return pipeline.read_panel([str(n) for n in NODES], *window, fields=fields).to_arrow()

        return read

    def conform(self, rows: int) -> Callable[[], pa.Table]:
        """Conform clean bars."""
        bars = self.bars(rows)
        return lambda: sa.conform(bars, interval=60)[0]

    def conform_dirty(self, rows: int) -> Callable[[], pa.Table]:
        """Conform bars in milliseconds, shuffled, repeated and gapped."""
        bars = pa.Table.from_pandas(
            dirty_bars(market_bars(rows, 1, LONG_START), blocked=False), preserve_index=False
        )
        return lambda: sa.conform(bars, interval=60)[0]

    def fingerprint(self, rows: int) -> Callable[[], pa.Table]:
        """Fingerprint bars."""
        bars = self.bars(rows)
        return lambda: sa.fingerprint(bars, node_id=str(NODE), interval=60) and bars

    def export(self, rows: int) -> Callable[[], pa.Table]:
        """Write what is released to a file of CSV."""

        def write() -> pa.Table:
            with sa.connect(str(self.settings)) as pipeline:
                target = self.folder / f"out-{rows}.csv"
                pipeline.export(str(NODE), target, *self.window(rows), form="csv")
            return None

        return write

    def ingest(self, rows: int) -> Callable[[], pa.Table]:
        """Import a file of Parquet, and release it."""
        end, node = self.window(min(rows, self.panel_rows))[1], f"ohlcv:binance:I{rows}/USDT:1m"

        def read() -> pa.Table:
            with sa.connect(str(self.settings)) as pipeline:
                pipeline.ingest(self.folder / "file.parquet", node, LONG_START, end)
            return None

        return read

    def verify(self, rows: int) -> Callable[[], pa.Table]:
        """Prove every file of the node."""

        def prove() -> pa.Table:
            with sa.connect(str(self.settings)) as pipeline:
                pipeline.verify(str(NODE))
            return None

        return prove

    def compact(self, rows: int) -> Callable[[], pa.Table]:
        """Merge the days of a node into months, in a copy: the world keeps its days."""
        copy, node = Path(tempfile.mkdtemp(dir=self.folder)), NODE if rows == self.rows else NODES[1]
        shutil.copytree(self.folder / "artifacts", copy / "artifacts")
        settings = shutil.copy(self.settings, copy)

        def merge() -> pa.Table:
            with sa.connect(str(settings)) as pipeline:
                report = pipeline.compact(str(node))
            # Two months of days hold a whole one, and only whole ones are merged.
            assert rows < 62 * DAY_BARS or report.after < report.before
            return None

        return merge

    def replay(self, rows: int) -> Callable[[], pa.Table]:
        """Read the events of what is released, one by one."""

        def follow() -> pa.Table:
            with sa.connect(str(self.settings)) as pipeline:
                as_of = pipeline.releases(str(NODE))[-1].as_of
                window = self.window(min(rows, self.panel_rows))
                for _ in pipeline.replay([str(NODE)], *window, as_of=as_of):
                    pass
            return None

        return follow


LIMITED = {"panel": 5 * 5 / 6, "ingest": 1.0, "replay": 1.0}
"""Paths that go a fifth as far, and what they handle of each row in shares of its size."""


def main() -> None:
    """Walk a path: a day of it first, so that what is imported at its first use is no part of it."""
    name, folder, rows = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
    world = World(folder, rows, *map(int, sys.argv[4:]))
    if name in ("prepare", "questdb_fill"):
        getattr(world, name)()
        return
    getattr(world, name)(DAY_BARS)()
    trim()
    walk = getattr(world, name)(rows)
    result: list[pa.Table] = []
    trim()
    held = pa.total_allocated_bytes() / MIB
    sample = take(lambda: result.append(walk()))
    size = rows * 48 if name not in LIMITED else world.panel_rows * 48 * LIMITED[name]
    peak = held + (sample.memory_mib or 0.0)
    print(json.dumps({"peak_mib": peak, "arrow_mib": size / MIB, "cpu": sample.cpu}))


if __name__ == "__main__":
    main()
