"""Running: both sides of a line take turns, round by round, and their medians are compared."""

from __future__ import annotations

import math
import os
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from importlib import import_module
from pathlib import Path
from typing import Any

from bench.goals import LINES
from bench.line import SCALES, Line, Row
from bench.measuring.sample import Probe, Sample, take, trim
from bench.peers.environments import PeerUnavailable, peer_python

UNSEEN = "took nothing that could be seen, so that its growth cannot be told"


@dataclass(frozen=True)
class Case:
    """Both sides of a line, ready to go.

    `peer` is a sentence where the peer cannot be had, and None where the line has none. Without `warm_up`
    the first go counts, which is for whatever starts anew in each go. `facts` are asked once all is measured.
    """

    line: str
    ours: Probe
    peer: Probe | str | None = None
    rounds: int = 7
    warm_up: bool = True
    facts: Callable[[], dict[str, Any]] = dict


@dataclass(frozen=True)
class Bench:
    """What a subject is told: how much to do, which lines are wanted, where it may write."""

    folder: Path
    quick: bool = False
    rounds: int | None = None
    wanted: Sequence[str] = field(default_factory=lambda: [line.name for line in LINES])

    def size(self, full: int, quick: int) -> int:
        """How much to do."""
        return quick if self.quick else full

    def wants(self, pattern: str) -> bool:
        """Whether a line is asked for whose name the pattern fits."""
        return any(fnmatchcase(name, pattern) for name in self.wanted)

    def peer(self, name: str) -> Path | str:
        """The interpreter of a peer; a sentence where it cannot be had."""
        try:
            return peer_python(name, quick=self.quick)
        except PeerUnavailable as missing:
            return str(missing)


@dataclass(frozen=True)
class Growth:
    """Work of several sizes, each ten times the one before, whose sides take turns.

    The row of `line` has the exponent by which its time grows from the last size but one to the last (0: not
    at all, 1: with the work), and the points of all sizes; a line of the same name with `-memory` behind it,
    where there is one, that of the peak of memory.
    """

    line: str
    sizes: Sequence[int]
    work: Callable[[int], Probe]
    rounds: int = 3


@dataclass(frozen=True)
class Skipped:
    """Lines, by a pattern of their names, that cannot be measured here, and why."""

    lines: str
    why: str


Subject = Callable[[Bench], Iterator[Case | Growth | Skipped]]


class SubjectBroken(Exception):
    """A subject raised something, while it was imported or in the midst of its lines; that is the cause."""


def rows_of(bench: Bench, subject: str) -> Iterator[Row]:
    """The rows of a subject, by its name, as they come.

    Raises `SubjectBroken` where it raises anything, be it that its module cannot be imported.
    """
    try:
        yield from measure(bench, import_module(f"bench.subjects.{subject}").cases)
    except Exception as error:
        raise SubjectBroken(f"{type(error).__name__}: {error}") from error


def measure(bench: Bench, subject: Subject) -> Iterator[Row]:
    """The rows of a subject's cases that are wanted, as they come."""
    wanted = {line.name: line for line in LINES if line.name in bench.wanted}
    for case in subject(bench):
        if isinstance(case, Skipped):
            for name, line in wanted.items():
                if fnmatchcase(name, case.lines):
                    yield Row(line, problem=case.why)
            continue
        rounds = 1 if bench.quick else bench.rounds or case.rounds
        if isinstance(case, Growth):
            lines = [wanted[name] for name in (case.line, f"{case.line}-memory") if name in wanted]
            if lines:
                yield from grow(lines, case, rounds)
        elif line := wanted.get(case.line):
            yield compare(line, case, rounds)


def compare(line: Line, case: Case, rounds: int) -> Row:
    """Measure a case."""
    sides = [case.ours, *([case.peer] if callable(case.peer) else [])]
    goes: list[list[Sample]] = [[] for _ in sides]
    for number in range(rounds + case.warm_up):
        for side, taken in zip(sides, goes, strict=True):
            taken.append(take(side) if number else _take_at_rest(side))
    peaks = [_peak(taken) for taken in goes]
    ours, *others = (taken[case.warm_up :] for taken in goes)
    peer = others[0] if others else []
    scale = SCALES[line.unit]
    ratios = [a.value / b.value for a, b in zip(ours, peer, strict=False)]
    return Row(
        line,
        ours=_median(ours) * scale,
        peer=_median(peer) * scale if peer else None,
        ratio=statistics.median(ratios) if ratios else None,
        spread=_quartiles(ratios or [sample.value * scale for sample in ours]),
        cpu_ratio=_cpu_ratio(ours, peer),
        memory_mib=peaks[0],
        peer_memory_mib=peaks[1] if peer else None,
        rounds=rounds,
        load=os.getloadavg()[0],
        at=time.time(),
        problem=case.peer if isinstance(case.peer, str) else None,
        facts=case.facts(),
    )


def grow(lines: Sequence[Line], case: Growth, rounds: int) -> Iterator[Row]:
    """Measure a growth: a row for each line, of time or of memory.

    Time is that of the processor where a go tells it. The first go of each size warms up, but for the peak
    of memory, which is that of all goes.
    """
    probes = {size: case.work(size) for size in case.sizes}
    goes: dict[int, list[Sample]] = {size: [] for size in case.sizes}
    for _ in range(rounds + 1):
        for size, probe in probes.items():
            goes[size].append(_take_at_rest(probe))
    times = [statistics.median(sample.cpu or sample.value for sample in taken[1:]) for taken in goes.values()]
    peaks = [_peak(taken) for taken in goes.values()]
    for line in lines:
        of_memory = line.name.endswith("-memory")
        points = [list(point) for point in zip(case.sizes, times, peaks, strict=True)]
        grown = exponent(case.sizes, peaks if of_memory else times)
        yield Row(
            line,
            ours=grown,
            memory_mib=peaks[-1],
            rounds=rounds,
            load=os.getloadavg()[0],
            at=time.time(),
            problem=UNSEEN if grown is None else None,
            facts={} if of_memory else {"points": points},
        )


def exponent(sizes: Sequence[int], values: Sequence[float | None]) -> float | None:
    """By which power a value grows with the size, from the last size but one to the last."""
    before, last = values[-2:]
    if not before or not last:
        return None
    return math.log(last / before) / math.log(sizes[-1] / sizes[-2])


def _take_at_rest(probe: Probe) -> Sample:
    """A go whose memory is not hidden in what was freed before it, be that by the other side."""
    trim()
    return take(probe)


def _median(taken: Sequence[Sample]) -> float:
    return statistics.median(sample.value for sample in taken)


def _quartiles(values: Sequence[float]) -> tuple[float, float]:
    if len(values) < 2:
        return (values[0], values[0])
    low, _, high = statistics.quantiles(values, n=4, method="inclusive")
    return (low, high)


def _cpu_ratio(ours: Sequence[Sample], peer: Sequence[Sample]) -> float | None:
    pairs = [(a.cpu, b.cpu) for a, b in zip(ours, peer, strict=False)]
    ratios = [a / b for a, b in pairs if a is not None and b]
    return statistics.median(ratios) if ratios and len(ratios) == len(pairs) else None


def _peak(taken: Sequence[Sample]) -> float | None:
    peaks = [sample.memory_mib for sample in taken if sample.memory_mib is not None]
    return max(peaks) if peaks else None
