"""What the page of comparisons says of speeds: lines beside other tools, between two marks of the page."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from bench.goals import LINES
from bench.line import Line, Row
from bench.report.words import number, unbroken

BEGIN, END = "<!-- speeds -->\n", "<!-- end of speeds -->\n"
TOOLS = ("freqtrade", "bare ", "ArcticDB", "DuckDB", "polars", "pyarrow", "pandera")
"""Peers that people would otherwise use; others are the fewest requests, sizes, or ourselves."""

RATIOS = (
    "*Theirs* and *ours* are each the median of all rounds; the *median ratio* is that of ours / theirs of "
    "each round, in which both had the same machine, and so not what the two medians give."
)


def has_place(path: Path) -> bool:
    """Whether a page has the two marks."""
    return END in path.read_text(encoding="utf-8").partition(BEGIN)[2]


def write_speeds(rows: Sequence[Row], path: Path) -> None:
    """Put the table of the rows into a page, in place of the one that stands there."""
    before, _, rest = path.read_text(encoding="utf-8").partition(BEGIN)
    _, found, after = rest.partition(END)
    if not found:
        raise ValueError(
            f"{path} has no lines {BEGIN.strip()} and {END.strip()}, between which the table goes"
        )
    # A table that follows a comment at once is taken for a part of it.
    path.write_text(f"{before}{BEGIN}\n{''.join(_table(rows))}\n{END}{after}", encoding="utf-8")


def _table(rows: Sequence[Row]) -> Iterator[str]:
    yield "| what | beside | theirs | ours | median ratio |\n|---|---|---:|---:|---:|\n"
    compared = [row for row in rows if row.ratio is not None and _is_beside_a_tool(row.line)]
    for row in compared:
        cells = (
            row.line.what,
            row.line.peer or "",
            *(unbroken(number(value, row.line.unit)) for value in (row.peer, row.ours)),
            number(row.ratio),
        )
        yield f"| {' | '.join(cells)} |\n"
    yield f"\n{RATIOS}\n"
    found = {row.line.name for row in compared}
    if lacking := [line.name for line in LINES if _is_beside_a_tool(line) and line.name not in found]:
        yield f"\nNot run for this page: {', '.join(f'`{name}`' for name in lacking)}.\n"


def _is_beside_a_tool(line: Line) -> bool:
    return (line.peer or "").startswith(TOOLS)
