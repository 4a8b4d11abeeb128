"""A line of the bench: what is compared with what, what came of it, and whether that is enough."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from msgspec import convert

SCALES = {"s": 1.0, "ms": 1e3, "us": 1e6, "MiB": 1.0, "requests": 1.0, "exponent": 1.0, "x": 1.0}
"""What a measured value is multiplied by; times are measured in seconds."""
OR = " or "
"""Between commits, where nobody knows which one of them it was."""
POINTS = "points"
"""The fact of a row that holds how it grew: size, seconds, MiB."""


@dataclass(frozen=True)
class Line:
    """What is compared: less is better in every line.

    `goal` is the most that the ratio of ours to the peer's may be; without a `peer` it is the most that ours
    may be, in `unit`. None: the line is only told.
    """

    name: str
    what: str
    peer: str | None
    goal: float | None = None
    unit: str = "ms"

    @property
    def subject(self) -> str:
        """The part of the name before the dot: the module that measures it."""
        return self.name.partition(".")[0]


@dataclass(frozen=True)
class Row:
    """What came of a line: medians in its unit, the median of the ratios round by round, and their spread.

    `spread` holds the quartiles of the ratios, or of ours where there is no peer. `load` is the machine's
    while the line was measured, `at` the epoch second in which that ended. `commit` is that of the code, or
    several, one of which it was. `problem` says why the peer, or the whole line, could not be measured.
    """

    line: Line
    ours: float | None = None
    peer: float | None = None
    ratio: float | None = None
    spread: tuple[float, float] | None = None
    cpu_ratio: float | None = None
    memory_mib: float | None = None
    peer_memory_mib: float | None = None
    rounds: int = 0
    load: float | None = None
    at: float | None = None
    commit: str | None = None
    problem: str | None = None
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def commits(self) -> tuple[str, ...]:
        """The commits that `commit` names."""
        return tuple(self.commit.split(OR)) if self.commit else ()

    @property
    def judged(self) -> float | None:
        """What the goal is held against; None where it was not measured."""
        return self.ours if self.line.peer is None else self.ratio

    @property
    def is_met(self) -> bool | None:
        """Whether the goal is met; None where there is none or nothing could be judged."""
        if self.line.goal is None or self.judged is None:
            return None
        return self.judged <= self.line.goal

    def to_json(self) -> dict[str, Any]:
        """The row as a mapping of plain values."""
        return {
            "name": self.line.name,
            "what": self.line.what,
            "unit": self.line.unit,
            "ours": self.ours,
            "peer": self.peer,
            "peer_name": self.line.peer,
            "ratio": self.ratio,
            "goal": self.line.goal,
            "met": self.is_met,
            "spread": self.spread,
            "cpu_ratio": self.cpu_ratio,
            "memory_mib": self.memory_mib,
            "peer_memory_mib": self.peer_memory_mib,
            "rounds": self.rounds,
            "load": self.load,
            "at": self.at,
            "commit": self.commit,
            "problem": self.problem,
            "facts": self.facts,
        }

    @classmethod
    def from_json(cls, line: Line, told: Mapping[str, Any]) -> Row:
        """A row that `to_json` gave, of the same line.

        Raises `KeyError` and `ValidationError` where it lacks something, or says what no row does.
        """
        taken = {name: told[name] for name in TAKEN}
        row = convert({"line": line, **taken}, cls)
        convert(row.facts.get(POINTS, []), list[tuple[int, float, float | None]])
        return row


TAKEN = tuple(one.name for one in fields(Row) if one.name != "line")
