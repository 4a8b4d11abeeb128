"""Speed of both hot stores, beside the barest calls that do the same and beside ArcticDB, in one run.

    python bench/hot_speed.py [--rounds 5]

Writes and reads a million bars, reads one day out of ten years, and takes the coverage of ten years of
one-minute bars. Contenders run in processes of their own and take turns; printed are medians, and the
median of the ratios round by round. Exits with 1 where ours takes more than 1.15 x its bare peer. QuestDB
needs Java and the server that `ops/bootstrap.py test` fetches; ArcticDB is installed beside the project's
environment, as it wants an older pandas.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "ops"), str(ROOT / "seamless_assets_tests")]

from bootstrap import PYTHON, QUESTDB_JAR, uv_environment  # noqa: E402
from support.services import QuestDbServer  # noqa: E402

TASKS = ("write", "read", "day", "coverage")
NAMES = {
    "write": "write 1M bars",
    "read": "read 1M bars",
    "day": "one day of ten years",
    "coverage": "coverage",
}
PEERS = {"ours on SQLite": "bare sqlite3", "ours on QuestDB": "bare QuestDB calls"}
GOAL = 1.15
ARCTIC = ROOT / ".venv" / "arcticdb"


class Contender:
    """A contender's process."""

    def __init__(self, name: str, folder: Path, python: Path, ports: list[int]) -> None:
        script = Path(__file__).with_name("hot_contenders.py")
        self.name = name
        self.process = subprocess.Popen(
            [python, script, name, folder, *map(str, ports)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )

    def do(self, task: str) -> float:
        """Seconds (or MiB) that the process answers."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        print(task, file=self.process.stdin, flush=True)
        answer = self.process.stdout.readline()
        if not answer:
            raise SystemExit(f"{self.name} ended at {task}")
        return float(answer)


def arctic_python() -> Path | None:
    """An interpreter with ArcticDB; None where it cannot be installed."""
    python = ARCTIC / "bin" / "python"
    if not python.exists():
        commands = (
            ["venv", "-q", str(ARCTIC)],
            ["pip", "install", "-q", "--python", str(python), "arcticdb", "pyarrow"],
        )
        for words in commands:
            if subprocess.run([PYTHON, "-m", "uv", *words], env=uv_environment(), check=False).returncode:
                return None
    return python


@contextmanager
def questdb(folder: Path) -> Iterator[list[int]]:
    """Ports of a running server; none where it cannot be had."""
    if not QUESTDB_JAR.exists():
        yield []
        return
    server = QuestDbServer(QUESTDB_JAR, folder, java=())
    server.start()
    try:
        yield [server.http_port, server.pg_port]
    finally:
        server.kill()


def measure(contenders: dict[str, Contender], rounds: int) -> dict[tuple[str, str], list[float]]:
    """Seconds by contender and task, a round at a time."""
    times: dict[tuple[str, str], list[float]] = {}
    for contender in contenders.values():
        contender.do("load")
        for task in TASKS:
            contender.do(task)
    for task in TASKS:
        for _ in range(rounds):
            for name, contender in contenders.items():
                times.setdefault((name, task), []).append(contender.do(task))
    return times


def main() -> int:
    """Print a line for each task and contender; 1 where a goal is missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, questdb(Path(name) / "questdb") as ports:
        names = [*PEERS, *PEERS.values()] if ports else ["ours on SQLite", "bare sqlite3"]
        contenders = {n: Contender(n, Path(name), PYTHON, ports) for n in names}
        if python := arctic_python():
            contenders["ArcticDB"] = Contender("ArcticDB", Path(name), python, [])
        times = measure(contenders, options.rounds)
        peaks = {n: contender.do("memory") for n, contender in contenders.items()}
        for contender in contenders.values():
            contender.process.communicate()
    return report(times, peaks)


def report(times: dict[tuple[str, str], list[float]], peaks: dict[str, float]) -> int:
    """Print what was measured; 1 where a goal is missed."""
    missed = 0
    for (name, task), seconds in times.items():
        line = f"{NAMES[task]:22} {name:20} {statistics.median(seconds) * 1e3:9.1f} ms"
        if peer := PEERS.get(name):
            measured = statistics.median(a / b for a, b in zip(seconds, times[peer, task], strict=True))
            missed += measured > GOAL
            best = min(seconds) / min(times[peer, task])
            line += f"   {measured:5.2f} x {peer} (best against best {best:.2f}), goal {GOAL}"
        print(line)
    for name, peak in peaks.items():
        print(f"peak memory            {name:20} {peak:9.0f} MiB")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
