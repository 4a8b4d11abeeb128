"""The peak of memory of every path that data take, beside the Arrow size of its result or of its input.

Each path is walked in a process of its own, a day of it first; its peak is what it took beyond what the
process held before, its input counted.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from bench.measuring.process import run_process
from bench.measuring.sample import Sample
from bench.places import OURS
from bench.running import Bench, Case
from bench.worlds.bars import YEAR_BARS

MODULE = "bench.contenders.paths"
PATHS = (
    *("hot_read", "hot_write", "read_arrow", "read_pandas", "read_polars", "panel", "conform"),
    *("conform_dirty", "fingerprint", "export", "ingest", "verify", "replay"),
)


def cases(bench: Bench) -> Iterator[Case]:
    """Ten years of one node are made first."""
    rows = bench.size(10 * YEAR_BARS, 2_880)
    run_process([OURS, "-m", MODULE, "prepare", bench.folder, str(rows)])
    for path in PATHS:
        name = f"memory.{path.replace('_', '-')}"
        if bench.wants(name):
            yield _case(name, path, bench.folder, rows)


def _case(line: str, path: str, folder: Path, rows: int) -> Case:
    sizes: list[float] = []

    def walk() -> Sample:
        told = json.loads(run_process([OURS, "-m", MODULE, path, folder, str(rows)]).output.splitlines()[-1])
        sizes.append(told["arrow_mib"])
        return Sample(told["peak_mib"], memory_mib=told["peak_mib"])

    return Case(line, walk, lambda: sizes[-1], rounds=1, warm_up=False)
