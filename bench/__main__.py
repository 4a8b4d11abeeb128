"""The command line: `python -m bench`.

    python -m bench --list
    python -m bench --only 'reads.*' --only hot.sqlite-read --json rows.json
    python -m bench --quick
    python -m bench --page docs/results.md --json rows.json
    python -m bench --from docs/results.json --from rows.json --page docs/results.md

Ends with 0 where every goal is met, 1 where one is missed, 2 where one could not be judged, where a line
broke, where what is asked for means nothing, where earlier rows cannot be shown (those of a quick run, those
that contradict themselves, and those of a commit that is not in the history of the checkout), and where
something cannot be written any more, once the lines that were measured are shown. A quick run does little of
everything and judges nothing: it ends with 2 where a line broke. Ctrl-C, SIGTERM and SIGHUP, which a closed
terminal sends, end it with 130, 143 and 129, once what it started has ended and the lines that were measured
are shown; a second signal does not hasten that, and `nohup` keeps SIGHUP away.
"""

from __future__ import annotations

import argparse
import logging
import signal
import sys
from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import replace
from difflib import get_close_matches
from fnmatch import fnmatchcase
from pathlib import Path

from rich.console import Console

from bench.ending import ENDING
from bench.goals import LINES
from bench.line import Row
from bench.places import passing_folder, takes_file, takes_folder
from bench.report.machine import commit
from bench.report.page import obstacle, places, write_page
from bench.report.pictures import draw
from bench.report.results import Results, UnfitRows, joined_results
from bench.report.table import problems, table
from bench.running import Bench, SubjectBroken, rows_of

LOGGER = logging.getLogger("bench")
BROKEN = "broke: what it said stands above"


def parse(words: Sequence[str] | None) -> argparse.Namespace:
    """What is asked for."""
    parser = argparse.ArgumentParser(
        prog="python -m bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", action="append", metavar="LINE", help="a line, a subject, or a pattern")
    parser.add_argument("--quick", action="store_true", help="little of everything, without judging")
    parser.add_argument("--rounds", type=int, help="rounds of every line instead of its own number")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the rows, and where they were run")
    parser.add_argument(
        "--page", type=Path, metavar="FILE", help="write a page of it, rows and pictures beside it"
    )
    parser.add_argument("--pictures", type=Path, metavar="DIR", help="draw the ratios and how things grow")
    parser.add_argument(
        "--from", action="append", type=Path, metavar="FILE", dest="earlier", help="rows of earlier runs"
    )
    parser.add_argument("--list", action="store_true", help="name the lines with their goals, and end")
    options = parser.parse_args(words)
    if said := misuse(options):
        parser.error(said)
    options.names = chosen(options.only or ["*"])
    return options


def misuse(options: argparse.Namespace) -> str | None:
    """Why what is asked for cannot be meant, before hours are spent on it."""
    to_measure = (options.only, options.quick, options.rounds, options.json)
    if options.rounds is not None and options.rounds < 1:
        return "--rounds must be at least 1"
    if lost := [asked for asked in options.only or [] if not chosen([asked])]:
        return f"no line is named {lost[0]!r}{nearest(lost[0])}; `python -m bench --list` names them"
    if options.earlier and any(to_measure):
        return "--from shows rows that were measured before; it goes with --page and --pictures alone"
    if options.list and any((*to_measure[1:], options.earlier, options.page, options.pictures)):
        return "--list names lines and measures none; it goes with --only alone"
    if options.quick and options.rounds:
        return "a quick run has one round of every line; leave --rounds out"
    if options.quick and (options.page or options.pictures):
        return "a quick run judges nothing, so that neither page nor pictures are made of it"
    if options.page and options.page.suffix == ".json":
        return f"{options.page} is where the rows of a page lie; name the page itself, as docs/results.md"
    if options.pictures and options.pictures.exists() and not options.pictures.is_dir():
        return f"{options.pictures} is no folder; name one for --pictures"
    if options.pictures and not takes_folder(options.pictures):
        return f"{options.pictures} cannot be written to; name a folder that can for --pictures"
    for file in (options.json, options.page):
        if file and not takes_file(file):
            return f"{file} cannot be written; name a file in a folder that is there"
    if named := named_twice(options):
        return named
    return obstacle(options.page) if options.page else None


