"""The commands that show what is known of nodes: bars, strips, gaps, conditions."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.cells import cell_len

from seamless_assets.cli.options import (
    CONFIG,
    END,
    JSON,
    NODE,
    NODES,
    START,
    artifacts_of,
    hot_store_of,
    opened,
    progress_bar,
    working,
)
from seamless_assets.cli.series.coverage_report import strip, time_text
from seamless_assets.cli.series.waits import Waits, exchange_of, heard
from seamless_assets.cli.terminal import (
    GAP,
    cell,
    say,
    say_json,
    say_table,
    table,
    waiting_for,
    width,
    write_bytes,
)
from seamless_assets.core.calendar.instant import typed_instant
from seamless_assets.core.coverage.coverage import MISSING
from seamless_assets.core.node import NodeId
from seamless_assets.errors import AsOfRequired, InvalidInput, NothingReleased

if TYPE_CHECKING:
    from rich.table import Table

    from seamless_assets.core.reading.result import ReadResult
    from seamless_assets.pipeline.connect import Seamless

FORMATS = ("table", "csv", "json", "arrow", "parquet")
SHOWN = 10
"""Bars at each end of a table that is cut."""
STATUS_CELLS, FEWEST_CELLS = 40, 8
_STYLES = {"available": "green", "degraded": "yellow", "pending": "cyan", "missing": "red"}


@click.command()
@CONFIG
@NODE
@click.argument("start", required=False)
@click.argument("end", required=False)
@click.option("--as-of", default=None, help="Read what was known then; by default the newest release.")
@click.option("--world", default=None, help="World of the read.")
@click.option(
    "--domain", type=click.Choice(("backtest", "dryrun", "live")), default=None, help="Rules of the read."
)
@click.option("--strategy", default=None, help="FAIL_FAST, AUTO_BACKFILL, PARTIAL_FILL or SEAMLESS.")
@click.option("--sla", default=None, help="A preset such as baseline.")
@click.option("--columns", default=None, help="By commas, such as ts,close.")
@click.option("--limit", type=int, default=None, help="The last so many bars.")
@click.option(
    "--fill", type=click.Choice(("previous_close",)), default=None, help="Fill bars that are not there."
)
@click.option(
    "--format", "form", type=click.Choice(FORMATS), default=None, help="By default a table, or by --out."
)
@click.option("--out", type=click.Path(path_type=Path), default=None, help="File to write to.")
@JSON
def read(
    config: Path | None,
    node: str,
    start: str | None,
    end: str | None,
    as_of: str | None,
    world: str | None,
    domain: str | None,
    form: str | None,
    out: Path | None,
    columns: str | None,
    is_json: bool,
    **arguments: Any,
) -> None:
    """Read bars of NODE, by default all that is released.

    Those from START to END, where they are given. Without --as-of and --domain it is the newest release;
    nothing is asked of an exchange unless --strategy says so.
    """
    if is_json and (out is not None or form not in (None, "json")):
        raise click.UsageError("--json prints bars as JSON; leave --out and other formats out")
    if domain in ("backtest", "dryrun") and as_of is None:
        raise AsOfRequired(
            f"--domain {domain} reads what was known at an instant; say which by --as-of, such as the last "
            f"one that `seamless releases {node}` lists"
        )
    chosen = _chosen(form, out) if form else "json" if is_json else _form_of(out)
    given = {"world_id": world, "domain": domain, "as_of": _instant(as_of)}
    context = _context({name: value for name, value in given.items() if value is not None})
    with (
        opened(config) as pipeline,
        working(f"reading {node}"),
        heard(Waits()),
        waiting_for(*awaited(pipeline, node, arguments["strategy"])),
    ):
        result = pipeline.read(
            node,
            _instant(start),
            _instant(end),
            context=context,
            columns=columns.split(",") if columns is not None else None,
            **arguments,
        )
    if chosen == "table":
        say_table(_bars(result))
        say(repr(result.metadata).strip("<>"))
    else:
        _write(result, chosen, out)


@click.command()
@CONFIG
@NODES
@click.option(
    "--days",
    type=click.FloatRange(min=0, min_open=True),
    default=7.0,
    show_default=True,
    help="Days before the last release that are shown.",
)
@JSON
def status(config: Path | None, nodes: tuple[str, ...], days: float, is_json: bool) -> None:
    """Show the last days of every NODE as a strip. With it come coverage, lag and last release."""
    with opened(config) as pipeline, progress_bar("nodes") as move:
        chosen = [NodeId.parse(node) for node in nodes] or list(pipeline.settings.starts)
        rows = []
        with waiting_for(artifacts_of(pipeline), hot_store_of(pipeline)):
            for done, node in enumerate(chosen, 1):
                rows.append(_status(pipeline, node, days * 86_400))
                move(done, len(chosen))
    if is_json:
        say_json(rows)
        return
    _say_strips(rows)


@click.command()
@CONFIG
@NODE
@START
@END
@click.option("--reason", default=None, help="Only those of one reason, such as missing.")
@JSON
def gaps(config: Path | None, node: str, start: str, end: str, reason: str | None, is_json: bool) -> None:
    """List gaps of NODE from START to END, each with its reason."""
    with opened(config) as pipeline, waiting_for(hot_store_of(pipeline)):
        known = pipeline.coverage(node, typed_instant(start), typed_instant(end))
    timeframe = NodeId.parse(node).timeframe
    listed = [gap for gap in known.gaps if reason in (None, gap.reason)]
    counted = [(gap, timeframe.count(gap.start, gap.end)) for gap in listed]
    if is_json:
        say_json([{**gap._asdict(), "bars": bars} for gap, bars in counted])
        return
    whole = ("from", "to", "bars", "reason")
    made = table(*whole, whole=whole)
    for gap, bars in counted:
        style = "red" if gap.reason == MISSING else ""
        made.add_row(
            *(cell(text, style) for text in (time_text(gap.start), time_text(gap.end), str(bars), gap.reason))
        )
    say_table(made) if counted else say("no gaps")


@click.command()
@CONFIG
@NODE
@START
@END
@JSON
def condition(config: Path | None, node: str, start: str, end: str, is_json: bool) -> None:
    """Say how partitions of NODE are from START to END. Each is available, degraded, pending or missing."""
    with opened(config) as pipeline, waiting_for(artifacts_of(pipeline), hot_store_of(pipeline)):
        found = pipeline.condition(node, typed_instant(start), typed_instant(end))
    if is_json:
        say_json(found)
        return
    made = table("partition", "state", "changed at", "reason", whole=("partition", "state", "changed at"))
    for one in found:
        facts = map(cell, ((one.changed_at or "")[:19], one.reason))
        made.add_row(cell(one.partition), cell(one.state, _STYLES[one.state]), *facts)
    say_table(made)


COMMANDS: list[click.Command] = [read, status, gaps, condition]


def _instant(text: str | None) -> Any:
    return None if text is None else typed_instant(text)


def awaited(pipeline: Seamless, node: str, strategy: str | None) -> list[str]:
    """What a read may wait for: without a strategy nothing is asked of an exchange."""
    stores = [artifacts_of(pipeline)]
    if strategy in (None, "FAIL_FAST"):
        return stores
    return [exchange_of(pipeline, NodeId.parse(node)), hot_store_of(pipeline), *stores]


def _context(given: dict[str, Any]) -> Any:
    from seamless_assets.core.reading.context import ComputeContext

    return ComputeContext(**given) if given else None


def _chosen(form: str, out: Path | None) -> str:
    """The format that was asked for, if the file may have it; a name without a known ending takes any."""
    if out is None:
        return form
    if form == "table":
        raise click.UsageError("a table is printed, not written; leave --out or --format table out")
    if (named := _ending(out)) in FORMATS[1:] and named != form:
        raise click.UsageError(
            f"--format {form} contradicts --out {out}; leave --format out, or end the name with .{form}"
        )
    return form


def _ending(out: Path) -> str:
    return out.suffix.removeprefix(".").lower()


def _form_of(out: Path | None) -> str:
    """The format that a file's name says."""
    if out is None:
        return "table"
    found = _ending(out)
    if found not in FORMATS[1:]:
        raise InvalidInput(
            f"{out} names no format; end it with .csv, .json, .arrow or .parquet", value=str(out)
        )
    return found


