"""Numbers as people read them."""

from __future__ import annotations

from bench.line import SCALES, Line, Row

MOST_DIGITS = 6


def number(value: float | None, unit: str = "", digits: int | None = None) -> str:
    """Three figures that count, unless it is said how many stand behind the point, and the unit."""
    if value is None:
        return ""
    if digits is None:
        digits = 0 if unit == "requests" and value == int(value) else _digits(value)
    return f"{value:,.{digits}f}{' ' if unit else ''}{unit}"


def unbroken(told: str) -> str:
    """A number and its unit, or several, that stay on one line of a page."""
    return told.replace(" ", "&nbsp;")


def ours(row: Row, unit: str | None = None) -> str:
    """What ours took, in the unit of the line or in another word for it."""
    unit = row.line.unit if unit is None else unit
    return _beside_its_goal(row, row.ours, unit) if row.line.peer is None else number(row.ours, unit)


def ratio(row: Row, unit: str = "") -> str:
    """The ratio of ours to the peer."""
    return _beside_its_goal(row, row.ratio, unit)


def limit(line: Line) -> str:
    """The most that a goal allows, as it is written down: a fraction where it is one."""
    if line.goal is None:
        return ""
    told, inverse = f"{line.goal:g}", f"1/{1 / line.goal:.4g}"
    return told if float(told) == line.goal else inverse


def goal(line: Line) -> str:
    """What a goal asks for."""
    return f"at most {limit(line)} {line.unit if line.peer is None else 'x'}" if line.goal is not None else ""


def outcome(row: Row) -> str:
    """What came of a row, in a word."""
    if row.problem:
        return "not measured" if row.ours is None else "no peer"
    return {None: "", True: "met", False: "MISSED"}[row.is_met]


def spread(row: Row) -> str:
    """The quartiles."""
    return "" if row.spread is None or row.rounds < 2 else " to ".join(map(number, row.spread))


def duration(seconds: float) -> str:
    """A time in the unit that suits it."""
    unit = "s" if seconds >= 1 else "ms" if seconds >= 1e-3 else "us"
    return number(seconds * SCALES[unit], unit)


def _digits(value: float) -> int:
    return 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2 if abs(value) >= 0.1 else 3


def _beside_its_goal(row: Row, value: float | None, unit: str) -> str:
    """A number with as many digits as it takes to see on which side of its goal it lies."""
    if value is None or row.line.goal is None:
        return number(value, unit)
    digits, goal = _digits(value), row.line.goal
    while value != goal and digits < MOST_DIGITS and round(value, digits) == round(goal, digits):
        digits += 1
    return number(value, unit, digits)
