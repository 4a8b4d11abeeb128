"""`seamless ui` on a folder that holds a seamless.yaml and nothing else: it serves, and ends all it began."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest
from cli.conftest import Typed
from support.services import await_answer, free_port

TOOL = Path(sys.executable).with_name("seamless")
LOCATIONS = """{ workspaceOrError { ... on Workspace { locationEntries { locationOrLoadError {
    ... on RepositoryLocation { repositories { assetNodes { assetKey { path } } } }
    ... on PythonError { message } } } } } }"""


@dataclass(frozen=True)
class Started:
    """The command, the port of its UI, and the file of what it says."""

    command: subprocess.Popen[bytes]
    port: int
    log: Path

    def await_answer(self) -> None:
        """Return once the UI answers."""
        await_answer(self.command, f"http://127.0.0.1:{self.port}/server_info", self.log)

    def await_words(self, words: str) -> None:
        """Return once the command has said `words`."""
        while words not in self.log.read_text():
            assert self.command.poll() is None, self.log.read_text()
            time.sleep(0.05)

    def await_program(self, folder: Path, words: str) -> int:
        """The process of a program that the command starts, as soon as there is one."""
        while not (
            found := [pid for pid, command_line in started_in(folder).items() if words in command_line]
        ):
            assert self.command.poll() is None, self.log.read_text()
            time.sleep(0.05)
        return found[0]

    def end(self, pid: int, sent: signal.Signals) -> tuple[int, str]:
        """The exit status, and all that was said, after a process was sent a signal."""
        os.kill(pid, sent)
        return self.command.wait(), self.log.read_text()


def started_in(folder: Path) -> dict[int, str]:
    """Processes that work for the project in a folder, whoever began them, with their commands."""
    found = {}
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if f"={folder}/".encode() in (process / "environ").read_bytes():
                found[int(process.name)] = (process / "cmdline").read_text().replace("\0", " ")
        except OSError:
            continue
    return found


@pytest.fixture
def elsewhere(project: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Another folder than the project's, to type the command in."""
    return tmp_path_factory.mktemp("elsewhere")


@pytest.fixture
def ui(project: Path, elsewhere: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Started]:
    """The command, under way."""
    port = free_port()
    words = [TOOL, "ui", "--port", str(port), "--config", project / "seamless.yaml"]
    environment = {name: value for name, value in os.environ.items() if name != "DAGSTER_HOME"}
    log = tmp_path_factory.mktemp("log") / "said.txt"
    with log.open("w") as said:
        command = subprocess.Popen(words, cwd=elsewhere, env=environment, stdout=said, stderr=said)
    yield Started(command, port, log)
    command.kill()
    command.wait()
    for pid in started_in(project):
        os.kill(pid, signal.SIGKILL)


def assets(port: int) -> list[list[str]]:
    """Keys of the assets that the UI shows."""
    asked = Request(f"http://127.0.0.1:{port}/graphql", json.dumps({"query": LOCATIONS}).encode())
    asked.add_header("Content-Type", "application/json")
    with urlopen(asked, timeout=60) as answer:
        (entry,) = json.load(answer)["data"]["workspaceOrError"]["locationEntries"]
    loaded = entry["locationOrLoadError"]
    assert "message" not in loaded, loaded["message"]
    (repository,) = loaded["repositories"]
    return [node["assetKey"]["path"] for node in repository["assetNodes"]]


def test_it_shows_the_series_until_it_is_stopped(project: Path, elsewhere: Path, ui: Started) -> None:
    ui.await_answer()
    # The command looks for itself whether the UI answers, and not at the same moment.
    ui.await_words("Ctrl-C stops it")
    assert [key[:2] for key in assets(ui.port)] == [["ohlcv", "binance"]]
    assert len(started_in(project)) >= 4
    status, output = ui.end(ui.command.pid, signal.SIGINT)
    assert status == 130, output
    assert f"Dagster: http://127.0.0.1:{ui.port} (Ctrl-C stops it)" in output and "Traceback" not in output
    assert started_in(project) == {}
    assert list(elsewhere.iterdir()) == []
    assert (project / "data" / "dagster" / "dagster.yaml").exists()


def test_it_fails_and_ends_the_rest_where_one_of_its_programs_ends(project: Path, ui: Started) -> None:
    webserver = ui.await_program(project, "-m dagster_webserver")
    status, output = ui.end(webserver, signal.SIGKILL)
    assert status == 1 and "dagster-webserver ended by itself, with exit status -9" in output
    assert started_in(project) == {}


def test_it_ends_all_it_began_when_it_is_stopped_at_once(project: Path, ui: Started) -> None:
    ui.await_program(project, "dagster")
    status, output = ui.end(ui.command.pid, signal.SIGTERM)
    assert status == 143, output
    assert started_in(project) == {}


def test_it_starts_nothing_where_it_cannot_serve(project: Path, typed: Typed, exchange: object) -> None:
    url = (project / "seamless.yaml").read_text().split("base_url: ")[1].split()[0]
    taken = typed("ui", "--port", url.rpartition(":")[2])
    assert taken.status == 1 and "is taken by another program; choose another --port" in taken.err
    (project / "seamless.yaml").write_text("seamless: {}\n")
    wrong = typed("ui", "--port", str(free_port()))
    assert wrong.status == 1 and "names no exchange" in wrong.err
    assert not (project / "data").exists()


@pytest.mark.deep
def test_a_killed_up_leaves_nothing_and_the_next_one_starts(project: Path, tmp_path_factory: Any) -> None:
    ports = free_port(), free_port()
    words = [TOOL, "up", "--port", str(ports[0]), "--service-port", str(ports[1])]
    environment = {name: value for name, value in os.environ.items() if name != "DAGSTER_HOME"}
    for number, (sent, status) in enumerate(
        ((signal.SIGKILL, -9), (signal.SIGKILL, -9), (signal.SIGTERM, 143), (signal.SIGINT, 130))
    ):
        log = tmp_path_factory.mktemp("log") / f"{number}.txt"
        with log.open("w") as said:
            command = subprocess.Popen(words, cwd=project, env=environment, stdout=said, stderr=said)
        up = Started(command, ports[0], log)
        if number == 1:
            # Killed while its programs still begin.
            up.await_program(project, "-m dagster_webserver")
        else:
            up.await_words("Dagster: http")
            up.await_words("Service: http")
            assert len(started_in(project)) >= 5
        assert up.end(command.pid, sent)[0] == status
        if sent != signal.SIGKILL:
            assert started_in(project) == {}
    deadline = time.monotonic() + 60
    while started_in(project):
        assert time.monotonic() < deadline, started_in(project)
        time.sleep(0.1)
