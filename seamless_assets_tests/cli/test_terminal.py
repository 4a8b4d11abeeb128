"""Whatever a terminal is, and whatever a message holds: work is done, shown, and ended in order."""

from __future__ import annotations

import ast
import io
import os
import pty
import subprocess
import sys
import threading
import unicodedata
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import TextIO

import click
import pytest
from cli.conftest import NODE, Typed
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

import seamless_assets.cli
from seamless_assets.cli import app, terminal
from seamless_assets.cli.terminal import shown, waiting_for
from seamless_assets.errors import ConfigError, SeamlessError
from seamless_assets.sandbox.faults import Fault
from seamless_assets.sandbox.server import Sandbox

TOOL = Path(sys.executable).with_name("seamless")
HOUR = (NODE, "2025-01-01T00:00:00Z", "2025-01-01T01:00:00Z")
LATER = (NODE, "2025-01-01T06:00:00Z", "2025-01-01T07:00:00Z")
ENCODINGS = ["ascii", "cp1252", "utf-8"]
COMMANDS = [
    ("check",),
    ("backfill", *HOUR),
    ("coverage", NODE, "2025-01-01", "2025-01-02", "--all"),
    ("doctor",),
    ("releases", NODE),
    ("verify",),
    ("metrics",),
]
HOSTILE = "\x1b[2Jgone\x9b31m\r\x07\u202eevil\u2028"
OBEYED = set("\x1b\x9b\r\x07\u202e\u2028")


def test_every_command_ends_well_on_every_console(project: Path, typed: Typed) -> None:
    for command in COMMANDS:
        results = {encoding: typed(*command, encoding=encoding) for encoding in ENCODINGS}
        assert {one.status for one in results.values()} == {0}, (command, results)
        assert all(one.out for one in results.values()) or command[0] == "releases", command
        names = [one for one in results.values() if "USDT" in one.out]
        assert all(r"\u5e01" in one.out or "币" in one.out for one in names), command


def test_a_strip_is_drawn_with_what_the_console_has(project: Path, typed: Typed) -> None:
    typed("backfill", *HOUR)
    window = (NODE, "2025-01-01T00:00:00Z", "2025-01-01T02:00:00Z")
    blocks, signs = typed("coverage", *window), typed("coverage", *window, encoding="cp1252")
    assert "█" * 30 + "!" * 30 in blocks.out and "█ present" in blocks.out
    assert "#" * 30 + "!" * 30 in signs.out and "# present" in signs.out


@given(st.text() | st.text("\x1b\x9b[]2Jm\r\n\t\b\x7f\u202e\u2028\ud800a"))
def test_what_is_shown_cannot_be_obeyed(text: str) -> None:
    safe = shown(text)
    spoken = {unicodedata.category(char) for char in safe if char not in "\n\t"}
    assert not spoken & {"Cc", "Cf", "Cs", "Zl", "Zp"}
    assert shown(safe) == safe
    assert safe == text or not text.replace("\n", "").isprintable()


@pytest.mark.parametrize("kind", [SeamlessError, ConfigError, click.ClickException, click.UsageError])
def test_a_message_is_shown_and_not_obeyed(
    typed: Typed, monkeypatch: pytest.MonkeyPatch, kind: type[Exception]
) -> None:
    @click.command()
    def fail() -> None:
        terminal.say(HOSTILE)
        raise kind(HOSTILE)

    monkeypatch.setitem(app.cli.commands, "fail", fail)
    result = typed("fail")
    assert result.status in (1, 2)
    for text in (result.out, result.err):
        assert r"\x1b[2Jgone\x9b31m\r\x07\u202eevil\u2028" in text
        assert not set(text) & OBEYED


@pytest.mark.parametrize(
    "words",
    [
        ("coverage", f"ohlcv:binance:{HOSTILE}X/Y:1m", "2025-01-01", "2025-01-02"),
        ("coverage", NODE, HOSTILE, "2025-01-02"),
        ("releases", NODE, "--config", f"{HOSTILE}.yaml"),
        ("rollback", NODE, "--reason", HOSTILE, "--to", "1"),
        (HOSTILE,),
        ("check", f"--{HOSTILE}"),
        ("ui", "--port", HOSTILE),
    ],
)
def test_what_was_typed_is_shown_and_not_obeyed(project: Path, typed: Typed, words: tuple[str, ...]) -> None:
    result = typed(*words)
    assert result.status in (1, 2) and result.err
    assert not set(result.err + result.out) & OBEYED


def test_what_an_exchange_says_is_shown_and_not_obeyed(
    project: Path, exchange: Sandbox, typed: Typed
) -> None:
    body = {"code": -1, "msg": HOSTILE}
    exchange.faults.add(Fault("status", path="klines", code=400, body=body, times=None))
    result = typed("backfill", *HOUR)
    assert (
        result.status == 1 and "gone" in result.out + result.err and not set(result.out + result.err) & OBEYED
    )


WORDS = st.text("ab 1.#é币", min_size=1, max_size=30).map(str.strip).filter(bool)


