"""Numbers as people read them."""

from __future__ import annotations

from bench.line import Line, Row


def number(value: float | None, unit: str = "") -> str:
    """Three figures that count, and the unit."""
    if value is None:
        return ""
    digits = 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2 if abs(value) >= 0.1 else 3
    return f"{value:,.{digits}f}{' ' if unit else ''}{unit}"


def goal(line: Line) -> str:
    """What a goal asks for."""
    if line.goal is None:
        return ""
    return f"at most {number(line.goal, line.unit if line.peer is None else 'x')}"


def outcome(row: Row) -> str:
    """What came of a row, in a word."""
    if row.problem:
        return "not measured" if row.ours is None else "no peer"
    return {None: "", True: "met", False: "MISSED"}[row.is_met]


def spread(row: Row) -> str:
    """The quartiles."""
    return "" if row.spread is None or row.rounds < 2 else " to ".join(map(number, row.spread))
