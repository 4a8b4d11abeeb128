"""The page of results, in Markdown: which goals are missed, what was measured, on what, of which commit."""

from __future__ import annotations

import ast
import time
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from pathlib import Path

from bench.goals import LINES
from bench.line import OR, POINTS, Line, Row
from bench.places import ROOT, takes_file, takes_folder
from bench.report.columns import COLUMNS, OF_MISSED, table
from bench.report.pictures import GROWTH, RATIOS, draw
from bench.report.results import Results
from bench.report.speeds import has_place, write_speeds
from bench.report.words import number

HEAD = (
    "---\nhide: [navigation, toc]\n---\n"
    "# Results\n"
    "Each line is measured beside what you would otherwise use, both in turn, round by round, in one run of "
    "its own. Less is better in every line: a ratio of 0.33 means three times as fast. Written by "
    "`python -m bench --page docs/results.md`; nothing on this page is typed by hand. "
)
REPEAT = "Repeat a line by its name, as in `python -m bench --only {name}`. [The rows as JSON]({json}).\n"
LEGEND = (
    "## How to read the tables\n"
    "- *Ours* and *peer* are medians, *ratio* is the median of the ratios of the rounds, *quartiles* are "
    "theirs, or those of ours where there is no peer.\n"
    "- A *goal* is the most that the ratio may be, or ours where there is no peer: 1/3 is at least three "
    "times as fast, 1/0.67 at least 0.67 of the peer's rate. A line without a goal is only told.\n"
    "- *CPU* is the ratio of processor times, which other work on the machine changes least.\n"
    "- *MiB* is the peak of memory of ours and of the peer: of a new process all that it held, of a call "
    "what it took beyond what its process held before.\n"
    "- *Load* is the machine's while the line was measured, the mean number of processes that wanted to "
    "run; above the number of its threads, times by the clock are longer for both sides, and their ratio "
    "less sure.\n"
    "- An *exponent* is that from the second largest size to the largest; of memory it says little below "
    "some MiB, where what was freed before is used again.\n"
)
CAPTIONS = {
    RATIOS: "The ratio of ours to the peer for each line, logarithmic, with quartiles and goals",
    GROWTH: "How seconds and MiB of each line grow with its work, both logarithmic, beside the work itself",
}
IMAGES, COMPARISONS = "images", "comparisons.md"
COMMITS = "Commits of the rows"
NO_COMMIT = "not known"
SUBJECTS = ROOT / "bench" / "subjects"


def places(path: Path) -> Iterator[tuple[str, Path]]:
    """What goes where with a page, itself among it."""
    yield from (("page", path), ("rows", path.with_suffix(".json")))
    yield from (("pictures", path.parent / IMAGES), ("speeds", path.with_name(COMPARISONS)))


def obstacle(path: Path) -> str | None:
    """Why the page, or what goes beside it, cannot be written there."""
    _, rows, images, comparisons = (place for _, place in places(path))
    if images.exists() and not images.is_dir():
        return f"{images} is no folder, where the pictures of {path} go; name a page in another folder"
    if comparisons.exists() and not has_place(comparisons):
        return f"{comparisons} has no place for the speeds of {path}; name a page in another folder"
    if not takes_folder(images):
        return (
            f"{images} cannot be written to, where the pictures of {path} go; name a page in another folder"
        )
    for file in (rows, comparisons):
        if not takes_file(file):
            return f"{file} cannot be written, which goes with {path}; name a page in another folder"
    return None


def write_page(results: Results, path: Path) -> None:
    """Write the page, its rows as JSON beside it, and its pictures into the folder `images` beside it.

    Where a `comparisons.md` lies beside it, that page gets the speeds.
    """
    pictures = draw(results.rows, path.parent / IMAGES)
    rows = path.with_suffix(".json")
    results.write(rows)
    path.write_text(page(results, [picture.name for picture in pictures], rows.name))
    comparisons = path.with_name(COMPARISONS)
    if comparisons.exists():
        write_speeds(results.rows, comparisons)


def page(results: Results, pictures: Sequence[str], json: str) -> str:
    """The page, with pictures that lie in the folder `images` and rows that lie beside it."""
    return "\n".join(_lines(results, pictures, json)) + "\n"


