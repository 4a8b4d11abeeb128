"""The commands that fill the hot store and tell what it covers, for a person to watch and read."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from seamless_assets.core.calendar.instant import seconds_text, typed_instant
from seamless_assets.core.coverage.coverage import MISSING, Coverage, Gap
from seamless_assets.core.coverage.ledger import Fact
from seamless_assets.core.node import NodeId
from seamless_assets.pipeline.wiring.log import LOGGER

if TYPE_CHECKING:
    from seamless_assets.pipeline.connect import Seamless

STRIP_CELLS = 60
MOST_ROWS = 20
_CONFIG = click.option(
    "--config", type=click.Path(path_type=Path), default=None, help="seamless.yaml to use."
)
_WINDOW = (click.argument("node"), click.argument("start"), click.argument("end"))


@click.command()
@_CONFIG
@_WINDOW[0]
@_WINDOW[1]
@_WINDOW[2]
def backfill(config: Path | None, node: str, start: str, end: str) -> None:
    """Fetch what is missing of NODE from START to END; exit status 1 if bars stay missing."""
    from seamless_assets.pipeline.connect import connect

    console = Console()
    with connect(config) as pipeline:
        missing = pipeline.coverage(node, typed_instant(start), typed_instant(end)).missing
        with _watched(console, NodeId.parse(node), missing):
            report = pipeline.backfill(node, typed_instant(start), typed_instant(end))
        console.print(f"{report.added} bars added, {report.revised} revised")
        for problem in report.problems:
            console.print(problem, style="red", markup=False)
        _tell(console, pipeline, node, report.start, report.end, report.coverage)
    if report.coverage.missing:
        sys.exit(1)


@click.command()
@_CONFIG
@_WINDOW[0]
@_WINDOW[1]
@_WINDOW[2]
@click.option("--all", "is_all", is_flag=True, help="List every gap, those without trades too.")
def coverage(config: Path | None, node: str, start: str, end: str, is_all: bool) -> None:
    """Say which bars of NODE from START to END are there, which are proven absent, which are missing."""
    from seamless_assets.core.calendar.window import window_of
    from seamless_assets.pipeline.connect import connect

    window = window_of(typed_instant(start), typed_instant(end))
    with connect(config) as pipeline:
        known = pipeline.coverage(node, *window)
        _tell(Console(), pipeline, node, *window, known, is_all)


COMMANDS: list[click.Command] = [backfill, coverage]


@contextmanager
def _watched(console: Console, node: NodeId, bars: int) -> Iterator[None]:
    """A bar of progress that the events of the backfill move on."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    log = logging.getLogger(LOGGER)
    level, propagates = log.level, log.propagate
    with Progress(*columns, console=console) as progress:
        handler = _Progress(progress, progress.add_task(str(node), total=bars), node)
        log.addHandler(handler)
        log.setLevel(logging.INFO)
        log.propagate = False
        try:
            yield
        except (KeyboardInterrupt, SystemExit):
            done = progress.tasks[0].completed
            told = f"stopped; {done:.0f} of {bars} bars are done and stored, the same command does the rest"
            console.print(told, highlight=False, soft_wrap=True)
            raise
        finally:
            log.removeHandler(handler)
            log.setLevel(level)
            log.propagate = propagates
        progress.update(handler.task, completed=bars)


class _Progress(logging.Handler):
    """Turns the records of a backfill into progress."""

    def __init__(self, progress: Progress, task: Any, node: NodeId) -> None:
        super().__init__()
        self._progress, self.task, self._node = progress, task, node

    def emit(self, record: logging.LogRecord) -> None:
        told = getattr(record, "event", {})
        if told.get("event") in ("backfill_complete", "backfill_fail"):
            self._progress.advance(self.task, self._node.timeframe.count(told["start"], told["end"]))


def _tell(
    console: Console,
    pipeline: Seamless,
    node: str,
    start: int,
    end: int,
    known: Coverage,
    is_all: bool = False,
) -> None:
    """The counts, a strip of the window, what is absent and why, and the gaps that deserve a look."""
    console.print(f"{node}, {_time(start)} to {_time(end)}", markup=False, highlight=False)
    console.print(
        f"{known.present} of {known.expected} bars present, {known.absent} proven absent, "
        f"{known.missing} missing; coverage {known.ratio:.4f}"
    )
    console.print(_strip(start, end, known.gaps), markup=False, highlight=False)
    if known.gaps:
        timeframe = NodeId.parse(node).timeframe
        bars = {gap: timeframe.count(gap.start, gap.end) for gap in known.gaps}
        console.print(_by_reason(bars))
        listed = known.gaps if is_all else [gap for gap in known.gaps if gap.reason != "no_trades"]
        if listed:
            facts = pipeline.ledger(node, start, end)
            console.print(_each_gap(listed if is_all else listed[:MOST_ROWS], bars, facts))
        if not is_all and len(listed) > MOST_ROWS:
            console.print(f"and {len(listed) - MOST_ROWS} more; --all lists them")


def _by_reason(bars: Mapping[Gap, int]) -> Table:
    table = Table("reason", "bars", "gaps", "longest", box=None)
    found: dict[str, list[int]] = {}
    for gap, count in bars.items():
        found.setdefault(gap.reason, []).append(count)
    for reason, counts in sorted(found.items(), key=lambda item: (item[0] != MISSING, -sum(item[1]))):
        style = "red" if reason == MISSING else ""
        table.add_row(reason, str(sum(counts)), str(len(counts)), str(max(counts)), style=style)
    return table


def _each_gap(gaps: Sequence[Gap], bars: Mapping[Gap, int], facts: Sequence[Fact]) -> Table:
    table = Table(box=None)
    for name in ("from", "to", "bars", "reason"):
        table.add_column(name, no_wrap=True)
    for name in ("evidence", "looks", "next look"):
        table.add_column(name)
    for gap in gaps:
        about = [f for f in facts if f.reason == gap.reason and f.start < gap.end and gap.start < f.end]
        last = about[-1] if about else None
        told = ("never looked for", "0", "now")
        if last is not None:
            told = (last.evidence, str(last.attempts), _next_look(last))
        table.add_row(_time(gap.start), _time(gap.end), str(bars[gap]), gap.reason, *told)
    return table


def _next_look(fact: Fact) -> str:
    if fact.is_proof or fact.next_try is None:
        return "never"
    return _time(int(fact.next_try)) if fact.rests_at(time.time()) else "now"


def _time(ts: int) -> str:
    text = seconds_text(ts).replace("T", " ").removesuffix("Z")
    return text.removesuffix(":00")


def _strip(start: int, end: int, gaps: Sequence[Gap]) -> str:
    """The window as a row of cells: present, thinned by absent bars, or with bars missing."""
    width = max(1, end - start) / STRIP_CELLS
    cells = ["█"] * STRIP_CELLS
    for gap in gaps:
        first, last = int((gap.start - start) // width), int((gap.end - 1 - start) // width)
        for at in range(max(0, first), min(last, STRIP_CELLS - 1) + 1):
            is_whole = gap.start <= start + at * width and start + (at + 1) * width <= gap.end
            if gap.reason == MISSING:
                cells[at] = "!"
            elif cells[at] == "█":
                cells[at] = "·" if is_whole else "▓"
    return "".join(cells) + "\n█ present  ▓ some absent  · absent  ! missing"
