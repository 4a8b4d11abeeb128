"""The command that makes releases of a window, partition by partition."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from seamless_assets.cli.options import CONFIG, END, JSON, NODE, START, opened, progress_bar
from seamless_assets.cli.series.waits import Waits, exchange_of, heard
from seamless_assets.cli.terminal import say, say_json, waiting_for
from seamless_assets.core.calendar.instant import typed_instant
from seamless_assets.core.node import NodeId

if TYPE_CHECKING:
    from seamless_assets.flows.releasing.materialize import PartitionReport
    from seamless_assets.pipeline.connect import Seamless


@click.command()
@CONFIG
@NODE
@START
@END
@JSON
def materialize(config: Path | None, node: str, start: str, end: str, is_json: bool) -> None:
    """Fetch NODE from START to END anew and release it.

    What is released already and has not changed stays as it is. Each partition is told as it is done, and
    what was done stays done where the command is stopped. Exit status 1 where a partition is not released.
    """
    done: list[PartitionReport] = []
    with opened(config) as pipeline:
        total = _partitions(pipeline, NodeId.parse(node), start, end)
        where = exchange_of(pipeline, NodeId.parse(node))
        with (
            progress_bar(node, total) as move,
            heard(Waits()),
            waiting_for(describe=lambda: f"{where}: {_count(done, total)}"),
        ):
            try:
                for report in pipeline.materialize_each(node, typed_instant(start), typed_instant(end)):
                    done.append(report)
                    move(len(done), total)
                    if not is_json:
                        say(_line(report))
            except (KeyboardInterrupt, SystemExit):
                say(f"stopped; {_count(done, total)}, the same command does the rest", err=True)
                raise
    if is_json:
        say_json([_record(report) for report in done])
    if not all(report.released or not report.is_settled for report in done):
        sys.exit(1)


COMMANDS: list[click.Command] = [materialize]


def _partitions(pipeline: Seamless, node: NodeId, start: str, end: str) -> int:
    from seamless_assets.core.calendar.partition import partitions
    from seamless_assets.core.calendar.window import window_of

    unit = pipeline.settings.partition_unit(node.timeframe)
    return len(partitions(node.timeframe, unit, window_of(typed_instant(start), typed_instant(end))))


def _count(done: list[PartitionReport], total: int) -> str:
    return f"{len(done)} of {total} partitions are done"


def _line(report: PartitionReport) -> str:
    known = report.coverage
    state = "released" if report.released else "not released" if report.is_settled else "not settled yet"
    counts = f"{known.present} of {known.expected} bars, {known.absences}, {known.missing} missing"
    problems = f": {'; '.join(report.problems)}" if report.problems else ""
    return f"{report.partition.key} {state}, {counts}{problems}"


def _record(report: PartitionReport) -> dict[str, Any]:
    known = report.coverage
    return {
        "partition": report.partition.key,
        "released": report.released,
        "is_settled": report.is_settled,
        "as_of": report.as_of,
        "dataset_fingerprint": report.dataset_fingerprint,
        "expected": known.expected,
        "present": known.present,
        "absent": known.absent,
        "retention": known.retention,
        "declared": known.declared,
        "missing": known.missing,
        "problems": list(report.problems),
    }
