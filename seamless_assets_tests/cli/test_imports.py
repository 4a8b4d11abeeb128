"""The command that imports files: what it says, and how it ends."""

from __future__ import annotations

import hashlib
import json
import zipfile
from pathlib import Path

import pytest
from cli.conftest import NODE, Typed

import seamless_assets as sa
from seamless_assets.testing import DAY, START, make_bars

WINDOW = (START - 2 * DAY, START - DAY)


@pytest.fixture
def archive(project: Path) -> Path:
    """A day of bars in the form of Binance Vision, with its checksum."""
    bars = make_bars(*WINDOW, sa.NodeId.parse(NODE).timeframe).to_pandas()
    bars["ts"] *= 1_000
    path = project / "BTCUSDT-2024-12-30.zip"
    with zipfile.ZipFile(path, "w") as made:
        made.writestr("BTCUSDT-2024-12-30.csv", bars.drop(index=[5]).to_csv(index=False, header=False))
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    path.with_name(path.name + ".CHECKSUM").write_text(f"{digest}  {path.name}\n")
    return path


def test_a_dry_run_tells_and_an_import_does(archive: Path, typed: Typed) -> None:
    would = typed("import", NODE, "*.zip", "--dry-run", "--complete")
    assert would.status == 0 and "would be new" in would.out and "2024-12-30 would be released" in would.out
    with sa.connect(archive.parent / "seamless.yaml") as pipeline:
        assert pipeline.releases(NODE) == []
    done = typed("import", NODE, "*.zip", "--complete", "--by", "ann", "--note", "vendor")
    assert done.status == 0 and "2024-12-30 released" in done.out and "1 declared absent" in done.out
    with sa.connect(archive.parent / "seamless.yaml") as pipeline:
        (entry,) = pipeline.releases(NODE)
        assert "by ann: vendor" in entry.reason
    again = typed("import", NODE, archive.name, "--json")
    assert again.status == 0 and json.loads(again.out)["added"] == 0


def test_a_wrong_checksum_is_refused(archive: Path, typed: Typed) -> None:
    beside = archive.with_name(archive.name + ".CHECKSUM")
    beside.write_text(f"{'0' * 64}  {archive.name}\n")
    result = typed("import", NODE, "*.zip")
    assert result.status == 1 and "ImportRefused" in result.err and "checksum" in result.err


def test_differences_want_to_be_confirmed(archive: Path, typed: Typed) -> None:
    assert typed("import", NODE, "*.zip").status in (0, 1)
    bars = make_bars(*WINDOW, sa.NodeId.parse(NODE).timeframe).to_pandas()
    bars["volume"] += 1
    bars.rename(columns={"ts": "Open", "open": "First"}).to_csv(archive.parent / "mine.csv", index=False)
    words = ("import", NODE, "mine.csv", "--rename", "Open=ts", "--rename", "First=open")
    refused = typed(*words)
    assert refused.status == 1 and "RevisionsUnconfirmed" in refused.err
    assert typed(*words, "--confirm-revisions").status == 0


def test_a_partition_that_is_not_released_ends_with_an_error(archive: Path, typed: Typed) -> None:
    bars = make_bars(*WINDOW, sa.NodeId.parse(NODE).timeframe).to_pandas()
    bars.drop(index=range(5, 150)).to_csv(archive.parent / "half.csv", index=False)
    result = typed("import", NODE, "half.csv")
    assert result.status == 1 and "not released" in result.out and "coverage" in result.out
    assert typed("import", NODE, "half.csv", "--rename", "x").status == 2
