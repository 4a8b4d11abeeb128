"""Speed of reads, beside ArcticDB on the same frames and beside bare pyarrow, in one run.

    python bench/read_speed.py [--rounds 15]

A year of one-minute bars of 50 nodes is released day by day, and written to ArcticDB (LMDB). Contenders run
in processes of their own and take turns; printed are medians. Timed are a day and a year that were read
before, to Arrow and to pandas; the first read of a new process beside pyarrow reading one file in a new
process; 200 readers at once over 50 nodes; a read that is held and one that is refused beside one that is
served; the import; and how late a read returns whose stores and exchange hang, on real servers that were
stopped. New processes are measured by the processor time they take, which other programs do not change.
Exits with 1 where a goal is missed. ArcticDB is installed beside the project's environment.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "ops"), str(ROOT / "seamless_assets_tests")]

from bootstrap import PYTHON  # noqa: E402
from hot_speed import arctic_python  # noqa: E402

SCRIPT = Path(__file__).with_name("read_contenders.py")


@dataclass(frozen=True)
class Goal:
    """What ours may be at most (at least, where `at_least`) of the peer's; None for what is only told."""

    name: str
    ours: str
    peer: str
    ratio: float | None
    at_least: bool = False


GOALS = (
    Goal("a warm day, to Arrow", "ours day arrow", "ArcticDB day", 0.05),
    Goal("a warm day, to pandas", "ours day pandas", "ArcticDB day", 0.15),
    Goal("a warm year, to Arrow", "ours year arrow", "ArcticDB year", 0.05),
    Goal("a warm year, to pandas", "ours year pandas", "ArcticDB year", 0.3),
    Goal("a read that is held", "ours held", "ours day arrow", 2.0),
    Goal("a read that is refused", "ours refused", "ours day arrow", 2.0),
    Goal("reads a second of 200 readers", "ours crowd", "ArcticDB crowd", 3.0, at_least=True),
    Goal("first read of a new process, to Arrow", "new ours arrow", "new pyarrow arrow", 1.3),
    Goal("first read of a new process, to pandas", "new ours pandas", "new pyarrow pandas", None),
    Goal("import", "new import seamless_assets", "new import pandas", 1.25),
)
TASKS = {
    "ours": ("day arrow", "day pandas", "year arrow", "year pandas", "live", "held", "refused", "crowd"),
    "ArcticDB": ("day", "year", "crowd"),
}
READ = "import seamless_assets as sa; s = sa.connect({settings!r}); r = s.read(*{read!r})"
NEW = {
    "import pandas": "import pandas",
    "import seamless_assets": "import seamless_assets",
    "pyarrow arrow": "import pyarrow.parquet as pq; pq.read_table({file!r})",
    "pyarrow pandas": "import pyarrow.parquet as pq; pq.read_table({file!r}).to_pandas()",
    "ours arrow": f"{READ}; r.to_arrow(); s.close()",
    "ours pandas": f"{READ}; r.to_pandas(); s.close()",
}


class Contender:
    """A contender's process: reads a task a line, answers a number."""

    def __init__(self, python: Path, name: str, folder: Path) -> None:
        self.name = name
        self.process = subprocess.Popen(
            [python, SCRIPT, name, folder],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )

    def do(self, task: str) -> Any:
        """What the process answers."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        print(task, file=self.process.stdin, flush=True)
        answer = self.process.stdout.readline()
        if not answer:
            raise SystemExit(f"{self.name} ended at {task}")
        return json.loads(answer)


def measure(contenders: dict[str, Contender], rounds: int) -> dict[str, list[float]]:
    """What each task took, a round at a time; the first round warms up."""
    times: dict[str, list[float]] = {}
    for number in range(rounds + 1):
        for name, contender in contenders.items():
            for task in TASKS[name]:
                took = contender.do(task)
                if number:
                    times.setdefault(f"{name} {task}", []).append(took)
    return times


def new_processes(names: dict[str, Any], rounds: int) -> dict[str, list[float]]:
    """Seconds of processor time of new processes, which take turns."""
    times: dict[str, list[float]] = {}
    for number in range(rounds + 1):
        for name, code in NEW.items():
            process = subprocess.Popen([PYTHON, "-c", code.format(**names)], cwd=ROOT)
            _, status, used = os.wait4(process.pid, 0)
            if status:
                raise SystemExit(f"{name} failed")
            if number:
                times.setdefault(f"new {name}", []).append(used.ru_utime + used.ru_stime)
    return times


def report(times: dict[str, list[float]]) -> int:
    """Print every goal with what was measured; how many were missed."""
    medians = {name: statistics.median(seconds) for name, seconds in times.items()}
    missed = 0
    for goal in GOALS:
        if goal.peer not in medians:
            print(f"{goal.name:40} {_told(goal.ours, medians[goal.ours])}   no {goal.peer.split()[0]}")
            continue
        ours, peer = medians[goal.ours], medians[goal.peer]
        line = f"{goal.name:40} {_told(goal.ours, ours)}   {goal.peer} {_told(goal.peer, peer)}"
        line += f"   {ours / peer:7.3f} x"
        if goal.ratio is not None:
            is_missed = ours / peer < goal.ratio if goal.at_least else ours / peer > goal.ratio
            missed += is_missed
            bound = "at least" if goal.at_least else "at most"
            line += f", goal {bound} {goal.ratio}{'   MISSED' if is_missed else ''}"
        print(line)
    return missed


def _told(name: str, value: float) -> str:
    return f"{value:9.0f} /s" if name.endswith("crowd") else f"{value * 1e3:9.3f} ms"


def main() -> int:
    """Print a line for each goal; 1 where one is missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        contenders = {"ours": Contender(PYTHON, "ours", folder)}
        names = contenders["ours"].do("load")
        if python := arctic_python():
            contenders["ArcticDB"] = Contender(python, "ArcticDB", folder)
            contenders["ArcticDB"].do("load")
        times = measure(contenders, options.rounds)
        times |= new_processes(names, max(3, options.rounds // 3))
        latencies = {n: contender.do("latencies") for n, contender in contenders.items()}
        overrun = contenders["ours"].do("overrun")
        for contender in contenders.values():
            contender.process.communicate()
    missed = report(times)
    for contender_name, (middle, high) in latencies.items():
        print(
            f"200 readers, one read: {contender_name:10} p50 {middle * 1e3:7.1f} ms, p99 {high * 1e3:7.1f} ms"
        )
    for what, (middle, high) in overrun.items():
        print(f"returns after its deadline: {what:28} p50 {middle:6.1f} ms, p99 {high:6.1f} ms")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
