"""Programs that a command starts beside itself: whatever becomes of it, none of them is left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from seamless_assets.cli.project.lock import ProjectLock

TETHER = str(Path(__file__).with_name("tether.py"))
"""A file of its own: what it runs imports what it needs, and nothing before."""
_STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
GRACE_S = 10.0
"""How long programs may take to end by themselves."""


@contextmanager
def running(
    commands: Mapping[str, Sequence[str]], folder: Path, environment: Mapping[str, str], lock: ProjectLock
) -> Iterator[dict[str, subprocess.Popen[bytes]]]:
    """Python modules as programs in process groups of their own, all of which have ended in the end.

    They end as well where this process is killed and can end nothing: each is tethered to it by a pipe.
    Until the last one has, `lock` is held.
    """
    started: dict[str, subprocess.Popen[bytes]] = {}
    try:
        for name, command in commands.items():
            words = [sys.executable, TETHER, "-m", *command]
            # A program that runs and is not known of would never be ended.
            with _deferred():
                started[name] = subprocess.Popen(
                    words,
                    cwd=folder,
                    env=dict(environment),
                    start_new_session=True,
                    stdin=subprocess.PIPE,
                    pass_fds=(lock.descriptor,),
                )
        yield started
    finally:
        # No second Ctrl-C leaves programs behind.
        with _handled(signal.SIG_IGN):
            _end(list(started.values()))


def run_to_its_end(
    words: Sequence[str], folder: Path, environment: Mapping[str, str]
) -> subprocess.CompletedProcess[str]:
    """Run a program and hear what it says; where this process is asked to end meanwhile, it is killed."""
    program: subprocess.Popen[str] | None = None
    try:
        # What asks us to end while the program begins would leave it without an owner.
        with _deferred():
            program = subprocess.Popen(
                words,
                cwd=folder,
                env=dict(environment),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        said, complained = program.communicate()
        return subprocess.CompletedProcess(words, program.returncode, said, complained)
    finally:
        if program is not None:
            with _handled(signal.SIG_IGN), program:
                program.kill()


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
