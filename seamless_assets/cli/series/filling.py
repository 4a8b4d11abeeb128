"""The commands that fill the hot store and tell what it covers."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from seamless_assets.cli.options import (
    CONFIG,
    END,
    JSON,
    NODE,
    START,
    hot_store_of,
    opened,
    progress_bar,
    working,
)
from seamless_assets.cli.series.coverage_report import say_counts, say_gaps
from seamless_assets.cli.series.waits import Waits, exchange_of, heard
from seamless_assets.cli.terminal import say, say_json, waiting_for
from seamless_assets.core.calendar.instant import typed_instant
from seamless_assets.core.calendar.segment import Segment
from seamless_assets.core.coverage.coverage import Coverage
from seamless_assets.core.node import NodeId
from seamless_assets.core.wire.problems import plain

if TYPE_CHECKING:
    from seamless_assets.pipeline.connect import Seamless

MAX_ROWS = 20


@click.command()
@CONFIG
@NODE
@START
@END
@JSON
def backfill(config: Path | None, node: str, start: str, end: str, is_json: bool) -> None:
    """Fetch what is missing of NODE from START to END. Exit status 1 if bars stay missing."""
    from seamless_assets.core.calendar.window import window_of

    window = window_of(typed_instant(start), typed_instant(end))
    # What has not closed yet is not missing.
    past = Segment(window.start, max(window.start, min(window.end, int(time.time()))))
    with opened(config) as pipeline:
        known = _coverage(pipeline, node, past)
        asked = f"{node}: {known.missing} of {known.expected} bars are missing and will be asked for"
        say(asked, err=is_json)
        with _watched(pipeline, NodeId.parse(node), known.missing):
            report = pipeline.backfill(node, *window)
        if is_json:
            say_json(report)
            sys.exit(1 if report.coverage.missing else 0)
        done = max(0, known.missing - report.coverage.missing)
        say(f"{done}/{known.missing} of what was missing is there or proven absent")
        say(f"{report.added} bars added, {report.revised} revised")
        for problem in report.problems:
            say(problem)
        _tell(pipeline, node, *past, report.coverage)
    if report.coverage.missing:
        sys.exit(1)


@click.command()
@CONFIG
@NODE
@START
@END
@click.option("--all", "is_all", is_flag=True, help="List every gap, those without trades too.")
@JSON
def coverage(config: Path | None, node: str, start: str, end: str, is_all: bool, is_json: bool) -> None:
    """Say which bars of NODE from START to END are there. Others are proven absent, or missing."""
    from seamless_assets.core.calendar.window import window_of

    window = window_of(typed_instant(start), typed_instant(end))
    with opened(config) as pipeline:
        known = _coverage(pipeline, node, window)
        if is_json:
            say_json({**plain(known), "ratio": known.ratio})
            return
        _tell(pipeline, node, *window, known, is_all)


@click.command()
@CONFIG
@JSON
def evict(config: Path | None, is_json: bool) -> None:
    """Drop old hot bars that released artifacts hold. Old are those beyond hot_store.keep_days."""
    with opened(config) as pipeline, working("evicting"), waiting_for(hot_store_of(pipeline)):
        dropped = pipeline.evict()
    if is_json:
        say_json({"dropped": dropped})
        return
    say(f"{dropped} bars dropped from the hot store")


COMMANDS: list[click.Command] = [backfill, coverage, evict]


def _coverage(pipeline: Seamless, node: str, window: Segment) -> Coverage:
    with waiting_for(hot_store_of(pipeline)):
        return pipeline.coverage(node, *window)


def _tell(pipeline: Seamless, node: str, start: int, end: int, known: Coverage, is_all: bool = False) -> None:
    """The counts, what is absent and why, and the gaps that deserve a look."""
    say_counts(node, start, end, known)
    if not known.gaps:
        return
    timeframe = NodeId.parse(node).timeframe
    bars = {gap: timeframe.count(gap.start, gap.end) for gap in known.gaps}
    listed = [gap for gap in known.gaps if is_all or gap.reason != "no_trades"]
    with waiting_for(hot_store_of(pipeline)):
        facts = pipeline.ledger(node, start, end) if listed else []
    say_gaps(listed, bars, facts, len(listed) if is_all else MAX_ROWS)


@contextmanager
def _watched(pipeline: Seamless, node: NodeId, bars: int) -> Iterator[None]:
    """What is done of a backfill, and what it waits for; both by its own events."""
    where = exchange_of(pipeline, node)
    with progress_bar(str(node), bars) as move:
        progress = _Progress(node, bars, move)
        try:
            with (
                heard(progress),
                waiting_for(describe=lambda: f"{where}: {progress.done} of {bars} bars came so far"),
            ):
                yield
        except (KeyboardInterrupt, SystemExit):
            say(
                f"stopped; {progress.done} of {bars} bars are done and stored, the same command does the rest"
            )
            raise


class _Progress(Waits):
    """Counts the bars of the windows that a backfill says it has filled, and tells what it waits for."""

    def __init__(self, node: NodeId, bars: int, move: Callable[[float, int | None], None]) -> None:
        super().__init__()
        self._node, self._bars, self._move = node, bars, move
        self.done = 0

    def emit(self, record: logging.LogRecord) -> None:
        """Move the bar of progress on, or say why it does not move."""
        super().emit(record)
        event = getattr(record, "event", {})
        if event.get("event") == "backfill_complete" and event["node_id"] == str(self._node):
            filled = self._node.timeframe.count(event["start"], event["end"])
            self.done = min(self._bars, self.done + filled)
            self._move(self.done, self._bars)
