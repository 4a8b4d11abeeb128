"""Release logs as Iceberg tables: every engine sees at every instant what a read as of it sees."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import duckdb
import numpy as np
import polars as pl
import pyarrow as pa
import pytest
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.table import StaticTable
from support.engines import duckdb_of_iceberg
from support.rest_catalogs import RestCatalogTwin

import seamless_assets as sa
from seamless_assets.core.calendar.instant import epoch_micros
from seamless_assets.core.releases.release import Release
from seamless_assets.errors import CoverageMissing, NothingReleased
from seamless_assets.sandbox.generator import BAR
from seamless_assets.sandbox.replay import Replay
from seamless_assets.sandbox.server import Sandbox
from seamless_assets.testing import DAY, START

NODE = "ohlcv:binance:BTC/USDT:5m"
TABLE = "ohlcv.binance.BTC_USDT_5m"
DAYS = range(28, 31)
"""The last days of January, which a compaction merges, by their distance from its first."""
MONTH_END = START + 31 * DAY


@dataclass
class Stage:
    """A pipeline with a mirror, on an exchange whose history can be corrected."""

    s: sa.Seamless
    replay: Replay
    folder: Path
    served: dict[int, int]

    def correct(self, day: int) -> None:
        self.served[day] += 1
        self.replay.add("BTC/USDT", "5m", bars_of(self.served))

    def materialize(self, day: int) -> None:
        self.s.materialize(NODE, START + day * DAY, START + (day + 1) * DAY)

    @property
    def metadata(self) -> Path:
        """The folder of the table's metadata."""
        (found,) = self.folder.rglob("_iceberg/metadata")
        return found

    @property
    def catalog(self) -> SqlCatalog:
        """The embedded catalog, as a user opens it."""
        (file,) = self.folder.rglob("iceberg.sqlite")
        return SqlCatalog("seamless", uri=f"sqlite:///{file}")

    def read(self, as_of: str | None) -> pa.Table:
        """All bars in force at an instant, or now, by the product's own reads."""
        parts = []
        for day in DAYS:
            start = START + day * DAY
            context = sa.ComputeContext(as_of=as_of or self.s.releases(NODE)[-1].as_of)
            try:
                parts.append(self.s.read(NODE, start, start + DAY, context=context).to_arrow())
            except (NothingReleased, CoverageMissing):
                continue
        return pa.concat_tables(parts) if parts else pa.table({"ts": pa.array([], pa.int64())})


