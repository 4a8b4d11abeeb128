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
from bench.running import Bench, Case, Skipped
from bench.worlds.bars import YEAR_BARS
from bench.worlds.servers import questdb_ports

MODULE = "bench.contenders.paths"
PATHS = (
    *("hot_read", "hot_write", "read_arrow", "read_pandas", "read_polars", "panel", "conform"),
    *("conform_dirty", "fingerprint", "export", "ingest", "verify", "replay", "compact"),
    *("materialize", "derive", "mirror", "serve"),
)
ON_QUESTDB = ("questdb_read", "questdb_write")


def cases(bench: Bench) -> Iterator[Case | Skipped]:
    """Ten years of one node are made first."""
    rows = bench.size(10 * YEAR_BARS, 2_880)
    if bench.wants("memory.questdb-*"):
        yield from _on_questdb(bench, rows)
    paths = [path for path in PATHS if bench.wants(_line(path))]
    if paths:
        _run("prepare", bench.folder, rows)
    for path in paths:
        yield _case(path, bench.folder, rows)


def _on_questdb(bench: Bench, rows: int) -> Iterator[Case | Skipped]:
    if bench.quick:
        yield Skipped("memory.questdb-*", "a quick run starts no QuestDB")
        return
    with questdb_ports(bench.folder / "questdb") as ports:
        if isinstance(ports, str):
            yield Skipped("memory.questdb-*", ports)
            return
        _run("questdb_fill", bench.folder, rows, *ports)
        for path in ON_QUESTDB:
            if bench.wants(_line(path)):
                yield _case(path, bench.folder, rows, *ports)


def _case(path: str, folder: Path, rows: int, *ports: int) -> Case:
    sizes: list[float] = []

    def walk() -> Sample:
        told = json.loads(_run(path, folder, rows, *ports).splitlines()[-1])
        sizes.append(told["arrow_mib"])
        return Sample(told["peak_mib"], memory_mib=told["peak_mib"])

    return Case(_line(path), walk, lambda: Sample(sizes[-1]), rounds=1, warm_up=False)


def _line(path: str) -> str:
    return f"memory.{path.replace('_', '-')}"


def _run(path: str, folder: Path, *numbers: int) -> str:
    """What a process said that walked a path."""
    return run_process([OURS, "-m", MODULE, path, folder, *map(str, numbers)]).output
