"""Logs that anything happened to, read by every engine at any instant as reads see them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from random import Random

import duckdb
import numpy as np
import polars as pl
import pyarrow as pa
import pytest
from pyiceberg.catalog.sql import SqlCatalog
from support.engines import duckdb_of_iceberg, rows_of_spark

import seamless_assets as sa
from seamless_assets.core.calendar.instant import epoch_micros
from seamless_assets.errors import CoverageMissing, InvalidInput, NothingReleased, ReleaseRefused
from seamless_assets.sandbox.generator import BAR
from seamless_assets.sandbox.replay import Replay
from seamless_assets.sandbox.server import Sandbox
from seamless_assets.testing import DAY, START

pytestmark = [pytest.mark.deep, pytest.mark.timeout(3_600)]
SYMBOLS = ("BTC/USDT", "ETH/USDT", "XRP/ETH")
DAYS = range(28, 34)
"""The last days of January, which a compaction merges, and the first of February."""
REFUSALS = (InvalidInput, NothingReleased, ReleaseRefused)
ACTS, PAIRS, OF_SPARK = 150, 1_000, 20
END = START + DAYS.stop * DAY


class World:
    """Nodes whose history is corrected, released, withdrawn, rolled back and compacted at random."""

    def __init__(self, s: sa.Seamless, replay: Replay, folder: Path, rng: Random) -> None:
        self.s, self.folder, self.rng, self._replay = s, folder, rng, replay
        self._bars = {symbol: made_bars() for symbol in SYMBOLS}
        for symbol in SYMBOLS:
            self._serve(symbol)

    def _serve(self, symbol: str) -> None:
        self._replay.add(symbol, "5m", self._bars[symbol])

    def act(self) -> None:
        """One thing that happens to one node; what its state refuses is refused."""
        symbol, day = self.rng.choice(SYMBOLS), START + self.rng.choice(DAYS) * DAY
        node = node_of(symbol)
        kinds = ["correct"] * 6 + ["withdraw", "rollback", "unpin", "unpin", "compact", "by_hand"]
        match self.rng.choice(kinds):
            case "correct":
                at = np.searchsorted(self._bars[symbol]["ts"], day + 300 * self.rng.randrange(288))
                self._bars[symbol]["volume"][at] += 1
                self._serve(symbol)
                self.s.materialize(node, day, day + DAY)
            case "withdraw":
                with suppress(*REFUSALS):
                    self.s.withdraw(node, str(np.datetime64(day, "s"))[:10], reason="wrong")
            case "rollback":
                if log := self.s.releases(node):
                    with suppress(*REFUSALS):
                        self.s.rollback(node, reason="as before", to=self.rng.choice(log).seq)
            case "unpin":
                with suppress(*REFUSALS):
                    self.s.unpin(node, reason="go on")
            case "compact":
                self.s.compact(node)
            case _:
                with suppress(*REFUSALS):
                    self.s.release(node, reason="checked")

    def read(self, node: str, at: int) -> pa.Table | None:
        """All bars in force at an instant (epoch milliseconds); None where nothing was released yet."""
        parts = []
        for day in DAYS:
            start = START + day * DAY
            context = sa.ComputeContext(as_of=str(np.datetime64(at, "ms")) + "Z")
            try:
                parts.append(self.s.read(node, start, start + DAY, context=context).to_arrow())
            except NothingReleased:
                if at < first_ms(self.s, node):
                    return None
            except CoverageMissing:
                continue
        return pa.concat_tables(parts).combine_chunks() if parts else None

    def pairs(self) -> Iterator[tuple[str, int]]:
        """Nodes and instants, most of them close to a release."""
        while True:
            node = node_of(self.rng.choice(SYMBOLS))
            moments = [ceil_ms(one.as_of) for one in self.s.releases(node)]
            at = self.rng.choice(moments) + self.rng.choice((-1, 0, 0, 1, self.rng.randrange(-2_000, 2_000)))
            yield node, min(at, moments[-1])


def node_of(symbol: str) -> str:
    return f"ohlcv:binance:{symbol}:5m"


def ceil_ms(as_of: str) -> int:
    return -(-epoch_micros(as_of, "as_of") // 1_000)


def first_ms(s: sa.Seamless, node: str) -> int:
    return ceil_ms(s.releases(node)[0].as_of)


def made_bars() -> np.ndarray:
    bars = np.zeros(len(DAYS) * DAY // 300, BAR)
    bars["ts"] = np.arange(START + DAYS.start * DAY, END, 300)
    bars["open"] = bars["close"] = 100.0 + np.arange(len(bars)) % 7
    bars["high"], bars["low"], bars["volume"] = bars["open"] + 1, bars["open"] - 1, 10.0
    return bars


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder, replay = tmp_path_factory.mktemp("engines"), Replay()
    with Sandbox(now=END + 5 * DAY, replay=replay).running() as exchange:
        path = folder / "seamless.yaml"
        path.write_text(f"""
