"""A process from its start to its end: wall clock, processor time and peak of memory, its children's too."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.ending import ENDING
from bench.measuring.sample import Sample
from bench.places import ROOT, child_environment, passing_folder

# A child inherits the peak of whoever started it, so a small process stands in between.
LAUNCH = """
import json, os, sys, time
began = time.perf_counter()
child = os.fork()
if not child:
    os.execvp(sys.argv[2], sys.argv[2:])
_, status, used = os.wait4(child, 0)
told = [time.perf_counter() - began, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024, status]
open(sys.argv[1], "w").write(json.dumps(told))
"""


@contextmanager
def running(words: Sequence[str | Path], **how: Any) -> Iterator[subprocess.Popen[Any]]:
    """A process, in a session of its own that its children share, and whose end ends them all.

    `how` are the arguments of `subprocess.Popen`.
    """
    with ExitStack() as started:
        with ENDING.put_off():
            process = subprocess.Popen(list(map(str, words)), start_new_session=True, **how)
            started.enter_context(process)
            started.callback(_end_session, process)
        yield process


def _end_session(process: subprocess.Popen[Any]) -> None:
    with ENDING.put_off():
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


class ProcessFailed(RuntimeError):
    """A process that was measured did not end well; the message has its last words."""


@dataclass(frozen=True)
class Ended:
    """A process that ended well: seconds, seconds of processor time, peak MiB, what it printed."""

    seconds: float
    cpu: float
    peak_mib: float
    output: str

    @property
    def by_wall(self) -> Sample:
        """Its time by the wall clock."""
        return Sample(self.seconds, self.cpu, self.peak_mib)

    @property
    def by_cpu(self) -> Sample:
        """Its processor time, which other work on the machine changes little."""
        return Sample(self.cpu, self.cpu, self.peak_mib)


def run_process(
    words: Sequence[str | Path], *, cwd: Path = ROOT, environment: Mapping[str, str] | None = None
) -> Ended:
    """Run it to its end; raises `ProcessFailed` where it does not end well."""
    with passing_folder() as folder:
        told, said = folder / "told", folder / "said"
        launched = [sys.executable, "-I", "-S", "-c", LAUNCH, told, *words]
        how = {"cwd": cwd, "env": child_environment() if environment is None else dict(environment)}
        with (
            said.open("wb") as output,
            running(
                launched, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, **how
            ) as process,
        ):
            launched_well = process.wait() == 0
        text = said.read_text(errors="replace")
        if not launched_well:
            raise ProcessFailed(f"{words[0]} was not launched ({process.returncode}):\n{text[-2_000:]}")
        seconds, cpu, peak, status = json.loads(told.read_text())
    if status:
        raise ProcessFailed(f"{words[0]} ended with status {status}:\n{text[-2_000:]}")
    return Ended(seconds, cpu, peak, text)
