"""Dagster's UI and daemon on a project, and the service beside them, ended together."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

from seamless_assets.cli.project.dagster_home import dagster_environment
from seamless_assets.cli.project.local_exchange import local_exchanges, require_free
from seamless_assets.cli.project.lock import await_earlier, project_lock
from seamless_assets.cli.project.programs import run_to_its_end, running
from seamless_assets.cli.terminal import say, waiting_for
from seamless_assets.config.load import Settings, load_settings
from seamless_assets.errors import SeamlessError
from seamless_assets.service.access import require_tokens

MODULE = "seamless_assets.definitions"
USUAL_FILE, WORKSPACE = "seamless.yaml", "workspace.yaml"
LOOK_S = 0.2


def run_ui(
    config: Path | None, host: str, port: int, *, with_sandbox: bool, service_port: int | None = None
) -> None:
    """Run the UI and the daemon until stopped, beside them the local exchange, and the service on its port.

    Raises `ConfigError`, `InvalidInput` for a port that is taken and a project that runs already, and
    `SeamlessError` where one of them ends by itself.
    """
    settings = load_settings(config)
    lock_file = settings.seamless.state_dir / "up.lock"
    await_earlier(lock_file)
    for option, taken in (("--port", port), ("--service-port", service_port)):
        if taken is not None:
            require_free(host, taken, option)
    environment = dagster_environment(settings)
    project = loaded_by(settings)
    programs = {
        "dagster-webserver": ("dagster_webserver", "-h", host, "-p", str(port), *project),
        "dagster-daemon": ("dagster._daemon", "run", *project),
    }
    pages = {"Dagster": (f"http://{host}:{port}", "/server_info")}
    if service_port is not None:
        require_tokens(host, settings.service.tokens)
        programs["seamless serve"] = (
            *("seamless_assets", "serve", "--host", host, "--port", str(service_port)),
        )
        pages["Service"] = (f"http://{host}:{service_port}", "/healthz")
    exchanges = local_exchanges(settings, must_be_ours=False) if with_sandbox else nullcontext()
    with project_lock(lock_file) as lock:
        with waiting_for("Dagster to open its instance"):
            _make_instance(settings.base, environment)
        with exchanges, running(programs, settings.base, environment, lock) as started:
            _watch(started, pages)


def loaded_by(settings: Settings) -> tuple[str, ...]:
    """The options by which Dagster's programs load a project: its workspace.yaml, else its series alone.

    A workspace is of the seamless.yaml that lies beside it, and of no file of another name.
    """
    workspace = settings.base / WORKSPACE
    if settings.file is not None and settings.file.name == USUAL_FILE and workspace.exists():
        return ("-w", str(workspace))
    return ("-m", MODULE, "-d", str(settings.base))


def _make_instance(folder: Path, environment: Mapping[str, str]) -> None:
    """Make Dagster's databases where there are none: programs that begin together spoil each other's."""
    words = [sys.executable, "-m", "dagster", "instance", "info"]
    made = run_to_its_end(words, folder, environment)
    if made.returncode:
        raise SeamlessError(f"Dagster cannot open its instance: {made.stderr.strip() or made.stdout.strip()}")


def _watch(programs: Mapping[str, subprocess.Popen[bytes]], pages: Mapping[str, tuple[str, str]]) -> None:
    """Wait until one of the programs ends; say of each page when it answers."""
    awaited = dict(pages)
    with waiting_for(describe=lambda: " and ".join(f"{name} at {url}" for name, (url, _) in awaited.items())):
        while awaited:
            _look(programs, awaited)
    while True:
        _look(programs, awaited)


def _look(programs: Mapping[str, subprocess.Popen[bytes]], awaited: dict[str, tuple[str, str]]) -> None:
    """Raise `SeamlessError` where a program has ended; say of each page that answers by now."""
    for name, program in programs.items():
        if (status := program.poll()) is not None:
            raise SeamlessError(f"{name} ended by itself, with exit status {status}; see what it said")
    for name, (url, health) in tuple(awaited.items()):
        if _answers(f"{url}{health}"):
            del awaited[name]
            say(f"{name}: {url} (Ctrl-C stops it)")
    time.sleep(LOOK_S)


def _answers(url: str) -> bool:
    try:
        with urlopen(url, timeout=1) as answer:
            return bool(answer.status == 200)
    except (URLError, OSError):
        return False
