"""The bench's end by a signal: nothing that it started stays, be it that the signal came meanwhile."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from bench.ending import Ending
from bench.measuring import process as measuring
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
