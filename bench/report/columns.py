"""Tables of rows in Markdown, without the columns that say nothing of any of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from bench.line import POINTS, Row
from bench.report.words import duration, limit, number, ours, outcome, ratio, spread, unbroken
from bench.running import exponent

MISSED = "**MISSED**"


@dataclass(frozen=True)
class Column:
    """What stands above a column, and what it says of a row; numbers stand at the right, unbroken."""

    head: str
    cell: Callable[[Row], str]
    is_number: bool = True


def table(columns: Sequence[Column], rows: Sequence[Row]) -> Iterator[str]:
    """A line of the table for each row, below its head."""
    told = [(column, [_kept(column, row) for row in rows]) for column in columns]
    shown = [(column, cells) for column, cells in told if any(cells)]
    yield f"| {' | '.join(column.head for column, _ in shown)} |"
    yield f"|{'|'.join('---:' if column.is_number else '---' for column, _ in shown)}|"
    for cells in zip(*(cells for _, cells in shown), strict=True):
        yield f"| {' | '.join(cells)} |"
    yield ""


def _kept(column: Column, row: Row) -> str:
    cell = column.cell(row)
    return unbroken(cell) if column.is_number else cell


def _measured(row: Row) -> str:
    return "" if row.line.unit == "exponent" else ours(row)


def _grown(row: Row) -> str:
    return ours(row, "") if row.line.unit == "exponent" else ""


def _goal(row: Row) -> str:
    if row.line.goal is None:
        return ""
    unit = row.line.unit if row.line.peer is None and row.line.unit != "exponent" else ""
    return f"{limit(row.line)} {unit}".rstrip()


def _outcome(row: Row) -> str:
    return MISSED if row.is_met is False and not row.problem else outcome(row)


def _peaks(row: Row) -> str:
    return " / ".join(f"{peak:,.0f}" for peak in (row.memory_mib, row.peer_memory_mib) if peak is not None)


def _by_size(row: Row) -> str:
    told = []
    for size, seconds, peak in row.facts.get(POINTS, ()):
        memory = "" if peak is None else f", {number(peak, 'MiB')}"
        told.append(f"{size:,}: {duration(seconds)}{memory}")
    return "<br>".join(told)


def _growth_of_memory(row: Row) -> str:
    if not (points := row.facts.get(POINTS)):
        return ""
    sizes, _, peaks = zip(*points, strict=True)
    return number(exponent(sizes, peaks))


LINE = Column("line", lambda row: f"`{row.line.name}`", is_number=False)
LINKED = Column("line", lambda row: f"[`{row.line.name}`](#{row.line.subject})", is_number=False)
WHAT = Column("what", lambda row: row.line.what, is_number=False)
BESIDE = Column("beside", lambda row: row.line.peer or "", is_number=False)
EXPONENT = Column("exponent", _grown)
RATIO = Column("ratio", ratio)
GOAL = Column("goal", _goal)
MEASURED = (Column("ours", _measured), Column("peer", lambda row: number(row.peer, row.line.unit)))
COLUMNS = (
    *(LINE, WHAT, BESIDE, *MEASURED, EXPONENT, RATIO, Column("quartiles", spread), GOAL),
    Column("verdict", _outcome, is_number=False),
    Column("CPU", lambda row: number(row.cpu_ratio)),
    Column("MiB", _peaks),
    Column("load", lambda row: "" if row.load is None else f"{row.load:.0f}"),
    Column("by size", _by_size),
    Column("exponent of MiB", _growth_of_memory),
)
OF_MISSED = (LINKED, RATIO, EXPONENT, GOAL, WHAT, BESIDE, *MEASURED)