seamless:
  artifact: {{object_store_uri: ./artifacts, mirror: iceberg}}
  hot_store: {{dsn: "sqlite:///./hot.sqlite"}}
  state_dir: ./state
  rate_limit: {{tokens_per_interval: 1000000, burst_tokens: 1000000}}
exchanges:
  binance:
    {{base_url: "{exchange.url}", symbols: [{", ".join(SYMBOLS)}], timeframes: [5m], start: 2025-01-01}}
""")
        rng = Random(7)
        for symbol in SYMBOLS:
            replay.add(symbol, "5m", made_bars())
        with sa.connect(path) as s:
            made = World(s, replay, folder, rng)
            for symbol in SYMBOLS:
                s.materialize(node_of(symbol), START + DAYS.start * DAY, END)
            for _ in range(ACTS):
                made.act()
            yield made


def test_a_thousand_pairs_of_node_and_instant(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POLARS_ICEBERG_PLANNER", "pyiceberg")
    kinds = {one.kind for symbol in SYMBOLS for one in world.s.releases(node_of(symbol))}
    assert kinds == {"automatic", "rollback", "withdrawal", "by_hand", "compaction"}
    catalog = SqlCatalog("seamless", uri=f"sqlite:///{world.folder / 'state' / 'iceberg.sqlite'}")
    pairs, differing, of_spark = world.pairs(), [], []
    with duckdb_of_iceberg() as sql:
        for number in range(PAIRS):
            node, at = next(pairs)
            truth = world.read(node, at)
            table = catalog.load_table(".".join(sa.NodeId.parse(node).asset_key))
            found = table.snapshot_as_of_timestamp(at)
            if truth is None:
                differing += [] if found is None or not count(table, found.snapshot_id) else [(node, at)]
                continue
            assert found is not None
            seen = {
                "pyiceberg": table.scan(snapshot_id=found.snapshot_id).to_arrow(),
                "polars": pl.scan_iceberg(table, snapshot_id=found.snapshot_id).collect().to_arrow(),
                "duckdb": by_duckdb(sql, table.location(), at),
            }
            differing += [(name, node, at) for name, rows in seen.items() if not same(rows, truth)]
            if number < OF_SPARK:
                of_spark.append((table.location(), at, truth))
    assert not differing
    for rows, (_, _, truth) in zip(
        rows_of_spark([(location, at) for location, at, _ in of_spark]), of_spark, strict=True
    ):
        assert rows == list(truth.to_pandas().itertuples(index=False, name=None))


def count(table: object, snapshot_id: int) -> int:
    return int(table.scan(snapshot_id=snapshot_id).to_arrow().num_rows)  # type: ignore[attr-defined]


def by_duckdb(sql: duckdb.DuckDBPyConnection, location: str, at: int) -> pa.Table:
    instant = f"snapshot_from_timestamp => make_timestamp({at}000)"
    return sql.execute(f"SELECT * FROM iceberg_scan('{location}', {instant})").to_arrow_table()


def same(rows: pa.Table, truth: pa.Table) -> bool:
    return bool(rows.sort_by("ts").cast(truth.schema).combine_chunks().equals(truth))
