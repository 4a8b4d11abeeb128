"""Rows as a table for a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table
from rich.text import Text

from bench.line import Row
from bench.report.words import goal, number, ours, outcome, ratio, spread

STYLES = {"met": "green", "MISSED": "bold red", "not measured": "yellow", "no peer": "yellow"}


def table(rows: Sequence[Row], *, judged: bool = True) -> Table:
    """A row for each line; where `judged` is False no goal is held against anything."""
    made = Table(box=None, pad_edge=False, header_style="bold")
    made.add_column("line", no_wrap=True)
    made.add_column("beside", overflow="fold")
    for name in ("ours", "peer", "ratio", "quartiles", "MiB"):
        made.add_column(name, justify="right", no_wrap=True)
    made.add_column("goal", no_wrap=True)
    for row in rows:
        word = outcome(row)
        shown = word if judged or row.problem else ""
        made.add_row(
            row.line.name,
            row.line.peer or "",
            ours(row),
            number(row.peer, row.line.unit),
            ratio(row, "x"),
            spread(row),
            "" if row.memory_mib is None else f"{row.memory_mib:,.0f}",
            Text.assemble(goal(row.line), "  " if shown else "", (shown, STYLES.get(word, ""))),
        )
    return made


def problems(rows: Sequence[Row]) -> list[str]:
    """Why lines, or their peers, were not measured."""
    return [f"{row.line.name}: {row.problem}" for row in rows if row.problem]