def _lines(results: Results, pictures: Sequence[str], json: str) -> Iterator[str]:
    rows = results.rows
    yield HEAD + REPEAT.format(name=rows[0].line.name, json=json)
    yield from _verdicts(rows)
    subjects = {subject: list(found) for subject, found in groupby(rows, key=lambda row: row.line.subject)}
    yield from _summary(subjects)
    commits = _by_commit(rows)
    yield from _circumstances(results, commits)
    drawn = {picture.removeprefix("bench-").partition(".")[0]: _shown(picture) for picture in pictures}
    yield from (shown for name, shown in drawn.items() if name not in subjects)
    yield LEGEND
    for subject, found in subjects.items():
        yield f"## {subject}\n"
        yield _about(subject)
        if subject in drawn:
            yield drawn[subject]
        yield from table(COLUMNS, found)
        yield from (f"- `{row.line.name}`: {row.problem}" for row in found if row.problem)
        yield from (f"- `{row.line.name}`: {told}" for row in found if (told := _facts(row)))
        yield ""
    if len(commits) > 1:
        yield f"## {COMMITS}\n"
        yield "| commit | measured | lines |\n|---|---|---|"
        for commit, measured in commits.items():
            told = f"one of {', '.join(commit.split(OR))}" if OR in commit else commit
            yield f"| {told} | {_when(measured)} | {_names(row.line for row in measured)} |"


def _verdicts(rows: Sequence[Row]) -> Iterator[str]:
    """How many goals are met, the lines that miss theirs, and those that nobody ran."""
    judged = [row for row in rows if row.is_met is not None]
    missed = [row for row in judged if not row.is_met]
    told = f"**Of {len(judged)} goals that were judged {len(judged) - len(missed)} are met.**"
    yield f"{told} These are missed:\n" if missed else f"{told}\n"
    if missed:
        yield from table(OF_MISSED, missed)
    run = {row.line.name for row in rows}
    if lacking := _names(line for line in LINES if line.name not in run):
        yield f"Lines that were not run for this page: {lacking}.\n"


def _summary(subjects: dict[str, list[Row]]) -> Iterator[str]:
    """A line for each subject, with the way to its rows."""
    yield "| lines | what they measure | run | goals | met | missed |\n|---|---|---:|---:|---:|---:|"
    for subject, rows in subjects.items():
        judged = [row.is_met for row in rows if row.is_met is not None]
        missed = f"**{judged.count(False)}**" if False in judged else ""
        about = _about(subject).partition("\n")[0]
        told = (len(rows), len(judged), judged.count(True), missed)
        yield f"| [{subject}](#{subject}) | {about} | {' | '.join(map(str, told))} |"
    yield ""


def _circumstances(results: Results, commits: dict[str, list[Row]]) -> Iterator[str]:
    yield "| measured | |\n|---|---|"
    yield f"| when | {_when(results.rows)} |"
    for name, fact in results.machine.items():
        yield f"| {name} | {fact} |"
    yield f"| versions | {', '.join(f'{name} {version}' for name, version in results.versions.items())} |"
    several = f"[each row's](#{COMMITS.lower().replace(' ', '-')}) is named at the end of the page"
    yield f"| commit | {several if len(commits) > 1 else ''.join(commits)} |\n"


def _by_commit(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """The rows of each commit, the earliest that was measured first."""
    found: dict[str, list[Row]] = {}
    for row in sorted(rows, key=lambda row: row.at or 0.0):
        found.setdefault(row.commit or NO_COMMIT, []).append(row)
    return found


def _when(rows: Sequence[Row]) -> str:
    ends = [row.at for row in rows if row.at] or [0.0]
    span = [time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(at)) for at in (min(ends), max(ends))]
    return " to ".join(dict.fromkeys(span))


def _names(lines: Iterable[Line]) -> str:
    """Names of lines in the order of the bench; that of a subject where all its lines are among them."""
    named = {line.name for line in lines}
    whole = {line.subject for line in LINES} - {line.subject for line in LINES if line.name not in named}
    told = (
        f"{line.subject}.*" if line.subject in whole else line.name for line in LINES if line.name in named
    )
    return ", ".join(f"`{name}`" for name in dict.fromkeys(told))


def _about(subject: str) -> str:
    """What the module of a subject says of itself."""
    source = (SUBJECTS / f"{subject}.py").read_text(encoding="utf-8")
    return f"{ast.get_docstring(ast.parse(source))}\n"


def _shown(picture: str) -> str:
    """A picture that leads to its file, where it is as large as it was drawn."""
    return f"[![{CAPTIONS[picture]}](images/{picture})](images/{picture})\n"


def _facts(row: Row) -> str:
    told = (f"{name.replace('_', ' ')} {_fact(value)}" for name, value in row.facts.items() if name != POINTS)
    return ", ".join(told)


def _fact(value: object) -> str:
    if isinstance(value, list):
        return " / ".join(map(_fact, value))
    return "-" if value is None else number(value) if isinstance(value, float) else f"{value}"
