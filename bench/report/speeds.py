"""What the page of comparisons says of speeds: lines beside other tools, between two marks of the page."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from bench.line import Row
from bench.report.words import number

BEGIN, END = "<!-- speeds -->\n", "<!-- end of speeds -->\n"
TOOLS = ("freqtrade", "bare ccxt", "ArcticDB", "DuckDB", "polars", "pyarrow", "bare pyarrow", "bare FastAPI")
"""Peers that people would otherwise use; the rest of the bench holds us against ourselves."""


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
    yield "| what | beside | theirs | ours | ours / theirs |\n|---|---|---|---|---|\n"
    for row in rows:
        if row.ratio is not None and (row.line.peer or "").startswith(TOOLS):
            cells = (
                row.line.what,
                row.line.peer or "",
                number(row.peer, row.line.unit),
                number(row.ours, row.line.unit),
                number(row.ratio),
            )
            yield f"| {' | '.join(cells)} |\n"