def _write(result: ReadResult, form: str, out: Path | None) -> None:
    from seamless_assets.service.answers.encodings import ENCODINGS

    pieces: Iterator[bytes] = ENCODINGS[form][1](result)  # type: ignore[index]
    if out is None:
        if sys.stdout.isatty() and form in ("arrow", "parquet"):
            raise InvalidInput(f"{form} is not for a terminal; name a file by --out, or a pipe", value=form)
        for piece in pieces:
            write_bytes(piece)
        return
    try:
        out.write_bytes(b"".join(pieces))
    except OSError as error:
        raise InvalidInput(f"{out} cannot be written: {error.strerror}", value=str(out)) from error
    say(f"{result.metadata.rows} bars in {out}")


def _bars(result: ReadResult) -> Table:
    bars, names = result.bars, result.bars.column_names
    made = table(*names, whole=names)
    cut = bars.num_rows > 2 * SHOWN
    parts = [bars.slice(0, SHOWN), bars.slice(bars.num_rows - SHOWN)] if cut else [bars]
    for number, part in enumerate(parts):
        if number:
            made.add_row(*(cell("...") for _ in names))
        for row in part.to_pylist():
            made.add_row(*(cell(time_text(row[name]) if name == "ts" else f"{row[name]}") for name in names))
    return made


