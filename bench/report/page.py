"""The page of results, in Markdown: what was measured, on what, and the command that repeats each line."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path

from bench.goals import LINES
from bench.line import Row
from bench.report.pictures import POINTS, draw
from bench.report.results import Results
from bench.report.speeds import write_speeds
from bench.report.words import goal, number, outcome, spread
from bench.running import exponent

HEAD = (
    "---\nhide: [navigation]\n---\n"
    "# Results\n"
    "Written by `python -m bench --page docs/results.md`; nothing on this page is typed by hand. Each line "
    "is measured beside what you would otherwise use, both in turn, round by round, in one run of its own: "
    "*ours* and *peer* are medians, *ratio* is the median of the ratios of the rounds, with its quartiles. "
    "Less is better in every line: a goal of 0.33 means at least three times as fast. Repeat a line by the "
    "command beside it.\n"
)
LEGEND = (
    "*MiB* is the peak of memory of ours and of the peer: of a new process all that it held, of a call what "
    "it took beyond what its process held before. *CPU* is the ratio of processor times, which other work "
    "on the machine changes least. *load* is the machine's while the line was measured, the mean number of "
    "processes that wanted to run; above the number of its threads, times by the clock are longer for both "
    "sides, and their ratio less sure. An *exponent* is that from the second largest size to the largest; of "
    "memory it says little below some MiB, where what was freed before is used again.\n"
)
COLUMNS = ("what", "beside", "ours", "peer", "ratio", "goal", "", "quartiles", "CPU", "MiB", "load", "repeat")


FACTS = {POINTS: "size / seconds / MiB:"}
"""Facts whose names say too little."""


def write_page(results: Results, path: Path) -> None:
    """Write the page, its rows as JSON beside it, and its pictures into the folder `images` beside it.

    Where a `comparisons.md` lies beside it, that page gets the speeds.
    """
    pictures = draw(results.rows, path.parent / "images")
    rows = path.with_suffix(".json")
    results.write(rows)
    shown = [picture.name for picture in pictures]
    path.write_text("\n".join(_lines(results, shown, rows.name)) + "\n")
    comparisons = path.with_name("comparisons.md")
    if comparisons.exists():
        write_speeds(results.rows, comparisons)


def _lines(results: Results, pictures: Sequence[str], json: str) -> Iterator[str]:
    rows = results.rows
    yield HEAD
    yield LEGEND
    judged = [row for row in rows if row.is_met is not None]
    met = sum(bool(row.is_met) for row in judged)
    yield f"Of {len(judged)} goals that were judged {met} are met. [The rows as JSON]({json}).\n"
    if lacking := _lines_without(rows):
        yield f"Lines that were not run for this page: {', '.join(lacking)}.\n"
    yield "| measured on | |"
    yield "|---|---|"
    ends = [row.at for row in rows if row.at]
    span = [time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(at)) for at in (min(ends), max(ends))]
    yield f"| when | {' to '.join(dict.fromkeys(span))} |"
    for name, fact in results.machine.items():
        yield f"| {name} | {fact} |"
    yield f"| versions | {', '.join(f'{name} {number}' for name, number in results.versions.items())} |\n"
    for picture in pictures:
        yield f"![{_caption(picture)}](images/{picture})\n"
    for subject, found in groupby(rows, key=lambda row: row.line.subject):
        yield from _table(subject, list(found))


def _lines_without(rows: Sequence[Row]) -> list[str]:
    """Names of lines of which there is no row; that of a subject where there is none of all its lines."""
    found = {row.line.name for row in rows}
    subjects = {row.line.subject for row in rows}
    lacking = [line for line in LINES if line.name not in found]
    names = (line.name if line.subject in subjects else f"{line.subject}.*" for line in lacking)
    return [f"`{name}`" for name in dict.fromkeys(names)]


def _caption(picture: str) -> str:
    if "growth" in picture:
        return "Seconds and MiB over the size of the work, both logarithmic; the grey lines are linear"
    return "The ratio of ours to the peer for each line, logarithmic, with quartiles and goals"


def _table(subject: str, rows: Sequence[Row]) -> Iterator[str]:
    yield f"## {subject}\n"
    yield f"| {' | '.join(COLUMNS)} |"
    yield f"|{'---|' * len(COLUMNS)}"
    for row in rows:
        yield f"| {' | '.join(_cells(row))} |"
    yield ""
    yield from (f"- `{row.line.name}`: {row.problem}" for row in rows if row.problem)
    yield from (f"- `{row.line.name}`: {_facts(row)}" for row in rows if row.facts)
    yield ""


def _cells(row: Row) -> tuple[str, ...]:
    peaks = [f"{peak:,.0f}" for peak in (row.memory_mib, row.peer_memory_mib) if peak is not None]
    measured = (
        number(row.ours, row.line.unit),
        number(row.peer, row.line.unit),
        number(row.ratio),
        goal(row.line),
        outcome(row),
        spread(row),
        number(row.cpu_ratio),
        " / ".join(peaks),
        "" if row.load is None else f"{row.load:.0f}",
    )
    # A number and its unit stay on one line.
    kept = (told.replace(" ", "&nbsp;") for told in measured)
    return (row.line.what, row.line.peer or "", *kept, f"`python -m bench --only {row.line.name}`")


def _facts(row: Row) -> str:
    told = [f"{FACTS.get(name, name.replace('_', ' '))} {_fact(value)}" for name, value in row.facts.items()]
    if points := row.facts.get(POINTS):
        sizes, _, peaks = zip(*points, strict=True)
        if (grown := exponent(sizes, peaks)) is not None:
            told.append(f"exponent of memory {number(grown)}")
    return ", ".join(told)


def _fact(value: object) -> str:
    if isinstance(value, list):
        return "; ".join(map(_fact, value)) if any(isinstance(v, list) for v in value) else _flat(value)
    return "-" if value is None else number(value) if isinstance(value, float) else f"{value}"


def _flat(values: Sequence[object]) -> str:
    return " / ".join(map(_fact, values))
