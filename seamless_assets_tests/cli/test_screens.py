"""The command line on a real terminal: what stands on its screen, which is what a person sees."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pexpect
import pyte
from cli.conftest import NODE

import seamless_assets as sa
from seamless_assets.sandbox.faults import Fault
from seamless_assets.sandbox.server import Sandbox

TOOL = Path(sys.executable).with_name("seamless")
ROWS, NARROW, WIDE = 30, 80, 132


def screen_of(folder: Path, columns: int, *words: str) -> tuple[int, list[str]]:
    """The exit status of a command, and the lines of the terminal that it was typed in."""
    screen = pyte.Screen(columns, ROWS)
    stream = pyte.ByteStream(screen)
    # A size in the environment, as runners of tests have it, goes before that of the terminal.
    inherited = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES")}
    environment = {**inherited, "TERM": "xterm-256color", "LC_ALL": "C.UTF-8"}
    child = pexpect.spawn(
        str(TOOL), list(words), cwd=folder, dimensions=(ROWS, columns), env=environment, timeout=120
    )
    while True:
        try:
            stream.feed(child.read_nonblocking(65_536))
        except pexpect.EOF:
            break
    child.close()
    return child.exitstatus, [line.rstrip() for line in screen.display]


def test_a_screen_shows_whole_lines_and_no_remains_of_progress(project: Path, exchange: Sandbox) -> None:
    status, made = screen_of(project, WIDE, "materialize", NODE, "2025-01-01", "2025-01-02")
    shown = [line for line in made if line and not line.startswith("waiting for")]
    assert status == 0 and shown[0].startswith("2025-01-01 released, 1440 of 1440 bars"), made
    assert not any("━" in line or "%" in line for line in made), made
    names = ["node", "strip", "coverage", "missing", "lag"]
    for columns, cells, more in ((NARROW, 8, []), (WIDE, 40, ["release", "as", "of"])):
        status, lines = screen_of(project, columns, "status")
        (head,) = (line for line in lines if line.startswith("node"))
        (row,) = (line for line in lines if line.startswith("ohlcv:"))
        assert head.split() == [*names, *more] and status == 0, lines
        assert row.count("█") >= cells and " 1.0000 " in row and len(row) <= columns, lines
        assert row.endswith("2025-01-03 00:00") or not more, lines


def test_what_is_printed_below_a_bar_of_progress_goes_where_it_was_sent(
    project: Path, exchange: Sandbox
) -> None:
    command = f"{TOOL} materialize {NODE} 2025-01-01 2025-01-03 > told.txt"
    shell = pexpect.spawn("sh", ["-c", command], cwd=project, dimensions=(ROWS, WIDE), timeout=120)
    screen = shell.read().decode()
    shell.close()
    told = (project / "told.txt").read_text().splitlines()
    assert shell.exitstatus == 0 and NODE in screen and "released" not in screen
    assert [line[:19] for line in told] == ["2025-01-01 released", "2025-01-02 released"]


def test_the_log_of_releases_is_whole_on_a_narrow_screen(project: Path, exchange: Sandbox) -> None:
    with sa.connect(project / "seamless.yaml") as pipeline:
        pipeline.materialize(NODE, "2025-01-01", "2025-01-02")
        pipeline.withdraw(NODE, "2025-01-01", reason="wrong bars, says a mail of the exchange")
        log = pipeline.releases(NODE)
    status, lines = screen_of(project, NARROW, "releases", NODE)
    shown = " ".join(" ".join(lines).split())
    for entry in log:
        digits = entry.dataset_fingerprint.removeprefix("sha256:")[:12]
        assert f"{entry.seq} {entry.as_of} {entry.kind} {digits}" in shown, lines
    words = {word for line in lines for word in line.split()}
    assert status == 0 and {"wrong", "bars,", "says", "mail", "exchange"} <= words, lines


def test_what_is_waited_for_stands_on_the_screen_and_ctrl_c_ends_it(project: Path, exchange: Sandbox) -> None:
    exchange.faults.add(Fault("hang", path="klines", times=None))
    words = ["backfill", NODE, "2025-01-01T00:00:00Z", "2025-01-01T01:00:00Z"]
    child = pexpect.spawn(str(TOOL), words, cwd=project, dimensions=(ROWS, WIDE), timeout=120)
    child.expect("60 of 60 bars are missing and will be asked for")
    child.expect("waiting for binance at http://127.0.0.1:[0-9]+: 0 of 60 bars came so far")
    child.sendintr()
    child.expect("stopped; 0 of 60 bars are done and stored, the same command does the rest")
    child.expect(pexpect.EOF)
    child.close()
    assert (child.exitstatus, child.signalstatus) == (130, None)
