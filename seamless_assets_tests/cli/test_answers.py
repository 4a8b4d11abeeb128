"""What machines get of every command, what people are told before they type one, and how each ends."""

from __future__ import annotations

import hashlib
import json
import re
import socket
from pathlib import Path
from typing import Any

import click
import pytest
from cli.conftest import NODE, Typed

import seamless_assets as sa
from seamless_assets.cli.app import cli

DAYS = ("2025-01-01", "2025-01-02")
OUTAGE = (NODE, "2025-01-01T06:00:00Z", "2025-01-01T07:00:00Z")
WITHOUT_AN_ANSWER = {"completions", "coordinator", "demo", "metrics", "sandbox", "serve", "ui", "up"}
"""They serve until they are stopped, or print what another program reads as it is."""


@pytest.fixture
def released(project: Path) -> Path:
    """The project with one day of its series released."""
    with sa.connect(project / "seamless.yaml") as pipeline:
        assert pipeline.materialize(NODE, *DAYS).released
    return project


def test_every_command_with_an_answer_gives_it_to_machines(released: Path, typed: Typed) -> None:
    def ask(*words: str) -> Any:
        asked.add(words[0])
        # Bars are bytes of a format, whatever the terminal.
        result = typed(*words, "--json", encoding="utf-8" if words[0] == "read" else "ascii")
        assert result.status == 0, (words, result)
        return json.loads(result.out)

    asked: set[str] = set()
    reason = ("--reason", "a test")
    (known,) = ask("releases", NODE)
    assert ask("declare", *OUTAGE, "--reason", "outage")["reason"] == "outage"
    assert [one["reason"] for one in ask("declarations", *OUTAGE)] == ["outage"]
    assert ask("revoke", *OUTAGE) == ask("declarations", *OUTAGE)
    assert ask("read", NODE, "--limit", "2")["metadata"]["rows"] == 2
    assert [row["node_id"] for row in ask("status")] == [NODE]
    assert ask("coverage", NODE, *DAYS)["ratio"] == 1.0
    assert isinstance(ask("gaps", NODE, *DAYS), list)
    assert ask("condition", NODE, *DAYS)[0]["state"] == "available"
    assert ask("backfill", NODE, *DAYS)["coverage"]["missing"] == 0
    assert ask("materialize", NODE, *DAYS)[0]["released"]
    assert ask("withdraw", NODE, "2025-01-01", *reason)["withdrawn"]
    assert ask("rollback", NODE, "--to", "1", *reason)["dataset_fingerprint"] == known["dataset_fingerprint"]
    assert ask("unpin", NODE, *reason)["seq"] == 4
    assert ask("diff", NODE, "1")["bars"]["changed"] == 0
    assert len(ask("files", NODE)) == 1
    assert ask("compact", NODE)["node_id"] == NODE
    assert ask("gc", NODE)[0]["removed"] == []
    assert [one["is_sound"] for one in ask("verify")] == [True]
    assert ask("evict") == {"dropped": 0}
    settings = released / "seamless.yaml"
    settings.write_text(
        settings.read_text("utf-8").replace("artifact: {", "artifact: {mirror: iceberg, "), "utf-8"
    )
    assert ask("mirror")[NODE].endswith("/v4.metadata.json")
    assert ask("export", NODE, "--to", str(released / "bars.csv"))["sidecar"]["rows"] > 0
    assert ask("import", NODE, str(released / "bars.csv"))["added"] == 0
    assert ask("verify-export", str(released / "bars.csv"))["is_sound"]
    assert ask("verify-export", str(released / "bars.csv"), "--released")["is_as_released"]
    assert ask("check")["nodes"] == [NODE]
    assert {one["part"] for one in ask("doctor")} >= {"hot store", "disk", "open files", "versions"}
    made = ask("token", "bot")
    assert hashlib.sha256(made["token"].encode()).hexdigest() == made["sha256"]
    assert str(released / "mine" / "seamless.yaml") in ask("new", str(released / "mine"))
    ask("withdraw", NODE, "2025-01-01", *reason)
    assert ask("release", NODE, *reason)["dataset_fingerprint"] == known["dataset_fingerprint"]
    with_json = {name for name, command in cli.commands.items() if "--json" in options(command)}
    assert with_json == set(cli.commands) - WITHOUT_AN_ANSWER == asked | {"accept"}


