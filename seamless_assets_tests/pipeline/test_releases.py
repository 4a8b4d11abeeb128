"""Releases through the public face and the command line, and their files in other engines."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import polars as pl
import pytest
from click.testing import CliRunner, Result

import seamless_assets as sa
from seamless_assets import errors
from seamless_assets.cli.app import cli
from seamless_assets.sandbox.server import Sandbox
from seamless_assets.testing import DAY, START

NODE = "ohlcv:binance:BTC/USDT:1m"
YAML = """\
seamless:
  artifact: {{object_store_uri: ./artifacts, early_fingerprint: true}}
  hot_store: {{dsn: sqlite:///./hot.sqlite}}
  state_dir: ./state
exchanges:
  binance: {{base_url: "{url}", symbols: [BTC/USDT], start: 2025-01-01}}
"""


@pytest.fixture
def config(exchange: Sandbox, tmp_path: Path) -> Path:
    path = tmp_path / "seamless.yaml"
    path.write_text(YAML.format(url=exchange.url))
    return path


@pytest.fixture
def pipeline(config: Path) -> Iterator[sa.Seamless]:
    with sa.connect(config) as opened:
        opened.materialize(NODE, "2025-01-01", "2025-01-03")
        yield opened


def test_other_engines_read_exactly_the_released_files(pipeline: sa.Seamless) -> None:
    first = pipeline.releases(NODE)[0]
    truth = pipeline.read(NODE, START, START + 2 * DAY).to_pandas()
    files = pipeline.snapshot_files(NODE)
    assert [Path(file).parent.name for file in files] == ["2025-01-01", "2025-01-02"]
    pd.testing.assert_frame_equal(pd.read_parquet(files, partitioning=None), truth)
    pd.testing.assert_frame_equal(pl.read_parquet(files, hive_partitioning=False).to_pandas(), truth)
    rows = duckdb.sql(f"SELECT * FROM read_parquet({files}, hive_partitioning = false) ORDER BY ts")
    pd.testing.assert_frame_equal(rows.df(), truth)
    (one,) = pipeline.snapshot_files(NODE, first.as_of)
    assert one == files[0]
    assert pipeline.snapshot_files(NODE, dataset_fingerprint=first.dataset_fingerprint) == [one]


def run(config: Path, *words: str, status: int = 0) -> Result:
    result = CliRunner().invoke(cli, [words[0], "--config", str(config), *words[1:]])
    assert result.exit_code == status, result.output
    return result


def test_a_reader_of_released_bars_waits_for_no_exchange_library(pipeline: sa.Seamless, config: Path) -> None:
    script = (
        "import sys, seamless_assets as sa\n"
        "with sa.connect(sys.argv[1]) as s:\n"
        "    read = s.read(*sys.argv[2:])\n"
        "    read.to_arrow()\n"
        "    late = [name for name in ('pandas', 'pyarrow.compute') if name in sys.modules]\n"
        "    read.to_pandas()\n"
        "print([*late, *(name for name in ('ccxt', 'dagster', 'pandera', 'aiohttp') if name in sys.modules)])"
    )
    words = [sys.executable, "-c", script, str(config), NODE, "2025-01-01", "2025-01-03"]
    result = subprocess.run(words, capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_who_verifies_hears_how_far_it_is(pipeline: sa.Seamless) -> None:
    heard: list[tuple[int, int]] = []
    assert pipeline.verify(NODE, on_progress=lambda *progress: heard.append(progress)).is_sound
    assert heard == [(1, 2), (2, 2)]


def test_what_an_operator_types(pipeline: sa.Seamless, config: Path) -> None:
    files = run(config, "files", NODE).output.split()
    assert files == pipeline.snapshot_files(NODE)
    assert "2 releases, 2 artifacts" in run(config, "verify").output
    assert "withdrawal +0 -1" in run(config, "withdraw", NODE, "2025-01-02", "--reason", "no good").output
    first = pipeline.releases(NODE)[1].as_of
    assert "bars: 0 new" in run(config, "diff", NODE, first).output
    assert run(config, "diff", NODE, "2").output == run(config, "diff", NODE, first).output
    assert run(config, "files", NODE, "--as-of", "1").output.split() == files[:1]
    assert "no release 9; there is 1 to 3" in str(run(config, "diff", NODE, "1", "9", status=1).exception)
    assert "rollback   +1 -0" in run(config, "rollback", NODE, "--to", "2", "--reason", "it was good").output
    assert "by_hand    +0 -0" in run(config, "unpin", NODE, "--reason", "go on").output
    run(config, "withdraw", NODE, "2025-01-01", "--reason", "no good either")
    by_hand = run(config, "release", NODE, "--partition", "2025-01-01", "--reason", "it was good")
    assert "by_hand    +1 -0" in by_hand.output
    assert [line.split()[0] for line in run(config, "releases", NODE).output.splitlines()] == list("1234567")
    assert "2 artifacts are 2 now" in run(config, "compact", NODE).output
    assert "0 files removed" in run(config, "gc").output
    Path(files[0]).write_bytes(b"spoiled")
    assert files[0] in run(config, "verify", NODE, status=1).output


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda s: s.release(NODE, reason=" "), errors.InvalidInput, "needs a reason"),
        (lambda s: s.release(NODE, reason="half \ud800"), errors.InvalidInput, "needs a reason"),
        (lambda s: sa.ComputeContext(world_id="\ud800"), errors.InvalidInput, "world_id"),
        (lambda s: s.rollback(NODE, reason="x"), errors.InvalidInput, "not both"),
        (lambda s: s.rollback(NODE, reason="x", to=1, as_of=START), errors.InvalidInput, "not both"),
        (lambda s: s.withdraw(NODE, "monday", reason="x"), errors.InvalidChoice, "2025-01-31"),
        (lambda s: s.withdraw(NODE, 2025, reason="x"), errors.InvalidChoice, "2025-01-31"),
        (lambda s: s.release(NODE, reason="x", partition="W1"), errors.InvalidChoice, "2025-01-31"),
        (lambda s: s.release(NODE, reason="x", partition="2025-03"), errors.NothingReleased, "publish"),
        (lambda s: s.compact(NODE, "week"), errors.InvalidChoice, "day, month, year"),
        (lambda s: s.gc(grace_s=-1), errors.InvalidInput, "grace_s"),
        (lambda s: s.release(NODE, reason="x", fingerprint="sha256:0"), errors.InvalidChoice, "no artifact"),
        (lambda s: sa.ComputeContext(dataset_fingerprint="abc"), errors.InvalidInput, "sha256:"),
    ],
)
def test_what_cannot_be_meant_is_refused(
    pipeline: sa.Seamless, call: Callable[[sa.Seamless], Any], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        call(pipeline)
    assert len(pipeline.releases(NODE)) == 2


def digests(folder: Path) -> dict[str, str]:
    found = (path for path in folder.rglob("*") if path.is_file())
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in found}


def test_a_session_run_again_gives_the_same_bytes_and_metadata(pipeline: sa.Seamless, config: Path) -> None:
    """A new process, without the hot store and the local copies of the first, at the same as_of."""
    as_of = pipeline.releases(NODE)[-1].as_of
    context = sa.ComputeContext(world_id="w1", as_of=as_of)
    first = pipeline.read(NODE, START, START + 2 * DAY, context=context)
    stored = digests(config.parent / "artifacts")
    again_yaml = config.with_name("again.yaml")
    again_yaml.write_text(
        config.read_text().replace("hot.sqlite", "hot2.sqlite").replace("./state", "./state2")
    )
    with sa.connect(again_yaml) as again:
        report = again.materialize(NODE, "2025-01-01", "2025-01-03")
        second = again.read(NODE, START, START + 2 * DAY, context=context)
    assert report.as_of == as_of and digests(config.parent / "artifacts") == stored
    assert second.to_arrow() == first.to_arrow() and second.metadata == first.metadata


def test_a_preview_fingerprint_is_marked_and_decides_nothing(
    pipeline: sa.Seamless, exchange: Sandbox
) -> None:
    exchange.clock.set(START + 3 * DAY + 7200)
    pipeline.backfill(NODE, "2025-01-04", "2025-01-05")
    (part,) = pipeline.materialize(NODE, "2025-01-04", "2025-01-05").partitions
    assert part.sealed is not None and part.sealed.preview_fingerprint is not None
    assert part.sealed.preview_fingerprint not in (part.sealed.ref.fingerprint, part.dataset_fingerprint)
    assert part.sealed.preview_fingerprint not in str(pipeline.releases(NODE))
    exchange.clock.set(START + 10 * DAY)
    (whole,) = pipeline.materialize(NODE, "2025-01-01", "2025-01-02").partitions
    assert whole.sealed is not None and whole.sealed.preview_fingerprint == whole.sealed.ref.fingerprint