def _status(pipeline: Seamless, node: NodeId, span: float) -> dict[str, Any]:
    now = time.time()
    try:
        snapshot = pipeline.snapshot(node)
    except NothingReleased:
        snapshot = None
    release = snapshot.release if snapshot else None
    released = max((ref.end for ref in snapshot.artifacts), default=None) if snapshot else None
    end = released or int(now)
    # Before its first partition nothing was ever asked for.
    first = pipeline.settings.starts.get(node, 0)
    window = min(max(int(end - span), first), end), end
    known = pipeline.coverage(node, *window)
    return {
        "node_id": str(node),
        "start": window[0],
        "end": window[1],
        "coverage_ratio": known.ratio,
        "present": known.present,
        "absent": known.absent,
        "retention": known.retention,
        "declared": known.declared,
        "missing": known.missing,
        "gaps": known.gaps,
        "lag_seconds": None if released is None else now - released,
        "seq": release.seq if release else None,
        "as_of": release.as_of if release else None,
        "dataset_fingerprint": release.dataset_fingerprint if release else None,
    }


def _say_strips(rows: Sequence[Mapping[str, Any]]) -> None:
    """A line for each node; a narrow terminal shortens its strip, then does without its last columns."""
    columns = {
        "node": [row["node_id"] for row in rows],
        "strip": ["" for _ in rows],
        "coverage": [f"{row['coverage_ratio']:.4f}" for row in rows],
        "missing": [str(row["missing"]) for row in rows],
        "lag": [_age(row["lag_seconds"]) for row in rows],
        "release": [str(row["seq"] or "none") for row in rows],
        "as of": [(row["as_of"] or "")[:16].replace("T", " ") for row in rows],
    }
    for name in ("release", "as of"):
        if _taken(columns) + FEWEST_CELLS > width():
            del columns[name]
    length = max(FEWEST_CELLS, min(STATUS_CELLS, width() - _taken(columns)))
    drawn = [strip(row["start"], row["end"], row["gaps"], length) for row in rows]
    columns["strip"] = [cells for cells, _ in drawn]
    made = table(*columns, whole=columns)
    for row, texts in zip(rows, zip(*columns.values(), strict=True), strict=True):
        style = "red" if row["missing"] else ""
        made.add_row(
            *(cell(text, style if name == "strip" else "") for name, text in zip(columns, texts, strict=True))
        )
    say_table(made)
    say(drawn[0][1] if drawn else "")


def _taken(columns: Mapping[str, Sequence[str]]) -> int:
    """Characters of a line that are no strip's."""
    widest = (
        max(cell_len(text) for text in (name, *texts)) for name, texts in columns.items() if name != "strip"
    )
    return sum(widest) + GAP * (len(columns) - 1)


def _age(seconds: float | None) -> str:
    if seconds is None:
        return "never"
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"
