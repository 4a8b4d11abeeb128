"""The bench's end by a signal: nothing that it started stays, be it that the signal came meanwhile."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from bench import __main__ as command
from bench import places
from bench.ending import Ending
from bench.goals import LINES
from bench.line import Row
from bench.measuring import process as measuring
from bench.report import page
from bench.report.machine import commit
from bench.worlds import dagster, servers

LASTING = "import signal; signal.pause()"


@contextmanager
def deployed(folder: Path) -> Iterator[None]:
    (folder / "lasting.py").write_text(LASTING)
    with dagster.Deployment(folder) as deployment:
        deployment.start("lasting")
        yield


@contextmanager
def run(_: Path) -> Iterator[None]:
    with measuring.running([sys.executable, "-S", "-c", LASTING]):
        yield


@contextmanager
def served(_: Path) -> Iterator[None]:
    class Server:
        def start(self) -> None:
            self.process = subprocess.Popen([sys.executable, "-S", "-c", LASTING])

        def kill(self) -> None:
            self.process.kill()
            self.process.wait()

    with ExitStack() as stack:
        servers._start(Server(), stack)
        yield


LINE = next(line for line in LINES if line.name == "bars.conform-pandas")


def rows_of_a_line(held: list[str], *_: object, **__: object) -> Iterator[Row]:
    """A row; nothing is held once no more are wanted."""
    try:
        yield Row(LINE, ours=1.0, peer=2.0, ratio=0.5, rounds=1)
    finally:
        held.clear()


STARTS, ENDS = "starts", "ends"


@pytest.mark.parametrize(
    ("started", "moment"),
    [(deployed, STARTS), (run, STARTS), (served, STARTS), (deployed, ENDS), (run, ENDS)],
)
def test_a_signal_that_comes_while_something_starts_or_ends_leaves_nothing_of_that(
    started: Callable[[Path], Any], moment: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ending, made = Ending(), list[subprocess.Popen[Any]]()

    class Signalled(subprocess.Popen[Any]):
        def __init__(self, *words: Any, **how: Any) -> None:
            super().__init__(*words, **how)
            made.append(self)
            if moment == STARTS:
                ending(signal.SIGTERM)

        def wait(self, timeout: float | None = None) -> int:
            if moment == ENDS:
                ending(signal.SIGTERM)
            return super().wait(timeout)

    for module in (measuring, dagster, servers):
        monkeypatch.setattr(module, "ENDING", ending)
    monkeypatch.setattr(subprocess, "Popen", Signalled)
    try:
        with pytest.raises(SystemExit) as ended, started(tmp_path):
            assert moment == ENDS, "it went on"
        assert ended.value.code == 128 + signal.SIGTERM
        assert [process.returncode is None for process in made] == [False]
    finally:
        for process in made:
            process.kill()
            process.wait()


@pytest.mark.parametrize("moment", ["mkdtemp", "rmtree"])
def test_a_signal_that_comes_while_a_folder_is_made_or_removed_leaves_nothing_of_it(
    moment: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ending = Ending()
    owner: Any = tempfile if moment == "mkdtemp" else shutil
    work = getattr(owner, moment)

    def signalled(*words: Any, **how: Any) -> Any:
        if moment == "rmtree":
            ending(signal.SIGTERM)
        done = work(*words, **how)
        ending(signal.SIGTERM)
        return done

    monkeypatch.setattr(places, "ENDING", ending)
    monkeypatch.setattr(owner, moment, signalled)
    with pytest.raises(SystemExit), places.passing_folder(within=tmp_path) as folder:
        (folder / "something").touch()
    assert not [*tmp_path.iterdir()]


def test_a_page_that_was_begun_is_written_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ending = Ending()

    def drawn(*_: object) -> list[Path]:
        ending(signal.SIGTERM)
        return []

    monkeypatch.setattr(command, "ENDING", ending)
    monkeypatch.setattr(command, "run", partial(rows_of_a_line, []))
    monkeypatch.setattr(page, "draw", drawn)
    with pytest.raises(SystemExit) as ended:
        command.main(["--only", LINE.name, "--page", str(tmp_path / "made.md")])
    assert ended.value.code == 143
    assert sorted(one.name for one in tmp_path.iterdir()) == ["made.json", "made.md"]


def test_rows_that_cannot_be_written_any_more_are_shown_and_miss_no_goal(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder := tmp_path / "made").mkdir()

    def rows(*_: object, **__: object) -> Iterator[Row]:
        folder.rmdir()
        yield Row(LINE, ours=1.0, peer=2.0, ratio=0.5, rounds=1)

    monkeypatch.setattr(command, "run", rows)
    assert command.main(["--only", LINE.name, "--json", str(folder / "rows.json")]) == 2
    told = capsys.readouterr()
    assert "0.50 x" in told.out and "rows.json" in told.err


def test_a_machine_without_git_measures_as_well(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert commit() == "no git"


def test_what_a_line_holds_is_given_back_before_the_end_is_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    held = [LINE.name]
    monkeypatch.setattr(command, "run", partial(rows_of_a_line, held))
    monkeypatch.setattr(command.Results, "write", lambda *_: Ending()(signal.SIGTERM))
    with pytest.raises(SystemExit) as ended:
        command.main(["--only", LINE.name, "--json", str(tmp_path / "made.json")])
    assert (ended.value.code, held) == (143, [])


def test_the_first_signal_ends_and_a_second_one_does_not_disturb_that() -> None:
    ending = Ending()
    with pytest.raises(SystemExit) as ended:
        ending(signal.SIGINT)
    assert ended.value.code == 130
    ending(signal.SIGTERM)
    with ending.put_off():
        pass


def test_what_must_not_be_cut_short_may_lie_in_what_must_not_either() -> None:
    ending, done = Ending(), []

    def work() -> None:
        with ending.put_off():
            with ending.put_off():
                ending(signal.SIGTERM)
                done.append("inner")
            done.append("outer")

    with pytest.raises(SystemExit):
        work()
    assert done == ["inner", "outer"]