def named_twice(options: argparse.Namespace) -> str | None:
    """Which place is named for two things, one of which may go beside the page."""
    found: dict[Path, str] = {}
    named = ("rows", options.json), ("pictures", options.pictures)
    for kind, path in (*(places(options.page) if options.page else ()), *named):
        if path and (other := found.setdefault(path.resolve(), kind)) != kind:
            return f"{path} cannot be both the {other} and the {kind}; name two places"
    return None


def nearest(asked: str) -> str:
    """The line or subject whose name is closest to what was asked for, in words."""
    names = dict.fromkeys(name for line in LINES for name in (line.name, line.subject))
    return "".join(f", the nearest is {name!r}" for name in get_close_matches(asked, names, n=1))


def chosen(patterns: Sequence[str]) -> list[str]:
    """Names of the lines that are asked for."""
    return [
        line.name
        for line in LINES
        if any(fnmatchcase(line.name, asked) or line.subject == asked for asked in patterns)
    ]


def run(names: Sequence[str], *, quick: bool, rounds: int | None) -> Generator[Row, None, None]:
    """The rows of the lines, subject by subject; a line that breaks has a row that says so."""
    for subject in dict.fromkeys(name.partition(".")[0] for name in names):
        wanted = [name for name in names if name.startswith(f"{subject}.")]
        told = set()
        with passing_folder(prefix=f"bench-{subject}-") as folder:
            try:
                for row in rows_of(Bench(folder, quick, rounds, wanted), subject):
                    told.add(row.line.name)
                    yield row
            except SubjectBroken:
                LOGGER.exception("%s broke", subject)
        yield from (
            Row(line, problem=BROKEN) for line in LINES if line.name in wanted and line.name not in told
        )


def status(rows: Sequence[Row], *, quick: bool) -> int:
    """What the command ends with."""
    if not quick and any(row.is_met is False for row in rows):
        return 1
    unjudged = (row for row in rows if row.problem and row.line.goal is not None and not quick)
    return 2 if any(unjudged) or any(row.problem == BROKEN for row in rows) else 0


def main(words: Sequence[str] | None = None) -> int:
    """Run what is asked for, show it, and say whether it is enough."""
    options = parse(words)
    console = Console(width=None if sys.stdout.isatty() else 160)
    if options.list:
        console.print(table([Row(line) for line in LINES if line.name in options.names]))
        return 0
    try:
        return shown(options, console)
    except (UnfitRows, OSError) as unfit:
        Console(stderr=True, width=160).print(unfit, highlight=False)
        return 2


def shown(options: argparse.Namespace, console: Console) -> int:
    """Show the rows wherever they are asked for; what the command ends with."""
    results = earlier(options.earlier) if options.earlier else measured(options, console)
    console.print(table(results.rows, judged=not options.quick))
    for problem in problems(results.rows):
        console.print(problem, highlight=False)
    # A page whose pictures and rows are of another run would be none.
    with ENDING.put_off():
        if options.pictures:
            draw(results.rows, options.pictures)
        if options.page:
            write_page(results, options.page)
    return status(results.rows, quick=options.quick)


def earlier(files: Sequence[Path]) -> Results:
    """Rows that were measured before, of code that this checkout has or had."""
    results = joined_results(files)
    if lost := results.lost_commits:
        raise UnfitRows(
            f"rows are of {', '.join(lost)}, not in the history of this checkout; leave their files out"
        )
    return results


def measured(options: argparse.Namespace, console: Console) -> Results:
    """Run the lines; what is there is written as JSON after each one, and shown where a signal ends it."""
    rows: list[Row] = []
    measured_at = commit()
    said, so_far = Console(stderr=True), Results.of(rows, is_quick=options.quick)
    try:
        with closing(run(options.names, quick=options.quick, rounds=options.rounds)) as measuring:
            for row in measuring:
                rows.append(replace(row, commit=measured_at))
                said.print(f"{row.line.name} done", style="dim", highlight=False)
                if options.json:
                    so_far.write(options.json)
    except SystemExit:
        # Ended by a signal, be it before the last row was written.
        if options.json:
            so_far.write(options.json)
        console.print(table(rows, judged=not options.quick))
        raise
    except OSError:
        # What a line raises is told in its row: the rows cannot be written any more, or no folder be made.
        console.print(table(rows, judged=not options.quick))
        raise
    results = Results.of(rows, is_quick=options.quick)
    if options.json:
        results.write(options.json)
    return results


if __name__ == "__main__":
    for ending in (signal.SIGINT, signal.SIGTERM):
        signal.signal(ending, ENDING)
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        signal.signal(signal.SIGHUP, ENDING)
    sys.exit(main())
