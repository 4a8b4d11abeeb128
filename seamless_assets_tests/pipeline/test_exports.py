"""Exports: bars as files of other programs and back, proven by their sidecars."""

from __future__ import annotations

import json
import os
import shutil
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import polars as pl
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

import seamless_assets as sa
from seamless_assets.cli.app import cli
from seamless_assets.core.canonical import sha256_text
from seamless_assets.core.exports.forms import FORMS
from seamless_assets.core.exports.freqtrade import file_name
from seamless_assets.core.exports.sidecar import Sidecar
from seamless_assets.core.node import NodeId
from seamless_assets.errors import (
    ExportCorrupt,
    InvalidChoice,
    InvalidInput,
    NothingReleased,
    SeamlessError,
)
from seamless_assets.sandbox.server import Sandbox
from seamless_assets.testing import DAY, START, InMemoryExchange, connect_in_memory, make_bars, random_walk

MINUTES, HOURS = "ohlcv:binance:BTC/USDT:1m", "ohlcv:binance:ETH/USDT:USDT:1h"
NODES = [MINUTES, HOURS]
DAILY = {"partitions": {"1h": "day"}}


@pytest.fixture(scope="module")
def pipeline() -> Iterator[sa.Seamless]:
    walks = {
        MINUTES: random_walk(START, START + 2 * DAY, skip=0.002),
        HOURS: random_walk(START, START + 2 * DAY, step=3_600),
    }
    # As many decimals as markets have.
    series = {
        node: {ts: tuple(round(value, 8) for value in bar) for ts, bar in walk.items()}
        for node, walk in walks.items()
    }
    with connect_in_memory(InMemoryExchange.serving(series, START + 40 * DAY), DAILY) as opened:
        for node in NODES:
            assert opened.materialize(node, START, START + 2 * DAY).released
        yield opened


def target(folder: Path, form: str) -> Path:
    suffix = FORMS[form].suffix
    return folder / f"{form}{suffix}" if suffix else folder


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("node", NODES)
def test_what_is_exported_holds_the_bars_and_proves_them(
    pipeline: sa.Seamless, tmp_path: Path, node: str, form: str
) -> None:
    read = pipeline.read(node, START, START + 2 * DAY)
    made = pipeline.export(node, target(tmp_path, form), START, START + 2 * DAY, form=form)
    files = {str(path.relative_to(made.sidecar_path.parent)): path.read_bytes() for path in made.files}
    assert FORMS[form].decode(NodeId.parse(node), files).equals(read.bars)
    said = made.sidecar
    assert (said.node_id, said.rows, said.as_of) == (node, read.metadata.rows, read.metadata.as_of)
    assert said.dataset_fingerprint == read.metadata.dataset_fingerprint
    assert said.bars_fingerprint == sa.fingerprint(
        read.bars, node_id=node, interval=sa.NodeId.parse(node).timeframe
    )
    assert [gap[:2] for gap in said.gaps] == [(gap.start, gap.end) for gap in read.metadata.gaps]
    for named in (made.files[0] if len(made.files) == 1 else made.sidecar_path, made.sidecar_path):
        assert sa.verify_export(named) == said
        assert pipeline.verify_export(named) == said
    assert not list(tmp_path.rglob("*.draft"))


