"""A side that runs in a process of its own and is given one task after another.

The tasks of such a process are the methods of an object; they are timed inside it, so that what a task costs
is not what it costs to talk about it. Needs nothing but Python, since peers run it in their environments.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from bench.measuring.sample import Probe, Sample, repeated, take
from bench.places import ROOT, child_environment


class Contender:
    """The outer end of such a process; a context manager."""

    def __init__(self, python: Path, module: str, *arguments: object) -> None:
        self.name = f"{module} {' '.join(map(str, arguments))}"
        self._process = subprocess.Popen(
            [str(python), "-m", module, *map(str, arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env=child_environment(),
        )

    def __enter__(self) -> Contender:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()

    def do(self, task: str) -> Any:
        """What a task answers, or None."""
        return self._ask(task)["answer"]

    def probe(self, task: str) -> Probe:
        """One go of a task."""
        return lambda: Sample(**self._ask(task)["sample"])

    def _ask(self, task: str) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(task, file=self._process.stdin, flush=True)
        reply = self._process.stdout.readline()
        if not reply:
            raise RuntimeError(f"{self.name} ended at {task!r}")
        return json.loads(reply)


def serve_tasks(contender: object, repeats: Mapping[str, int] | None = None) -> None:
    """Do what each line of the input names, a method of `contender`, until the input ends.

    Behind the name may stand whole numbers, which the method is given. A task that answers a number has
    measured itself; a task with `repeats` is done so many times in a go.
    """
    for line in sys.stdin:
        name, *numbers = line.split()
        task = partial(getattr(contender, name), *map(int, numbers))
        print(json.dumps(_reply(task, (repeats or {}).get(name, 1))), flush=True)


def _reply(task: Callable[[], Any], repeats: int) -> dict[str, Any]:
    answer: Any = None

    def once() -> float | None:
        nonlocal answer
        answer = task()
        is_number = isinstance(answer, int | float) and not isinstance(answer, bool)
        return float(answer) if is_number else None

    sample = take(repeated(task, repeats) if repeats > 1 else once)
    return {"answer": answer, "sample": asdict(sample)}
