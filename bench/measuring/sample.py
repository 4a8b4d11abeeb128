"""One go of one side: seconds by the wall clock, processor time, peak of memory.

Needs nothing but Python, since peers run it in environments of their own.
"""

from __future__ import annotations

import ctypes
import gc
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")
MIB = 1024**2


@dataclass(frozen=True)
class Sample:
    """What a go came to; `value` is seconds unless the line's unit says otherwise.

    `memory_mib` is what the process held at most beyond what it held before, or all that a new process held.
    """

    value: float
    cpu: float | None = None
    memory_mib: float | None = None


Probe = Callable[[], "Sample | float | None"]
"""One side of a line: a go that is timed from outside, or that says itself what it came to.

Where it says no more than a number, its memory is that of the process in which it is asked: whoever only
waits for another process says a `Sample`.
"""


def take(probe: Probe) -> Sample:
    """One go, timed where it does not say itself what it came to."""
    held = reset_peak()
    cpu, wall = time.process_time(), time.perf_counter()
    came_to = probe()
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    if isinstance(came_to, Sample):
        return came_to
    grown = None if held is None else max(0.0, memory("VmHWM") - held)
    return Sample(wall if came_to is None else came_to, cpu if came_to is None else None, grown)


def repeated(call: Callable[[], object], times: int) -> Probe:
    """A go of something too short to be timed by itself: the mean of so many."""

    def probe() -> Sample:
        def all_of_them() -> None:
            for _ in range(times):
                call()

        taken = take(all_of_them)
        cpu = None if taken.cpu is None else taken.cpu / times
        return Sample(taken.value / times, cpu, taken.memory_mib)

    return probe


def reset_peak() -> float | None:
    """Let the kernel forget this process's peak; MiB that it holds, None where there is no such kernel."""
    try:
        CLEAR.write_text("5")
    except OSError:
        return None
    return memory("VmRSS")


def memory(name: str, pid: int | None = None) -> float:
    """MiB that the kernel's status of a process, by default this one, gives under a name."""
    status = STATUS if pid is None else Path(f"/proc/{pid}/status")
    for line in status.read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) / 1024
    raise LookupError(f"{status} has no {name}")


def trim() -> None:
    """Give back to the system what is free, so that the next peak does not hide in it.

    What is left is no longer looked through for garbage: how much of it there is says nothing of a go.
    """
    gc.collect()
    gc.freeze()
    if "pyarrow" in sys.modules:
        sys.modules["pyarrow"].default_memory_pool().release_unused()
    if sys.platform == "linux":
        ctypes.CDLL(None).malloc_trim(0)
