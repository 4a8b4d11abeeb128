"""Reads of released bars beside ArcticDB on the same frames, and beside others on the same files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from bench.measuring.contender import Contender
from bench.measuring.process import run_process
from bench.measuring.sample import Probe, Sample
from bench.places import OURS
from bench.running import Bench, Case, Skipped

MODULE = "bench.contenders.reads"
AGAINST_ARCTIC = {
    "day-arrow": ("day_arrow", "day"),
    "day-pandas": ("day_pandas", "day"),
    "year-arrow": ("whole_arrow", "whole"),
    "year-pandas": ("whole_pandas", "whole"),
    "crowd": ("crowd", "crowd"),
}
READ = "import seamless_assets as sa; s = sa.connect({settings!r}); r = s.read(*{read!r}); {then}; s.close()"
PYARROW = "import pyarrow.parquet as pq; pq.read_table({file!r})"
ROUNDS, NEW_ROUNDS = 15, 5


def cases(bench: Bench) -> Iterator[Case | Skipped]:
    """A year of one node and ten days of 49 others are released, and written to ArcticDB."""
    work = (bench.folder, bench.size(365, 3), bench.size(50, 2))
    with Contender(OURS, MODULE, "ours", *work) as ours:
        places = ours.do("load")
        yield from _warm(bench, ours, work)
        yield from _new_processes(bench, places)
        yield from _deadlines(bench, ours)


def _warm(bench: Bench, ours: Contender, work: tuple[object, ...]) -> Iterator[Case]:
    for name in ("held", "refused"):
        yield Case(f"reads.{name}", ours.probe(name), ours.probe("day_arrow"), ROUNDS)
    wanted = {name: tasks for name, tasks in AGAINST_ARCTIC.items() if bench.wants(f"reads.{name}")}
    if not wanted:
        return
    python = bench.peer("ArcticDB")
    if isinstance(python, str):
        for name, (task, _) in wanted.items():
            yield Case(f"reads.{name}", ours.probe(task), python, ROUNDS)
        return
    with Contender(python, MODULE, "arctic", *work) as arctic:
        arctic.do("load")
        for name, (task, other) in wanted.items():
            facts = (lambda: _latencies(ours, arctic)) if name == "crowd" else dict
            yield Case(f"reads.{name}", ours.probe(task), arctic.probe(other), ROUNDS, facts=facts)


def _latencies(ours: Contender, arctic: Contender) -> dict[str, Any]:
    return {
        f"{who}_ms_p50_p99": [seconds * 1e3 for seconds in side.do("latencies")]
        for who, side in (("ours", ours), ("peer", arctic))
    }


def _new_processes(bench: Bench, places: Mapping[str, Any]) -> Iterator[Case]:
    """What a new process costs, by the processor time that it takes."""
    day = {"settings": places["settings"], "read": places["read"]}
    whole = {"settings": places["settings"], "read": places["whole"]}
    one, many = places["file"], places["files"]
    duckdb = f"import duckdb; duckdb.read_parquet({many!r}).order('ts').to_arrow_table()"
    polars = f"import polars; polars.scan_parquet({many!r}).sort('ts').collect().to_arrow()"
    bare = PYARROW.format(file=one)
    for name, ours, peer, theirs in (
        ("new-arrow", READ.format(**day, then="r.to_arrow()"), "pyarrow", bare),
        ("new-pandas", READ.format(**day, then="r.to_pandas()"), "pyarrow", f"{bare}.to_pandas()"),
        ("new-duckdb", READ.format(**whole, then="r.to_arrow()"), "DuckDB", duckdb),
        ("new-polars", READ.format(**whole, then="r.to_arrow()"), "polars", polars),
        ("import", "import seamless_assets", "pyarrow", "import pandas"),
    ):
        if bench.wants(f"reads.{name}"):
            python = bench.peer(peer)
            other = python if isinstance(python, str) else _new(python, theirs)
            yield Case(f"reads.{name}", _new(OURS, ours), other, NEW_ROUNDS)


def _new(python: Path, code: str) -> Probe:
    def probe() -> Sample:
        return run_process([python, "-c", code]).by_cpu

    return probe


def _deadlines(bench: Bench, ours: Contender) -> Iterator[Case | Skipped]:
    """How late a read returns, on real servers that were stopped."""
    for what in ("exchange", "live", "leases", "redis", "questdb"):
        name = f"reads.late-{what}"
        if not bench.wants(name):
            continue
        if bench.quick:
            yield Skipped(name, "a quick run waits for no deadline")
        elif (late := ours.do(f"late_{what}")) is None:
            yield Skipped(name, f"no server of {what} is here")
        else:
            facts = {"p50_ms": late[0] * 1e3, "p99_ms": late[1] * 1e3}
            told = Sample(late[0])
            yield Case(name, lambda told=told: told, None, 1, warm_up=False, facts=lambda facts=facts: facts)
