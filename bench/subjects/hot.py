"""Both hot stores beside the barest calls that do the same, and beside ArcticDB."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

from bench.measuring.contender import Contender
from bench.places import OURS
from bench.running import Bench, Case, Skipped
from bench.worlds.servers import questdb_ports

MODULE = "bench.contenders.hot"
TASKS = ("write", "read", "days", "coverage")
ROUNDS = 5


def cases(bench: Bench) -> Iterator[Case | Skipped]:
    """Contenders in processes of their own, which first load ten years."""
    if bench.wants("hot.sqlite-*") or bench.wants("hot.arcticdb-*"):
        yield from _on_sqlite(bench)
    if bench.wants("hot.questdb-*"):
        yield from _on_questdb(bench)


def _on_sqlite(bench: Bench) -> Iterator[Case | Skipped]:
    work = (bench.folder, bench.size(1_000_000, 2_000), 0.05 if bench.quick else 10)
    with ExitStack() as stack:
        ours = stack.enter_context(Contender(OURS, MODULE, "sqlite", *work))
        ours.do("load")
        for name, module, python in (
            ("sqlite", "bare-sqlite", OURS),
            ("arcticdb", "arctic", bench.peer("ArcticDB")),
        ):
            if not bench.wants(f"hot.{name}-*"):
                continue
            peer = _loaded(stack, python, module, *work)
            for task in TASKS:
                yield _case(f"hot.{name}-{task}", ours, task, peer)


def _on_questdb(bench: Bench) -> Iterator[Case | Skipped]:
    if bench.quick:
        yield Skipped("hot.questdb-*", "a quick run starts no QuestDB")
        return
    with questdb_ports(bench.folder / "questdb") as ports, ExitStack() as stack:
        if isinstance(ports, str):
            yield Skipped("hot.questdb-*", ports)
            return
        work = (bench.folder, 1_000_000, 10, *ports)
        ours = stack.enter_context(Contender(OURS, MODULE, "questdb", *work))
        ours.do("load")
        peer = _loaded(stack, bench.peer("QuestDB"), "bare-questdb", *work)
        for task in TASKS:
            yield _case(f"hot.questdb-{task}", ours, task, peer)


def _loaded(stack: ExitStack, python: Path | str, name: str, *work: object) -> Contender | str:
    """A contender that holds the long series; a sentence where its packages cannot be had."""
    if isinstance(python, str):
        return python
    contender = stack.enter_context(Contender(python, MODULE, name, *work))
    contender.do("load")
    return contender


def _case(line: str, ours: Contender, task: str, peer: Contender | str) -> Case:
    return Case(line, ours.probe(task), peer if isinstance(peer, str) else peer.probe(task), ROUNDS)
