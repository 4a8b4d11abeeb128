"""A project of one's own, and programs that never outlive the command that started them."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from cli.conftest import Typed
from dagster import DagsterInstance, Definitions, job
from dagster._core.instance.ref import InstanceRef
from dagster._core.storage.compute_log_manager import ComputeIOType

from seamless_assets.cli.project.dagster_home import dagster_environment
from seamless_assets.cli.project.programs import TETHER, run_to_its_end
from seamless_assets.cli.project.ui import loaded_by
from seamless_assets.config.load import load_settings
from seamless_assets.sandbox.server import Sandbox


def test_a_new_project_is_sound_and_is_made_once(
    exchange: Sandbox, tmp_path: Path, typed: Typed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SEAMLESS_EXCHANGE", exchange.url)
    folder = tmp_path / "deep" / "mine"
    result = typed("new", str(folder))
    assert result.status == 0 and "seamless up" in result.out
    made = {path.name: path.read_text() for path in folder.iterdir()}
    dagsters = {"definitions.py", "workspace.yaml", "dagster.yaml"}
    assert set(made) == {"seamless.yaml", "compose.yaml", ".gitignore", *dagsters}
    assert [str(item.node) for item in load_settings(folder / "seamless.yaml").nodes] == [
        "ohlcv:binance:BTC/USDT:1m",
        "ohlcv:binance:BTC/USDT:1h",
    ]
    assert set(yaml.safe_load(made["compose.yaml"])["services"]) >= {"questdb", "redis", "s3"}
    (folder / "seamless.yaml").write_text("mine")
    again = typed("new", str(folder))
    assert again.status == 1 and "seamless.yaml" in again.err and "already" in again.err
    assert (folder / "seamless.yaml").read_text() == "mine"
    assert typed("new", "/proc/nothing/here").status == 1


@pytest.mark.parametrize(
    ("named", "said"),
    [
        (".", "Next: `seamless check` and"),
        ("../here", "Next: `seamless check` and"),
        ("mine", "Next: `cd mine`, then `seamless check` and"),
        ("a b", "Next: `cd 'a b'`, then `seamless check` and"),
    ],
)
def test_what_comes_next_is_said_for_the_folder_that_one_stands_in(
    named: str, said: str, tmp_path: Path, typed: Typed, monkeypatch: pytest.MonkeyPatch
) -> None:
    (here := tmp_path / "here").mkdir()
    monkeypatch.chdir(here)
    assert said in typed("new", named).out


@job
def nothing() -> None:
    """No work."""


def test_a_new_project_stays_as_it_was_made_but_for_its_data(
    tmp_path: Path, typed: Typed, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "mine"
    typed("new", str(folder))
    made = {path.name for path in folder.iterdir()}
    monkeypatch.chdir(folder)
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    home = dagster_environment(load_settings(folder / "seamless.yaml"))["DAGSTER_HOME"]
    assert Path(home) == folder
    with DagsterInstance.from_ref(InstanceRef.from_dir(home)) as instance:
        run = nothing.execute_in_process(instance=instance)
        with instance.compute_log_manager.open_log_stream([run.run_id], ComputeIOType.STDERR) as stream:
            assert stream is not None
            stream.write("told")
        assert instance.all_instigator_state() == []
    assert {path.name for path in folder.iterdir()} == {*made, "data"}
    below = {path.name for path in (folder / "data" / "dagster").rglob("*")}
    assert below >= {"runs.db", f"{run.run_id}.db", "schedules.db", "logs"}


def test_git_takes_the_files_of_a_new_project_and_nothing_that_it_keeps(tmp_path: Path, typed: Typed) -> None:
    folder = tmp_path / "mine"
    made = json.loads(typed("new", str(folder), "--json").out)
    kept = (
        "data/hot.sqlite",
        "data/dagster/history/runs.db",
        ".env",
        ".env.local",
        "logs/a",
        ".telemetry/id.yaml",
    )
    for name in kept:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    subprocess.run(["git", "init", "--quiet"], cwd=folder, check=True)
    listing = ["git", "ls-files", "--others", "--exclude-standard"]
    listed = subprocess.run(listing, cwd=folder, capture_output=True, text=True, check=True).stdout.split()
    assert set(listed) == {Path(path).name for path in made}


def test_a_project_of_before_keeps_its_own_files(tmp_path: Path, typed: Typed) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / ".gitignore").write_text("/mine/\n")
    told = typed("new", str(folder))
    assert told.status == 0 and ".gitignore is left as it is" in told.out
    assert (folder / ".gitignore").read_text() == "/mine/\n"
    (folder / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    home = dagster_environment(load_settings(folder / "seamless.yaml"))["DAGSTER_HOME"]
    assert Path(home) == folder and not (folder / "data").exists()
    assert (folder / "dagster.yaml").read_text() == "telemetry: {enabled: false}\n"


def test_the_definitions_of_a_new_project_load(
    exchange: Sandbox, tmp_path: Path, typed: Typed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SEAMLESS_EXCHANGE", exchange.url)
    typed("new", str(tmp_path / "mine"))
    scope: dict[str, object] = {"__file__": str(tmp_path / "mine" / "definitions.py"), "__name__": "mine"}
    exec(compile((tmp_path / "mine" / "definitions.py").read_text(), "definitions.py", "exec"), scope)
    assert [name for name, value in scope.items() if isinstance(value, Definitions)] == ["defs"]
    keys = {key.to_user_string() for key in scope["defs"].resolve_all_asset_keys()}  # type: ignore[attr-defined]
    assert keys == {"daily_range", "ohlcv/binance/BTC_USDT_1m", "ohlcv/binance/BTC_USDT_1h"}


@pytest.mark.parametrize(
    ("file", "has_workspace", "options"),
    [
        ("seamless.yaml", True, ["-w", "workspace.yaml"]),
        ("seamless.yaml", False, ["-m", "seamless_assets.definitions", "-d", ""]),
        # The workspace loads seamless.yaml, and not the file that was asked for.
        ("other.yaml", True, ["-m", "seamless_assets.definitions", "-d", ""]),
    ],
)
def test_dagster_loads_the_workspace_of_a_project(
    tmp_path: Path, typed: Typed, file: str, has_workspace: bool, options: list[str]
) -> None:
    folder = tmp_path / "mine"
    typed("new", str(folder))
    (folder / "seamless.yaml").rename(folder / file)
    if not has_workspace:
        (folder / "workspace.yaml").unlink()
    *words, place = loaded_by(load_settings(folder / file))
    assert [*words, Path(place).resolve()] == [*options[:-1], (folder / options[-1]).resolve()]


PROGRAM = """
import signal, subprocess, sys, time
signal.signal(signal.SIGINT, signal.SIG_IGN)
child = subprocess.Popen([sys.executable, "-c", "import time; print('child', flush=True); time.sleep(600)"])
print("begun", sys.argv[1:], flush=True)
time.sleep(600)
"""
STARTER = """
import subprocess, sys, time
words = [sys.executable, "tether.py", "-m", "program", "--port", "5"]
program = subprocess.Popen(words, stdin=subprocess.PIPE, start_new_session=True)
print(program.pid, flush=True)
time.sleep(600)
"""


def test_a_program_that_begins_as_its_starter_is_asked_to_end_is_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[subprocess.Popen[str]] = []

    class AskedMeanwhile(subprocess.Popen[str]):
        def __init__(self, *given: Any, **named: Any) -> None:
            super().__init__(*given, **named)
            begun.append(self)
            signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(subprocess, "Popen", AskedMeanwhile)
    usual = signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        with pytest.raises(SystemExit):
            run_to_its_end([sys.executable, "-c", "import time; time.sleep(600)"], tmp_path, {})
    finally:
        signal.signal(signal.SIGTERM, usual)
    (program,) = begun
    assert program.returncode == -signal.SIGKILL


def test_a_program_and_its_children_end_with_who_started_it(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(PROGRAM)
    tether = Path(TETHER).read_text()
    assert "GRACE_S = 10.0" in tether
    (tmp_path / "tether.py").write_text(tether.replace("GRACE_S = 10.0", "GRACE_S = 0.2"))
    starter = subprocess.Popen([sys.executable, "-c", STARTER], stdout=subprocess.PIPE, cwd=tmp_path)
    assert starter.stdout is not None
    said = b""
    while not (b"child" in said and b"begun" in said):
        part = os.read(starter.stdout.fileno(), 1_000)
        assert part, said
        said += part
    assert b"begun ['--port', '5']" in said
    starter.kill()
    starter.wait()
    # The pipe ends once nobody that was started holds its other end any more.
    while select.select([starter.stdout], [], [], 60)[0]:
        if not os.read(starter.stdout.fileno(), 1_000):
            break
    else:
        pytest.fail("a program outlived its starter")
    starter.stdout.close()