@given(
    rows=st.lists(st.tuples(WORDS, WORDS, WORDS), min_size=1, max_size=4),
    whole=st.sets(st.sampled_from(["one", "two", "three"])),
    width=st.integers(1, 120),
)
def test_no_terminal_is_too_narrow_for_a_table_to_show_all_of_it(
    rows: list[tuple[str, str, str]], whole: set[str], width: int
) -> None:
    screen = Console(width=width, highlight=False, file=io.StringIO())
    made, written = terminal.table("one", "two", "three", whole=whole), io.StringIO()
    for row in rows:
        made.add_row(*map(terminal.cell, row))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(terminal, "_screen", lambda: screen)
        patch.setattr(sys, "stdout", written)
        terminal.say_table(made)
    shown_once = Counter("".join(written.getvalue().split()))
    wanted = Counter("".join("".join(row) for row in rows).replace(" ", ""))
    assert all(shown_once[char] >= count for char, count in wanted.items())
    # What is never broken stands on one line.
    for at, name in enumerate(("one", "two", "three")):
        texts = {row[at] for row in rows} if name in whole else set()
        assert all(any(text in line for line in written.getvalue().splitlines()) for text in texts)


def test_only_one_place_writes() -> None:
    folder = Path(seamless_assets.cli.__file__).parent
    writing = {"echo", "secho", "print", "Console", "write", "show"}
    for path in folder.rglob("*.py"):
        if path.name == "terminal.py":
            continue
        calls = [node.func for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
        names = {call.id if isinstance(call, ast.Name) else getattr(call, "attr", "") for call in calls}
        assert not names & writing, path


@pytest.mark.parametrize("port", ["0", "65536", "-1", "http", "99999999999"])
@pytest.mark.parametrize("command", ["ui", "coordinator", "metrics"])
def test_a_port_out_of_range_is_refused(typed: Typed, command: str, port: str) -> None:
    result = typed(command, "--port", port)
    assert result.status == 2 and "--port" in result.err


def test_progress_says_what_is_done_and_no_more(project: Path, exchange: Sandbox) -> None:
    exchange.faults.add(Fault("status", path="klines", code=503, times=None))
    assert "60/60" not in on_a_terminal("backfill", *HOUR, folder=project)
    exchange.faults.clear()
    assert "60/60" in on_a_terminal("backfill", *LATER, folder=project)


def on_a_terminal(*words: str, folder: Path) -> str:
    """What a command writes where its output is a terminal."""
    ours, theirs = pty.openpty()
    with subprocess.Popen([TOOL, *words], cwd=folder, stdin=theirs, stdout=theirs, stderr=theirs) as command:
        os.close(theirs)
        output = bytearray()
        while piece := read_some(ours):
            output += piece
        os.close(ours)
    assert command.returncode in (0, 1)
    return output.decode()


def read_some(terminal_: int) -> bytes:
    try:
        return os.read(terminal_, 65_536)
    except OSError:
        # How a terminal tells that nobody has it open any more.
        return b""


@pytest.fixture
def written_to(monkeypatch: pytest.MonkeyPatch) -> Callable[[TextIO | None], tuple[int, str]]:
    """Check the project's file with another standard output; the status, and what standard error holds."""

    def check(out: TextIO | None) -> tuple[int, str]:
        err = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
        with monkeypatch.context() as patch:
            for name, value in (("stdout", out), ("stderr", err), ("argv", ["seamless", "check"])):
                patch.setattr(sys, name, value)
            terminal.open_streams()
            status = app.run()
            terminal.discard_output()
            sys.stdout.close()
            err.flush()
        return status, err.buffer.getvalue().decode()  # type: ignore[attr-defined]

    return check


def test_outputs_that_take_nothing(
    project: Path, written_to: Callable[[TextIO | None], tuple[int, str]]
) -> None:
    assert written_to(None) == (0, "")
    with open("/dev/full", "w") as full:
        assert written_to(full) == (1, "the output cannot be written: No space left on device\n")
    reading, writing = os.pipe()
    os.close(reading)
    with open(writing, "w") as broken:
        assert written_to(broken) == (1, "")


@pytest.mark.parametrize("rows", [1, 5_000])
def test_a_table_that_cannot_be_written_is_told_so(rows: int) -> None:
    code = f"""
from seamless_assets.cli import terminal
terminal.open_streams()
made = terminal.table("ts")
for row in range({rows}):
    made.add_row(str(row))
try:
    terminal.say_table(made)
except terminal.Unwritten as error:
    terminal.warn(error.reason)
terminal.discard_output()
"""
    with open("/dev/full", "w") as full:
        result = subprocess.run(
            [sys.executable, "-c", code], stdout=full, stderr=subprocess.PIPE, check=False
        )
    assert (result.returncode, result.stderr.decode()) == (0, "No space left on device\n")


def test_a_command_whose_reader_is_gone_says_nothing_of_it(project: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    result = subprocess.run([TOOL, "check"], stdout=writing, stderr=subprocess.PIPE, check=False)
    os.close(writing)
    assert (result.returncode, result.stderr) == (1, b"")


def test_what_is_waited_for_is_named(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(terminal, "PATIENCE_S", 0.0)
    is_asked = threading.Event()

    def name(what: str) -> Callable[[], str]:
        def tell() -> str:
            is_asked.set()
            return what

        return tell

    with waiting_for(describe=name("kraken")):
        assert is_asked.wait(60)
    while "kraken" not in (err := capsys.readouterr().err):
        pass
    assert err == "waiting for kraken\n"
    monkeypatch.setattr(terminal, "PATIENCE_S", 3_600.0)
    with waiting_for("what comes at once"):
        pass
    assert capsys.readouterr().err == ""
