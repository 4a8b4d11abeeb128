"""One path of data in a process of its own, for the memory that it takes at most.

    python -m bench.contenders.paths PATH FOLDER ROWS [HTTP_PORT PG_PORT]

`prepare` makes the world that the others walk: released days, a hot store, a Parquet file, settings;
`questdb_fill` what is read from a QuestDB. The others print the MiB that the path took beyond what the
process held, its input counted, and the MiB that its result or its input, whichever is larger, has in Arrow.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import shutil
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar
from urllib.request import urlopen

import pyarrow as pa
import pyarrow.parquet as pq

import seamless_assets as sa
from bench.measuring.sample import MIB, take, trim
from bench.places import reach_support
from bench.worlds.bars import DAY_BARS, LONG_START, MINUTE, dirty_bars, market_bars
from bench.worlds.releases import open_store, release_days, table_of_frame
from seamless_assets.adapters.machine.leases import MachineLeases
from seamless_assets.adapters.questdb.address import QuestDbAddress
from seamless_assets.adapters.questdb.store import QuestDbHotStore
from seamless_assets.adapters.sqlite.store import SqliteHotStore
from seamless_assets.config.sections import ServiceSettings
from seamless_assets.core.calendar.segment import Segment
from seamless_assets.core.node import NodeId
from seamless_assets.flows.releasing.materialize import materialize
from seamless_assets.service.app import service_app
from seamless_assets.service.serving import serve
from seamless_assets.testing import InMemoryExchange, in_memory_ports, random_walk

T = TypeVar("T")
NODES = [NodeId.parse(f"ohlcv:binance:N{number}/USDT:1m") for number in range(5)]
NODE, HOURS = NODES[0], NodeId.parse("ohlcv:synthetic:N0/USDT:1h")


class World:
    """What lies in the folder, and the paths through it; `rows` says how far each goes.

    `ports` are those of a QuestDB by HTTP and by the protocol of PostgreSQL, for paths that go there.
    """

    def __init__(self, folder: Path, rows: int, *ports: int) -> None:
        self.folder, self.rows, self.ports = folder, rows, ports
        self.settings = folder / "seamless.yaml"
        self.input_bytes = 0

    def prepare(self) -> None:
        """Write everything that is walked later."""
        symbols = [node.symbol for node in NODES]
        declared = {
            "seamless": {
                "artifact": {"object_store_uri": "./artifacts"},
                "hot_store": {"dsn": "sqlite:///./hot.sqlite"},
                "state_dir": "./state",
            },
            "exchanges": {"binance": {"symbols": symbols, "timeframes": ["1m"], "start": LONG_START}},
            "derived": [{"node": str(HOURS), "resample": str(NODE)}],
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
        return self._given(table_of_frame(market_bars(rows, 1, LONG_START)))

    def _given(self, bars: pa.Table) -> pa.Table:
        """What a path is given, which its caller holds."""
        self.input_bytes = bars.nbytes
        return bars

    def hot_read(self, rows: int) -> Callable[[], pa.Table]:
        """Read from the hot store."""
        store, window = SqliteHotStore(self.folder / "hot.sqlite"), Segment(*self.window(rows))
        return lambda: asyncio.run(store.load_bars(NODE, window))

    def hot_write(self, rows: int) -> Callable[[], pa.Table]:
        """Write to a hot store that holds nothing of it."""
        folder, bars = Path(tempfile.mkdtemp(dir=self.folder)), self.bars(rows)
        store = SqliteHotStore(folder / "hot.sqlite")

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
        number = secrets.token_hex(4).upper()
        node, bars = NodeId.parse(f"ohlcv:binance:W{number}/USDT:1m"), self.bars(rows)

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
        dirty = dirty_bars(market_bars(rows, 1, LONG_START), blocked=False)
        bars = self._given(pa.Table.from_pandas(dirty, preserve_index=False))
        del dirty
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
        settings, end = self._empty(), self.window(min(rows, self.panel_rows))[1]

        def read() -> pa.Table:
            with sa.connect(str(settings)) as pipeline:
                pipeline.ingest(self.folder / "file.parquet", str(NODE), LONG_START, end)
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
        settings, node = self._copy(), NODE if rows == self.rows else NODES[1]

        def merge() -> pa.Table:
            with sa.connect(str(settings)) as pipeline:
                report = pipeline.compact(str(node))
            # Two months of days hold a whole one, and only whole ones are merged.
            assert rows < 62 * DAY_BARS or report.after < report.before
            return None

        return merge

    def derive(self, rows: int) -> Callable[[], pa.Table]:
        """Make hours of the released minutes, and release them, in a copy."""
        settings = self._copy()

        def make() -> pa.Table:
            with sa.connect(str(settings)) as pipeline:
                assert pipeline.materialize(str(HOURS), *self.window(rows)).released
            return None

        return make

    def mirror(self, rows: int) -> Callable[[], pa.Table]:
        """Show the releases of a node as a table of Iceberg, in a copy."""
        settings, node = self._copy(mirror="iceberg"), NODE if rows == self.rows else NODES[1]

        def show() -> pa.Table:
            with sa.connect(str(settings)) as pipeline:
                assert pipeline.mirror(str(node))[str(node)]
            return None

        return show

    def materialize(self, rows: int) -> Callable[[], pa.Table]:
        """Fetch days of an exchange in this process, which is made before, and release them."""
        days = max(1, rows // DAY_BARS // 10)
        end = LONG_START + days * DAY_BARS * MINUTE
        exchange = InMemoryExchange.serving({NODE: random_walk(LONG_START, end)})
        folder = Path(tempfile.mkdtemp(dir=self.folder))

        async def fetch() -> None:
            hot = SqliteHotStore(folder / "hot.sqlite")
            ports = in_memory_ports(exchange, hot=hot, artifacts=open_store(folder))
            assert (await materialize(ports, NODE, Segment(LONG_START, end))).released
            await hot.close()

        return lambda: asyncio.run(fetch())

    def serve(self, rows: int) -> Callable[[], pa.Table]:
        """Answer a client that takes what is released over HTTP piece by piece."""
        reach_support()
        from support.services import free_port

        pipeline, port = sa.connect(str(self.settings)), free_port()
        settings = ServiceSettings(max_rows=self.rows)
        app = service_app(pipeline, MachineLeases(self.folder / "leases.sqlite"), _nothing, settings)
        threading.Thread(target=serve, args=(app, "127.0.0.1", port), daemon=True).start()
        _await_listener(port)
        start, end = self.window(rows)

        def ask() -> pa.Table:
            address = f"http://127.0.0.1:{port}/v1/history?node={NODE}&start={start}&end={end}"
            with urlopen(address) as answer:
                assert sum(map(len, iter(lambda: answer.read(MIB), b""))) > rows * 40
            return None

        return ask

    def _copy(self, **artifact: str) -> Path:
        """Settings of a copy of what is released."""
        settings = self._empty(**artifact)
        shutil.copytree(self.folder / "artifacts", settings.parent / "artifacts")
        return settings

    def _empty(self, **artifact: str) -> Path:
        """Settings in a folder of their own, where nothing is stored."""
        declared = json.loads(self.settings.read_text())
        declared["seamless"]["artifact"].update(artifact)
        settings = Path(tempfile.mkdtemp(dir=self.folder)) / self.settings.name
        settings.write_text(json.dumps(declared))
        return settings

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


async def _nothing() -> str:
    """Nothing that Prometheus scrapes."""
    return ""


def _await_listener(port: int) -> None:
    """Return once connections are taken."""
    while True:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            return
        except ConnectionRefusedError:
            time.sleep(0.01)


LIMITED = {"panel": 5 * 5 / 6, "ingest": 1.0, "replay": 1.0, "materialize": 0.5}
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
    sample = take(lambda: result.append(walk()))
    size = rows * 48 if name not in LIMITED else world.panel_rows * 48 * LIMITED[name]
    peak = world.input_bytes / MIB + (sample.memory_mib or 0.0)
    print(json.dumps({"peak_mib": peak, "arrow_mib": size / MIB, "cpu": sample.cpu}))


if __name__ == "__main__":
    main()
