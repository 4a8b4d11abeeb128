"""Dagster's UI and daemon on a project, ended together."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

from seamless_assets.cli.project.dagster_home import dagster_environment
from seamless_assets.cli.project.local_exchange import is_free, local_exchanges
from seamless_assets.cli.terminal import say
from seamless_assets.config.load import load_settings
from seamless_assets.errors import InvalidInput, SeamlessError

MODULE = "seamless_assets.definitions"
LOOK_S = 0.2
_STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
GRACE_S = 10.0
"""How long programs may take to end by themselves."""


def run_ui(config: Path | None, host: str, port: int, *, with_sandbox: bool) -> None:
    """Run the UI and the daemon until stopped, with the local exchange beside them.

    Raises `ConfigError`, `InvalidInput` for a port that is taken, and `SeamlessError` where one of them
    ends by itself.
    """
    settings = load_settings(config)
    if not is_free(host, port):
        raise InvalidInput(f"{host}:{port} is taken by another program; choose another --port", value=port)
    environment = dagster_environment(settings)
    project = ("-m", MODULE, "-d", str(settings.base))
    programs = {
        "dagster-webserver": ("dagster_webserver", "-h", host, "-p", str(port), *project),
        "dagster-daemon": ("dagster._daemon", "run", *project),
    }
    _make_instance(settings.base, environment)
    exchanges = local_exchanges(settings, must_be_ours=False) if with_sandbox else nullcontext()
    with exchanges, _running(programs, settings.base, environment) as started:
        _watch(started, f"http://{host}:{port}")


def _make_instance(folder: Path, environment: Mapping[str, str]) -> None:
    """Make Dagster's databases where there are none: programs that begin together spoil each other's."""
    words = [sys.executable, "-m", "dagster", "instance", "info"]
    made = subprocess.run(words, cwd=folder, env=dict(environment), capture_output=True, text=True)
    if made.returncode:
        raise SeamlessError(f"Dagster cannot open its instance: {made.stderr.strip() or made.stdout.strip()}")


@contextmanager
def _running(
    commands: Mapping[str, Sequence[str]], folder: Path, environment: Mapping[str, str]
) -> Iterator[dict[str, subprocess.Popen[bytes]]]:
    """Python modules as programs in process groups of their own, all of which have ended in the end."""
    started: dict[str, subprocess.Popen[bytes]] = {}
    try:
        for name, command in commands.items():
            words = [sys.executable, "-m", *command]
            # A program that runs and is not known of would never be ended.
            with _deferred():
                started[name] = subprocess.Popen(
                    words, cwd=folder, env=dict(environment), start_new_session=True
                )
        yield started
    finally:
        # No second Ctrl-C leaves programs behind.
        with _handled(signal.SIG_IGN):
            _end(list(started.values()))


def _end(programs: Sequence[subprocess.Popen[bytes]]) -> None:
    for program in programs:
        _signal_group(program, signal.SIGINT)
    deadline = time.monotonic() + GRACE_S
    for program in programs:
        # What is left of a group, its leader gone or not, had its time.
        with suppress(subprocess.TimeoutExpired):
            program.wait(max(0.0, deadline - time.monotonic()))
        _signal_group(program, signal.SIGKILL)
        program.wait()


def _signal_group(program: subprocess.Popen[bytes], number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.killpg(program.pid, number)


def _watch(programs: Mapping[str, subprocess.Popen[bytes]], url: str) -> None:
    """Wait until one of the programs ends; say when the UI answers."""
    is_announced = False
    while True:
        for name, program in programs.items():
            if (status := program.poll()) is not None:
                raise SeamlessError(f"{name} ended by itself, with exit status {status}; see what it said")
        if not is_announced and _answers(url):
            is_announced = True
            say(f"Dagster: {url} (Ctrl-C stops it)")
        time.sleep(LOOK_S)


@contextmanager
def _deferred() -> Iterator[None]:
    """Let what asks us to end be heard afterwards."""
    came: list[int] = []
    with _handled(lambda number, _: came.append(number)):
        yield
    for number in came:
        signal.raise_signal(number)


@contextmanager
def _handled(handler: Callable[[int, object], None] | signal.Handlers) -> Iterator[None]:
    usual = {number: signal.signal(number, handler) for number in _STOPS}
    try:
        yield
    finally:
        for number, before in usual.items():
            signal.signal(number, before)


def _answers(url: str) -> bool:
    try:
        with urlopen(f"{url}/server_info", timeout=1) as answer:
            return bool(answer.status == 200)
    except (URLError, OSError):
        return False