def bars_of(values: dict[int, int]) -> np.ndarray:
    """Bars of the days; the value of a day shows in the volume of one bar of it."""
    bars = np.zeros(len(DAYS) * DAY // 300, BAR)
    bars["ts"] = np.arange(START + DAYS.start * DAY, MONTH_END, 300)
    bars["open"] = bars["close"] = 100.0 + np.arange(len(bars)) % 7
    bars["high"], bars["low"], bars["volume"] = bars["open"] + 1, bars["open"] - 1, 10.0
    for day, value in values.items():
        bars["volume"][np.searchsorted(bars["ts"], START + day * DAY + 12 * 3_600)] += value
    return bars


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """A log with revisions, a withdrawal, a rollback, a release by hand and a compaction, mirrored."""
    folder, served = tmp_path_factory.mktemp("mirrored"), dict.fromkeys(DAYS, 0)
    replay = Replay()
    replay.add("BTC/USDT", "5m", bars_of(served))
    with (
        Sandbox(now=MONTH_END + 5 * DAY, replay=replay).running() as exchange,
        sa.connect(settings_of(exchange.url, folder)) as s,
    ):
        made = Stage(s, replay, folder, served)
        act_out(made)
        yield made


def settings_of(url: str, folder: Path) -> Path:
    path = folder / "seamless.yaml"
    path.write_text(f"""
seamless:
  artifact: {{object_store_uri: ./artifacts, mirror: iceberg}}
  hot_store: {{dsn: "sqlite:///./hot.sqlite"}}
  state_dir: ./state
  rate_limit: {{tokens_per_interval: 1000000, burst_tokens: 1000000}}
exchanges:
  binance: {{base_url: "{url}", symbols: [BTC/USDT], timeframes: [5m], start: 2025-01-01}}
""")
    return path


def act_out(stage: Stage) -> None:
    for day in DAYS:
        stage.materialize(day)
    for day in (29, 30, 29):
        stage.correct(day)
        stage.materialize(day)
    stage.s.withdraw(NODE, "2025-01-30", reason="wrong market")
    stage.s.rollback(NODE, reason="as before", to=3)
    stage.s.unpin(NODE, reason="go on")
    stage.correct(28)
    stage.materialize(28)
    stage.s.compact(NODE)
    stage.correct(30)
    stage.materialize(30)


def instants(log: list[Release]) -> Iterator[int]:
    """Epoch milliseconds before, at and between the releases of a log."""
    for release in log:
        at = -(-epoch_micros(release.as_of, "as_of") // 1_000)
        yield from (at - 1, at, at + 1)


def millis(at: int) -> str:
    return str(np.datetime64(at, "ms")) + "Z"


@pytest.fixture(scope="module")
def sql() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb_of_iceberg() as connection:
        yield connection


def in_order(table: pa.Table, like: pa.Table) -> pa.Table:
    return table.sort_by("ts").cast(like.schema).combine_chunks()


def test_every_engine_sees_at_every_instant_what_a_read_sees(
    stage: Stage, sql: duckdb.DuckDBPyConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("POLARS_ICEBERG_PLANNER", "pyiceberg")
    log = stage.s.releases(NODE)
    kinds = {"automatic", "rollback", "withdrawal", "by_hand", "compaction"}
    assert {release.kind for release in log} == kinds
    table, location = stage.catalog.load_table(TABLE), stage.metadata.parent
    assert table.snapshot_as_of_timestamp(next(instants(log))) is None
    for at in list(instants(log))[1:]:
        truth = stage.read(millis(at)).combine_chunks()
        found = table.snapshot_as_of_timestamp(at)
        assert found is not None
        instant = f"snapshot_from_timestamp => make_timestamp({at}000)"
        seen = {
            "pyiceberg": table.scan(snapshot_id=found.snapshot_id).to_arrow(),
            "polars": pl.scan_iceberg(table, snapshot_id=found.snapshot_id).collect().to_arrow(),
            "duckdb": sql.execute(f"SELECT * FROM iceberg_scan('{location}', {instant})").to_arrow_table(),
        }
        assert {name: in_order(rows, truth).equals(truth) for name, rows in seen.items()} == dict.fromkeys(
            seen, True
        )


def test_each_release_has_its_tag_and_says_what_it_was(stage: Stage) -> None:
    table = stage.catalog.load_table(TABLE)
    for release in stage.s.releases(NODE):
        tagged = table.snapshot_by_name(f"seq-{release.seq}")
        assert tagged is not None and tagged.snapshot_id == release.seq and tagged.summary is not None
        said = tagged.summary.additional_properties
        assert said["seamless.as-of"] == release.as_of
        assert said["seamless.dataset-fingerprint"] == release.dataset_fingerprint
    newest = stage.s.releases(NODE)[-1]
    assert table.current_snapshot() == table.snapshot_by_id(newest.seq)
    assert StaticTable.from_metadata(stage.s.mirror(NODE)[NODE] or "").metadata == table.metadata


def test_what_engines_write_touches_nothing_of_the_log(stage: Stage) -> None:
    table = stage.catalog.load_table(TABLE)
    assert table.properties["gc.enabled"] == "false"
    before, truth = held(stage.folder / "artifacts"), stage.read(None)
    with pytest.raises(ValueError, match="protected"):
        table.maintenance.expire_snapshots().by_id(2).commit()
    table.manage_snapshots().remove_tag("seq-2").commit()
    table.refresh().maintenance.expire_snapshots().by_id(2).commit()
    table.refresh().delete("ts > 0")
    assert table.refresh().scan().to_arrow().num_rows == 0
    assert before.items() <= held(stage.folder / "artifacts").items()
    assert stage.s.verify(NODE).faults == ()
    stage.s.mirror(NODE)
    again = stage.catalog.load_table(TABLE)
    assert again.snapshot_by_name("seq-2") is not None
    assert in_order(again.scan().to_arrow(), truth).equals(truth.combine_chunks())


def held(folder: Path) -> dict[Path, bytes]:
    """Files below a folder, with their bytes."""
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("lost", ["all", "table", "lists", "manifests", "hint", "half"])
def test_what_is_lost_is_made_again_byte_for_byte(stage: Stage, lost: str) -> None:
    # What engines left there is not ours to make again.
    for path in held(stage.metadata):
        path.unlink()
    stage.s.mirror(NODE)
    before = held(stage.metadata)
    assert len(before) > 20
    files = sorted(before)
    wanted = {
        "all": files,
        "table": [path for path in files if path.name.endswith(".metadata.json")],
        "lists": [path for path in files if path.name.startswith("snap-")],
        "manifests": [path for path in files if path.name.startswith("2025")],
        "hint": [path for path in files if path.name == "version-hint.text"],
        "half": files[::2],
    }[lost]
    assert wanted
    for path in wanted:
        path.unlink()
    stage.s.mirror(NODE)
    assert held(stage.metadata) == before


def test_a_rest_catalog_of_the_settings_follows_each_release(tmp_path: Path) -> None:
    replay = Replay()
    replay.add("BTC/USDT", "5m", bars_of(dict.fromkeys(DAYS, 0)))
    exchange = Sandbox(now=MONTH_END + 5 * DAY, replay=replay)
    with RestCatalogTwin(token="secret").running() as catalog, exchange.running():
        path = settings_of(exchange.url, tmp_path)
        said = f"mirror: iceberg, catalog: {{uri: '{catalog.url}', token: secret}}"
        path.write_text(path.read_text().replace("mirror: iceberg", said))
        with sa.connect(path) as s:
            for seq, day in enumerate(DAYS, start=1):
                s.materialize(NODE, START + day * DAY, START + (day + 1) * DAY)
                (shown,) = catalog.tables.values()
                assert shown.endswith(f"/v{seq}.metadata.json")
            catalog.tables.clear()
            assert s.mirror(NODE) == {NODE: shown} and list(catalog.tables.values()) == [shown]
            catalog.status = 503
            s.release(NODE, reason="a release stands whether it could be mirrored or not")
    assert not list(tmp_path.rglob("iceberg.sqlite"))