@pytest.mark.parametrize(
    ("words", "status", "error", "said"),
    [
        (("coverage", "ohlcv:nowhere", *DAYS), 1, "InvalidNodeId", "nowhere"),
        (("releases", "ohlcv:kraken:X/Y:1m", "--config", "none.yaml"), 1, "ConfigError", "no such file"),
        (("rollback", NODE, "--to", "7", "--reason", "r"), 1, "", "7"),
        (("coverage", NODE), 2, "MissingParameter", "START"),
        (("read", NODE, "--format", "csv"), 2, "UsageError", "--json"),
    ],
)
def test_an_error_is_one_line_for_machines_too(
    released: Path, typed: Typed, words: tuple[str, ...], status: int, error: str, said: str
) -> None:
    for order in ((*words, "--json"), (words[0], "--json", *words[1:])):
        result = typed(*order, encoding="ascii")
        (line,) = result.err.splitlines()
        told = json.loads(line)
        assert (result.status, result.out) == (status, "") and said in told["detail"], result
        assert told["error"] == error or not error
    plain = typed(*words)
    assert not plain.err.startswith("{") and (plain.status == status or "--format" in words)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--json", "read", NODE), "--json goes after the command: `seamless read ... --json`"),
        (("--as-of=1", NODE, "read"), "`seamless read ... --as-of`"),
        (("--wat", "read"), "No such option"),
    ],
)
def test_an_option_before_the_command_is_told_where_it_goes(
    typed: Typed, words: tuple[str, ...], said: str
) -> None:
    told = typed(*words)
    assert told.status == 2 and said in told.err and "--version" not in told.err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--listed", "BTC/USDT"), "InvalidInput: "),
        (("--listed", "NO/SUCH=2024-01-01"), "InvalidInput: "),
        (("--replay", "BTC/USDT:1m=nowhere.parquet"), "InvalidInput: "),
        (("--now", "soon"), "InvalidTimestamp: "),
        (("--port", "99999"), "InvalidInput: "),
        (("--sped", "2"), "usage: seamless sandbox"),
    ],
)
def test_a_local_exchange_that_is_asked_for_wrongly_ends_as_every_command_typed_wrongly(
    typed: Typed, words: tuple[str, ...], said: str
) -> None:
    told = typed("sandbox", *words)
    assert told.status == 2 and told.err.startswith(said), told


def test_a_local_exchange_whose_port_is_taken_names_another(typed: Typed) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        told = typed("sandbox", "--port", str(other.getsockname()[1]))
    assert told.status == 1 and told.err.startswith("InvalidInput: 127.0.0.1:") and "--port 0" in told.err


@pytest.mark.parametrize("command", ["serve", "coordinator", "metrics"])
@pytest.mark.parametrize("host", ["127.0.0.1", "192.0.2.1"])
def test_what_cannot_listen_says_so_as_every_command_does(
    project: Path, typed: Typed, command: str, host: str
) -> None:
    settings = project / "seamless.yaml"
    token = f"service: {{tokens: {{bot: {{sha256: {'a' * 64}, scopes: [read]}}}}}}\n"
    settings.write_text(settings.read_text("utf-8") + token, "utf-8")
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        told = typed(command, "--host", host, "--port", str(port))
    assert (told.status, told.out) == (1, "")
    assert told.err.startswith(f"InvalidInput: {host}:{port} ") and "choose another --" in told.err


def test_every_command_tells_all_of_itself(typed: Typed) -> None:
    for name, command in cli.commands.items():
        text = re.sub(r"\s+", " ", command.help or "")
        assert text and text[0].isupper() and text.count(".") >= 1, name
        for parameter in command.params:
            if isinstance(parameter, click.Option):
                assert parameter.help and parameter.help.endswith((".", "?")), (name, parameter.name)
            elif name != "sandbox":
                word = parameter.human_readable_name.strip("[].")
                assert re.search(rf"\b{word}\b", text), (name, word)
    listed = typed("--help").out
    for status in ("0 ", "1 ", "2 ", "130", "143"):
        assert re.search(rf"^ +{status}", listed, re.MULTILINE), status
    assert "usage" in typed("sandbox", "--help").out.lower()


def options(command: click.Command) -> set[str]:
    """What can be given to a command."""
    return {option for parameter in command.params for option in parameter.opts}


@pytest.mark.parametrize(
    ("exchanges", "line", "key", "said"),
    [
        ("kraken:\n    symbols: [A/B]\n    timeframes: [1m, 1M, 1h]", 7, "kraken.timeframes[1]", "no 1M"),
        ("okx: {symbols: [A/B], timeframes: [7h]}", 5, "okx.timeframes[0]", "no 7h"),
        ("binanceusdm: {symbols: [A/B], timeframes: [7h]}", 5, "binanceusdm.timeframes[0]", "1m, 3m"),
        ("okx: {symbols: [A/B]}\n  coinbase: {symbols: [A/B], timeframes: [1w]}", 6, "coinbase", "1h"),
    ],
)
def test_a_timeframe_that_an_exchange_does_not_serve_is_refused_without_asking_it(
    tmp_path: Path, typed: Typed, exchanges: str, line: int, key: str, said: str
) -> None:
    file = tmp_path / "seamless.yaml"
    head = "seamless:\n  artifact: {object_store_uri: ./a}\n  hot_store: {dsn: 'sqlite:///./h.sqlite'}\n"
    file.write_text(f"{head}exchanges:\n  {exchanges}\n")
    told = typed("check", "--config", str(file), "--json")
    (problem,) = json.loads(told.err)["facts"]["problems"]
    assert (told.status, problem["line"]) == (1, line) and said in problem["message"]
    assert problem["key"].startswith(f"exchanges.{key}") and "; it has " in problem["message"]
    file.write_text(f"{head}exchanges:\n  kraken: {{symbols: [A/B], timeframes: [1m, 1w]}}\n")
    assert typed("check", "--config", str(file)).status == 0