def test_other_programs_read_the_files(pipeline: sa.Seamless, tmp_path: Path) -> None:
    truth = pipeline.read(MINUTES).to_pandas()
    paths = {form: target(tmp_path, form) for form in FORMS}
    for form, path in paths.items():
        pipeline.export(MINUTES, path, form=form)
    pd.testing.assert_frame_equal(pd.read_csv(paths["csv"]), truth)
    pd.testing.assert_frame_equal(pd.read_parquet(paths["parquet"]), truth)
    pd.testing.assert_frame_equal(pl.read_ipc(paths["feather"]).to_pandas(), truth)
    backtest = pd.read_csv(paths["backtesting"], index_col=0, parse_dates=True)
    pd.testing.assert_frame_equal(
        backtest, pipeline.read(MINUTES).to_backtesting(), check_names=False, check_index_type=False
    )
    assert list(backtest.columns) == ["Open", "High", "Low", "Close", "Volume"]
    bot = pd.read_feather(tmp_path / "BTC_USDT-1m.feather")
    assert list(bot.columns) == ["date", "open", "high", "low", "close", "volume"]
    assert bot["date"].dt.tz is not None and (bot["date"].astype("int64") // 1_000 == truth["ts"]).all()
    with zipfile.ZipFile(tmp_path / "crypto/binance/minute/btcusdt/20250101_trade.zip") as day:
        first = day.read("20250101_btcusdt_minute_trade.csv").decode().splitlines()[0].split(",")
    assert int(first[0]) == 0 and float(first[4]) == truth["close"][0]


@pytest.mark.parametrize(
    ("node", "name"),
    [
        ("ohlcv:binance:BTC/USDT:1h", "BTC_USDT-1h.feather"),
        ("ohlcv:binance:BTC/USDT:USDT:1M", "futures/BTC_USDT_USDT-1Mo-futures.feather"),
    ],
)
def test_files_for_freqtrade_are_named_as_it_names_them(node: str, name: str) -> None:
    assert file_name(NodeId.parse(node)) == name


def test_windows_of_one_node_lie_beside_each_other(pipeline: sa.Seamless, tmp_path: Path) -> None:
    middle = START + DAY
    bounds = [(START, middle), (middle, middle + DAY), (START, middle + DAY)]
    first, second = (pipeline.export(MINUTES, tmp_path, *window, form="lean") for window in bounds[:2])
    assert sa.verify_export(first.sidecar_path) == first.sidecar
    assert sa.verify_export(second.sidecar_path) == second.sidecar
    whole = pipeline.export(MINUTES, tmp_path, *bounds[2], form="lean", overwrite=True)
    for made in (first, second, whole):
        assert sa.verify_export(made.sidecar_path) == made.sidecar


def test_files_have_the_rights_that_others_have(pipeline: sa.Seamless, tmp_path: Path) -> None:
    made, other = pipeline.export(HOURS, tmp_path / "bars.csv"), tmp_path / "other"
    other.touch()
    assert made.files[0].stat().st_mode == other.stat().st_mode


def test_equal_bars_give_equal_files(pipeline: sa.Seamless, tmp_path: Path) -> None:
    for form in FORMS:
        made = [pipeline.export(MINUTES, target(tmp_path / form / at, form), form=form) for at in ("a", "b")]
        assert len({tuple(file.sha256 for file in one.sidecar.files) for one in made}) == 1


CHOSEN: list[tuple[str | None, dict[str, str] | None]] = [
    ("snappy", None),
    ("none", {"ts": "PLAIN", "close": "PLAIN"}),
    ("gzip", {"volume": "BYTE_STREAM_SPLIT", "ts": "BYTE_STREAM_SPLIT"}),
    ("lz4", {"open": "RLE_DICTIONARY", "ts": "RLE_DICTIONARY"}),
    (None, {"high": "RLE_DICTIONARY", "ts": "DELTA_BINARY_PACKED"}),
    (None, {}),
]


@pytest.mark.parametrize(("compression", "encodings"), CHOSEN)
def test_parquet_is_written_in_the_encodings_that_are_asked_for(
    pipeline: sa.Seamless, tmp_path: Path, compression: str | None, encodings: dict[str, str] | None
) -> None:
    made = pipeline.export(HOURS, tmp_path / "bars.parquet", compression=compression, encodings=encodings)
    assert pipeline.verify_export(made.files[0]) == made.sidecar
    pd.testing.assert_frame_equal(pd.read_parquet(made.files[0]), pipeline.read(HOURS).to_pandas())
    group = pq.ParquetFile(made.files[0]).metadata.row_group(0).to_dict()["columns"]
    columns = {column["path_in_schema"]: column for column in group}
    codecs = {None: "ZSTD", "none": "UNCOMPRESSED"}
    for name, column in columns.items():
        encoding = (encodings or {}).get(name, "DELTA_BINARY_PACKED" if name == "ts" else "PLAIN")
        assert encoding in column["encodings"]
        is_packed = encoding == "DELTA_BINARY_PACKED"
        codec = "UNCOMPRESSED" if is_packed else codecs.get(compression, str(compression).upper())
        assert column["compression"].removesuffix("_RAW") == codec


REFUSED_OPTIONS: list[tuple[str, dict[str, Any], str]] = [
    ("parquet", {"compression": "zip"}, "compression 'zip' is not one of zstd"),
    ("parquet", {"compression": 7}, "compression 7"),
    ("parquet", {"encodings": {"closes": "PLAIN"}}, "did you mean close"),
    ("parquet", {"encodings": {"close": "DELTA_BINARY_PACKED"}}, "encoding of close"),
    ("parquet", {"encodings": {"ts": "delta"}}, "encoding of ts"),
    ("parquet", {"encodings": {1: "PLAIN"}}, "column 1 is not one"),
    ("parquet", {"encodings": ["PLAIN"]}, "give them by column"),
    ("parquet", {"decimals": (2, 2)}, "option decimals is for the form nautilus; parquet takes none"),
    *((form, {"compression": "zstd"}, "is for the form parquet") for form in FORMS if form != "parquet"),
    *((form, {"encodings": {}}, "is for the form parquet") for form in FORMS if form != "parquet"),
]


@pytest.mark.parametrize(("form", "options", "reason"), REFUSED_OPTIONS)
def test_options_that_a_form_does_not_have_are_refused(
    pipeline: sa.Seamless, tmp_path: Path, form: str, options: dict[str, Any], reason: str
) -> None:
    with pytest.raises(InvalidInput, match=reason):
        pipeline.export(HOURS, target(tmp_path, form), form=form, **options)
    assert not list(tmp_path.iterdir())


def test_an_older_release_is_exported_as_it_was(tmp_path: Path) -> None:
    exchange = InMemoryExchange.serving(
        {HOURS: random_walk(START, START + 2 * DAY, step=3_600)}, START + 40 * DAY
    )
    with connect_in_memory(exchange, DAILY) as pipeline:
        pipeline.materialize(HOURS, START, START + 2 * DAY)
        first = pipeline.export(HOURS, tmp_path / "first.csv", form=None)
        series = exchange.series[NodeId.parse(HOURS)]
        series[START] = tuple(value * 2 for value in series[START])  # type: ignore[assignment]
        pipeline.materialize(HOURS, START, START + 2 * DAY)
        again = pipeline.export(HOURS, tmp_path / "again.csv", as_of=first.sidecar.as_of)
        assert again.files[0].read_bytes() == first.files[0].read_bytes()
        assert (
            pipeline.export(HOURS, tmp_path / "now.csv").sidecar.bars_fingerprint
            != first.sidecar.bars_fingerprint
        )
        assert pipeline.verify_export(first.files[0]) == first.sidecar


DAMAGES: dict[str, Callable[[Path], object]] = {
    "other bytes": lambda file: file.write_bytes(file.read_bytes().replace(b"0", b"1", 1)),
    "fewer bytes": lambda file: file.write_bytes(file.read_bytes()[:-9]),
    "gone": lambda file: file.unlink(),
    "no file": lambda file: (file.unlink(), file.mkdir()),
    "a pipe": lambda file: (file.unlink(), os.mkfifo(file)),
}


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("form", FORMS)
def test_files_that_are_not_what_was_exported_are_found(
    pipeline: sa.Seamless, tmp_path: Path, form: str, damage: str
) -> None:
    made = pipeline.export(HOURS, target(tmp_path, form), form=form)
    DAMAGES[damage](made.files[0])
    with pytest.raises(ExportCorrupt):
        sa.verify_export(made.sidecar_path)


def test_a_file_is_proven_by_no_sidecar_of_another(pipeline: sa.Seamless, tmp_path: Path) -> None:
    made = pipeline.export(HOURS, tmp_path / "bars.csv")
    other = tmp_path / "other.csv"
    other.write_text("ts,open,high,low,close,volume\n")
    shutil.copy(made.sidecar_path, tmp_path / "other.csv.seamless.json")
    with pytest.raises(ExportCorrupt, match=r"sidecar of other files than other\.csv"):
        sa.verify_export(other)
    made.files[0].rename(tmp_path / "renamed.csv")
    with pytest.raises(InvalidInput, match="has no sidecar"):
        sa.verify_export(tmp_path / "renamed.csv")
    with pytest.raises(ExportCorrupt, match=r"bars\.csv cannot be read"):
        sa.verify_export(made.sidecar_path)


def test_one_of_many_files_is_proven_by_the_sidecar_above_it(
    pipeline: sa.Seamless, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = pipeline.export(MINUTES, tmp_path, START, START + 2 * DAY, form="lean")
    first, second = made.files
    monkeypatch.chdir(first.parent)
    for named in (first, second, Path(first.name)):
        assert sa.verify_export(named) == made.sidecar == pipeline.verify_export(named)
    with pytest.raises(InvalidInput, match="has no sidecar"):
        sa.verify_export(first.with_name("20250103_trade.zip"))
    other = pipeline.export(MINUTES, tmp_path, START, START + 2 * DAY - 60, form="lean", overwrite=True)
    assert sa.verify_export(other.sidecar_path) == other.sidecar
    with pytest.raises(InvalidInput, match="2 name it"):
        sa.verify_export(first)
    other.sidecar_path.unlink()
    with pytest.raises(ExportCorrupt, match="is not the file that was exported"):
        sa.verify_export(first)
    pipeline.export(MINUTES, tmp_path, START, START + 2 * DAY, form="lean", overwrite=True)
    first.write_bytes(second.read_bytes())
    with pytest.raises(ExportCorrupt, match="is not the file that was exported"):
        sa.verify_export(second)


def test_what_is_no_exported_file_has_no_sidecar(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "damaged.seamless.json").write_text("{")
    (tmp_path / "folder").mkdir()
    for name in (".", "", "/", "folder", "folder/none.csv", "a\0b", "x" * 5_000):
        with pytest.raises(InvalidInput):
            sa.verify_export(name)


SAID: dict[str, dict[str, object]] = {
    "other bars": {"bars_fingerprint": "sha256:" + "0" * 64},
    "other rows": {"rows": 1},
    "other form": {"form": "parquet"},
    "no form": {"form": "xml"},
    "other version": {"version": 2},
    "outside": {"files": [{"path": "../bars.csv", "sha256": "sha256:0", "bytes": 1}]},
    "unknown": {"more": 1},
    "wrong type": {"rows": "many"},
}


@pytest.mark.parametrize("what", SAID)
def test_sidecars_that_say_something_else_are_found(pipeline: sa.Seamless, tmp_path: Path, what: str) -> None:
    made = pipeline.export(HOURS, tmp_path / "bars.csv")
    said = json.loads(made.sidecar_path.read_text())
    made.sidecar_path.write_text(json.dumps({**said, **SAID[what]}))
    with pytest.raises(ExportCorrupt):
        sa.verify_export(made.files[0])


def test_what_no_release_holds_is_found(pipeline: sa.Seamless, tmp_path: Path) -> None:
    made = pipeline.export(HOURS, tmp_path / "bars.csv")
    said = json.loads(made.sidecar_path.read_text())
    made.sidecar_path.write_text(json.dumps({**said, "dataset_fingerprint": "sha256:" + "1" * 64}))
    sa.verify_export(made.files[0])
    with pytest.raises(ExportCorrupt, match="dataset_fingerprint differ"):
        pipeline.verify_export(made.files[0])


@pytest.mark.parametrize("name", [name for name in Sidecar.__struct_fields__ if name != "version"])
def test_nothing_that_a_sidecar_says_can_be_changed(pipeline: sa.Seamless, tmp_path: Path, name: str) -> None:
    made = pipeline.export(HOURS, tmp_path / "bars.csv")
    others: dict[type, object] = {str: "ohlcv:binance:ETH/USDT:1h", int: 7, float: 0.5, tuple: []}
    other = {**others, **dict.fromkeys((bool,), True)}[type(getattr(made.sidecar, name))]
    if getattr(made.sidecar, name) == ():
        other = [[START, START + 3_600, "no_trades"]]
    said = json.loads(made.sidecar_path.read_text())
    made.sidecar_path.write_text(json.dumps({**said, name: other}))
    with pytest.raises(SeamlessError):
        pipeline.verify_export(made.sidecar_path)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("held", [b"", b"PK\x03\x04", b"1,2\n", b"ARROW1\0\0", b"PAR1PAR1"])
def test_files_of_no_form_are_no_traceback(tmp_path: Path, form: str, held: bytes) -> None:
    (tmp_path / "bars").write_bytes(held)
    file = {"path": "bars", "sha256": sha256_text(held), "bytes": len(held)}
    said = {"version": 1, "form": form, "node_id": HOURS, "start": START, "end": START + 3_600, "rows": 1}
    said |= {"as_of": "2025-01-01T00:00:00Z", "coverage_ratio": 1.0, "gaps": [], "files": [file]}
    said |= dict.fromkeys(("dataset_fingerprint", "bars_fingerprint"), "sha256:" + "0" * 64)
    (tmp_path / "bars.seamless.json").write_text(json.dumps({**said, "conformance_version": "v2"}))
    with pytest.raises(ExportCorrupt, match=r"form|fingerprint"):
        sa.verify_export(tmp_path / "bars")


def test_what_cannot_be_exported_is_refused(pipeline: sa.Seamless, tmp_path: Path) -> None:
    made = pipeline.export(HOURS, tmp_path / "bars.csv")
    before = made.files[0].read_bytes()
    with pytest.raises(InvalidInput, match="is there already"):
        pipeline.export(HOURS, tmp_path / "bars.csv", START, START + DAY)
    assert made.files[0].read_bytes() == before and sa.verify_export(made.files[0])
    assert (
        pipeline.export(HOURS, tmp_path / "bars.csv", START, START + DAY, overwrite=True).sidecar.rows == 24
    )
    with pytest.raises(InvalidChoice, match=r"ending of the file.*\.parquet.*\.csv does"):
        pipeline.export(HOURS, tmp_path / "bars.xls")
    with pytest.raises(NothingReleased):
        pipeline.export("ohlcv:binance:BTC/USD:1h", tmp_path / "none.csv")
    with pytest.raises(InvalidInput, match="cannot be written"):
        pipeline.export(HOURS, made.files[0] / "below.csv")
    with pytest.raises(InvalidInput, match="no sidecar"):
        sa.verify_export(tmp_path / "other.csv")


def test_lean_has_no_form_for_some() -> None:
    five, unknown = NodeId.parse("ohlcv:binance:BTC/USDT:5m"), NodeId.parse(MINUTES)
    with pytest.raises(InvalidChoice, match="LEAN has no form for"):
        list(FORMS["lean"].encode(five, make_bars(START, START + DAY, "5m")))
    bars = make_bars(START, START + DAY)
    nulls = bars.set_column(5, "volume", [[None] * bars.num_rows]).cast(bars.schema)
    with pytest.raises(InvalidInput, match="volume is not known"):
        list(FORMS["lean"].encode(unknown, nulls))


@pytest.fixture
def settings_file(exchange: Sandbox, tmp_path: Path) -> Path:
    path = tmp_path / "seamless.yaml"
    binance = f'{{base_url: "{exchange.url}", symbols: [BTC/USDT], start: 2025-01-01}}'
    path.write_text(
        f"seamless: {{artifact: {{object_store_uri: ./artifacts}}}}\nexchanges: {{binance: {binance}}}\n"
    )
    return path


def test_the_commands(tmp_path: Path, settings_file: Path) -> None:
    def typed(*words: object) -> tuple[int, str]:
        done = CliRunner().invoke(cli, list(map(str, words)))
        return done.exit_code, done.output + str(done.exception or "")

    with sa.connect(settings_file) as opened:
        opened.materialize(MINUTES, START, START + DAY)
    file = tmp_path / "out" / "bars.parquet"
    window = ("2025-01-01", "2025-01-02")
    status, said = typed("export", "--config", settings_file, MINUTES, *window, "--to", file)
    rows = len(pd.read_parquet(file))
    assert status == 0 and f"{rows} bars, coverage 1.0000" in said and str(file) in said
    assert typed("verify-export", file)[1].endswith("sound\n")
    assert "as released" in typed("verify-export", file, "--released", "--config", settings_file)[1]
    options = ("--compression", "snappy", "--encoding", "close=BYTE_STREAM_SPLIT")
    words = ("export", "--config", settings_file, MINUTES, *window, "--to", file, *options)
    assert "is there already" in typed(*words)[1]
    assert typed(*words, "--overwrite")[0] == 0
    close = pq.ParquetFile(file).metadata.row_group(0).column(4)
    assert (close.compression, close.path_in_schema) == ("SNAPPY", "close")
    assert "BYTE_STREAM_SPLIT" in close.encodings
    assert "says close twice" in typed(*words, "--encoding", "close=PLAIN")[1]
    assert "is no pair such as close=PLAIN" in typed(*words, "--encoding", "close")[1]
    file.write_bytes(file.read_bytes() + b"more")
    status, said = typed("verify-export", file)
    assert status != 0 and "is not the file that was exported" in said
