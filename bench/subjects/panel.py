"""Many nodes in one frame, beside batch reads of ArcticDB that pandas joins."""

from __future__ import annotations

from collections.abc import Iterator

from bench.measuring.contender import Contender
from bench.places import OURS
from bench.running import Bench, Case, Skipped

MODULE = "bench.contenders.panel"
TASKS = ("close", "listed", "fields")
ROUNDS = 7


def cases(bench: Bench) -> Iterator[Case | Skipped]:
    """A month of minutes of 200 nodes is released, and written to ArcticDB; panels are of 100 of them."""
    work = (bench.folder, bench.size(30, 2), bench.size(200, 6))
    with Contender(OURS, MODULE, "ours", *work) as ours:
        ours.do("load")
        python = bench.peer("ArcticDB")
        if isinstance(python, str):
            for task in TASKS:
                yield Case(f"panel.{task}", ours.probe(task), python, ROUNDS)
            return
        with Contender(python, MODULE, "arctic", *work) as arctic:
            arctic.do("load")
            for task in TASKS:
                yield Case(f"panel.{task}", ours.probe(task), arctic.probe(task), ROUNDS)
