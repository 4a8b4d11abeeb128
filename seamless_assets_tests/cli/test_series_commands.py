"""The commands about nodes: what they show to people, what they give to machines, how they end."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest
from cli.conftest import NODE, SYMBOL, Typed
from pyarrow import parquet

import seamless_assets as sa
from seamless_assets.sandbox.faults import Fault
from seamless_assets.sandbox.server import Sandbox
from seamless_assets.testing import DAY, START

DAYS = ("2025-01-01", "2025-01-02")


@pytest.fixture
def released(project: Path) -> Path:
    """The project with one day of its series released."""
    with sa.connect(project / "seamless.yaml") as pipeline:
        assert pipeline.materialize(NODE, *DAYS).released
    return project


def test_materializing_tells_each_partition_and_what_is_not_released(project: Path, typed: Typed) -> None:
    result = typed("materialize", NODE, "2025-01-01", "2025-01-04")
    lines = result.out.splitlines()
    assert result.status == 0 and [line.split()[0] for line in lines] == [
        "2025-01-01",
        "2025-01-02",
        "2025-01-03",
    ]
    assert "released" in lines[0] and "not settled yet" in lines[2]
    again = typed("materialize", NODE, *DAYS, "--json")
    (record,) = json.loads(again.out)
    assert record["released"] and record["missing"] == 0 and record["as_of"]


def test_a_partition_that_is_not_released_is_shown_by_the_status(
    project: Path, exchange: Sandbox, typed: Typed
) -> None:
    exchange.faults.add(Fault("inverted", path="klines", times=None))
    result = typed("materialize", NODE, *DAYS, "--json")
    assert result.status == 1 and not json.loads(result.out)[0]["released"]


@pytest.mark.parametrize("form", ["csv", "json", "arrow", "parquet"])
def test_bars_are_read_into_files_as_they_are(released: Path, typed: Typed, form: str) -> None:
    out = released / f"bars.{form}"
    result = typed("read", NODE, *DAYS, "--out", str(out))
    assert result.status == 0 and str(out) in result.out
    with sa.connect(released / "seamless.yaml") as pipeline:
        expected = pipeline.read(NODE, *DAYS).to_pandas()
    read = {
        "csv": lambda: pd.read_csv(out),
        "json": lambda: pd.DataFrame(json.loads(out.read_text())["bars"], columns=expected.columns),
        "arrow": lambda: pa.ipc.open_stream(out.read_bytes()).read_all().to_pandas(),
        "parquet": lambda: parquet.read_table(out).to_pandas(),
    }[form]()
    pd.testing.assert_frame_equal(read, expected)


def test_a_read_is_shown_as_a_table_and_piped_as_csv(released: Path, typed: Typed) -> None:
    shown = typed("read", NODE, *DAYS)
    assert "open" in shown.out.splitlines()[0] and "..." in shown.out and "PASS" in shown.out
    assert len(shown.out.splitlines()) < 40
    piped = typed("read", NODE, "--limit", "3", "--columns", "ts,close", "--format", "csv")
    frame = pd.read_csv(io.StringIO(piped.out))
    assert list(frame.columns) == ["ts", "close"] and len(frame) == 3


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--as-of", "2199-01-01"), "AsOfInFuture"),
        (
            ("--domain", "backtest"),
            "AsOfRequired: --domain backtest reads what was known at an instant; say which by --as-of",
        ),
        (("--columns", "shut"), "InvalidChoice"),
        (("--out", "bars.xml"), "InvalidInput"),
        (("--out", "/nowhere/at/all/bars.csv"), "InvalidInput"),
    ],
)
def test_a_read_that_cannot_be_says_why(
    released: Path, typed: Typed, words: tuple[str, ...], said: str
) -> None:
    result = typed("read", NODE, *words)
    assert result.status == 1 and result.err.startswith(said) and "Traceback" not in result.err


@pytest.mark.parametrize(
    ("form", "name", "said"),
    [
        ("parquet", "bars.csv", "--format parquet contradicts --out"),
        ("csv", "bars.JSON", "--format csv contradicts --out"),
        ("table", "bars.csv", "a table is printed, not written"),
        ("table", "bars", "a table is printed, not written"),
    ],
)
def test_a_format_and_a_name_that_contradict_each_other_are_refused(
    typed: Typed, tmp_path: Path, form: str, name: str, said: str
) -> None:
    out = tmp_path / name
    result = typed("read", NODE, *DAYS, "--format", form, "--out", str(out))
    assert result.status == 2 and said in result.err and not out.exists()


def test_a_name_that_says_no_format_takes_any(released: Path, typed: Typed) -> None:
    out = released / "bars.txt"
    assert typed("read", NODE, *DAYS, "--format", "csv", "--out", str(out)).status == 0
    assert pd.read_csv(out)["ts"].is_monotonic_increasing


@pytest.mark.parametrize("encoding", ["utf-8", "ascii", "cp1252"])
def test_a_strip_for_every_node_on_any_terminal(released: Path, typed: Typed, encoding: str) -> None:
    result = typed("status", encoding=encoding)
    assert result.status == 0 and "1.0000" in result.out and "present" in result.out
    (row,) = json.loads(typed("status", NODE, "--days", "1", "--json", encoding=encoding).out)
    assert row["node_id"] == NODE and (row["end"] - row["start"], row["seq"]) == (DAY, 1)
    assert row["missing"] == 0 and row["coverage_ratio"] == 1.0 and row["lag_seconds"] > 0


def test_a_node_without_a_release_has_a_strip_too(project: Path, typed: Typed) -> None:
    (row,) = json.loads(typed("status", "--json").out)
    assert (row["seq"], row["lag_seconds"], row["present"]) == (None, None, 0)
    assert "never" in typed("status").out


def test_a_node_without_a_release_is_told_so_by_every_list_of_them(project: Path, typed: Typed) -> None:
    told = typed("releases", NODE)
    assert told.status == 0 and "has no release; `seamless materialize" in told.out
    assert json.loads(typed("releases", NODE, "--json").out) == []
    told = typed("diff", NODE, "1")
    assert told.status == 1 and "no release 1; there is none yet" in told.err


def test_gaps_are_listed_by_reason(released: Path, typed: Typed) -> None:
    listed = json.loads(typed("gaps", NODE, "2025-01-01", "2025-01-03", "--json").out)
    missing = json.loads(typed("gaps", NODE, "2025-01-01", "2025-01-03", "--reason", "missing", "--json").out)
    assert [gap for gap in listed if gap["reason"] == "missing"] == missing
    assert sum(gap["bars"] for gap in missing) == 1440
    assert (missing[0]["start"], missing[-1]["end"]) == (START + DAY, START + 2 * DAY)
    assert "missing" in typed("gaps", NODE, "2025-01-01", "2025-01-03").out
    assert typed("gaps", NODE, "2025-01-01", "2025-01-01").out == "no gaps\n"


def test_the_condition_of_each_partition(released: Path, typed: Typed) -> None:
    states = json.loads(typed("condition", NODE, "2025-01-01", "2025-01-03", "--json").out)
    assert [one["state"] for one in states] == ["available", "missing"]
    assert "available" in typed("condition", NODE, *DAYS).out


@pytest.mark.parametrize(
    "words",
    [
        ("coverage", NODE, *DAYS),
        ("backfill", NODE, *DAYS),
        ("releases", NODE),
        ("diff", NODE, "1"),
        ("check",),
        ("doctor",),
    ],
)
def test_what_people_read_machines_read_too(released: Path, typed: Typed, words: tuple[str, ...]) -> None:
    result = typed(*words, "--json", encoding="ascii")
    value = json.loads(result.out)
    assert (
        result.status == 0
        and value
        and (SYMBOL in json.dumps(value, ensure_ascii=False) or words[0] != "check")
    )


def test_every_command_says_what_it_is_for(typed: Typed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    listed = typed("--help").out
    assert not [line for line in listed.splitlines() if line.startswith("  ") and line.endswith("...")]
    names = [line.split()[0] for line in listed.partition("Commands:")[2].splitlines() if line.strip()]
    assert {"up", "materialize", "read", "status", "gaps", "condition", "diff", "serve", "new"} <= set(names)
    for name in names:
        result = typed(name, "--help")
        assert result.status == 0 and (name == "sandbox" or len(result.out.splitlines()) > 4), name


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shells_complete_nodes_of_the_project(
    project: Path, typed: Typed, monkeypatch: pytest.MonkeyPatch, shell: str
) -> None:
    assert "_SEAMLESS_COMPLETE" in typed("completions", shell).out
    from click.shell_completion import ShellComplete

    from seamless_assets.cli.app import cli

    found = ShellComplete(cli, {}, "seamless", "_SEAMLESS_COMPLETE").get_completions(["read"], "ohlcv:b")
    assert [item.value for item in found] == [NODE]
    (project / "seamless.yaml").write_text("exchanges: 5")
    assert ShellComplete(cli, {}, "seamless", "_SEAMLESS_COMPLETE").get_completions(["read"], "ohlcv") == []
