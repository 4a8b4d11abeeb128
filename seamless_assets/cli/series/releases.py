"""The commands that tell of a node's releases and decide of them."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from seamless_assets.cli.options import CONFIG, JSON, NODE, NODES, artifacts_of, opened, progress_bar, working
from seamless_assets.cli.project.dagster_home import known_home
from seamless_assets.cli.terminal import (
    NO_WRAP_WIDTH,
    cell,
    say,
    say_json,
    say_table,
    table,
    waiting_for,
    width,
)
from seamless_assets.core.calendar.instant import typed_instant
from seamless_assets.core.calendar.partition import UNITS, PartitionUnit
from seamless_assets.core.wire.problems import plain
from seamless_assets.errors import DagsterReportFailed, NothingReleased, StoreError

if TYPE_CHECKING:
    from seamless_assets.core.releases.release import Release
    from seamless_assets.pipeline.connect import Seamless

_REASON = click.option("--reason", required=True, help="Why; the release log keeps it.")
WIDE = 150
"""Characters of a line that a release fits into, with a reason of some words."""
_FIRST_INSTANT = 100_000_000
"""A smaller number of seconds is meant as the number of a release."""
COMMANDS: list[click.Command] = []


def _command(work: Callable[..., None]) -> click.Command:
    made = click.command()(CONFIG(work))
    COMMANDS.append(made)
    return made


@_command
@NODE
@JSON
def releases(config: Path | None, node: str, is_json: bool) -> None:
    """List the release log of NODE, oldest first."""
    with _open(config) as pipeline:
        log = pipeline.releases(node)
    if is_json:
        say_json(log)
    elif log:
        _say(log)
    else:
        say(f"{node} has no release; `seamless materialize {node} START END` makes the first")


@_command
@NODE
@_REASON
@click.option("--partition", default=None, help="Only what waits inside it: 2025-01-31, 2025-01 or 2025.")
@click.option("--fingerprint", default=None, help="Release the artifact of this content.")
@click.option("--force", is_flag=True, help="Even what holds no bar at all.")
@JSON
def release(
    config: Path | None,
    node: str,
    reason: str,
    partition: str | None,
    fingerprint: str | None,
    force: bool,
    is_json: bool,
) -> None:
    """Release by hand what waits of NODE, whatever checks said."""
    with _open(config) as pipeline, working(f"releasing {node}"):
        entry = pipeline.release(
            node, reason=reason, partition=partition, fingerprint=fingerprint, force=force
        )
        _made(pipeline, node, entry, is_json)


@_command
@NODE
@_REASON
@JSON
def unpin(config: Path | None, node: str, reason: str, is_json: bool) -> None:
    """Let releases change what is pinned of NODE again. Rollbacks and withdrawals pin what they decide."""
    with _open(config) as pipeline:
        _made(pipeline, node, pipeline.unpin(node, reason=reason), is_json)


@_command
@NODE
@_REASON
@click.option("--to", type=int, default=None, help="Number of the release to go back to.")
@click.option("--as-of", default=None, help="Or an instant.")
@JSON
def rollback(
    config: Path | None, node: str, reason: str, to: int | None, as_of: str | None, is_json: bool
) -> None:
    """Put an earlier release of NODE in force again, and pin it."""
    with _open(config) as pipeline:
        entry = pipeline.rollback(node, reason=reason, to=to, as_of=_instant(as_of))
        _made(pipeline, node, entry, is_json)


@_command
@NODE
@click.argument("partition")
@_REASON
@JSON
def withdraw(config: Path | None, node: str, partition: str, reason: str, is_json: bool) -> None:
    """Take PARTITION of NODE out of force until released by hand.

    It is a day, a month or a year, such as 2025-01-31, 2025-01 or 2025, whatever partitions the node has.
    """
    with _open(config) as pipeline:
        _made(pipeline, node, pipeline.withdraw(node, partition, reason=reason), is_json)


@_command
@NODE
@click.option("--unit", type=click.Choice(UNITS), default=None, help="Size of the merged artifacts.")
@JSON
def compact(config: Path | None, node: str, unit: PartitionUnit | None, is_json: bool) -> None:
    """Merge the small artifacts of NODE into larger ones. They hold the same bars."""
    with _open(config) as pipeline, working(f"compacting {node}"):
        report = pipeline.compact(node, unit)
    if is_json:
        say_json(report)
        return
    say(f"{report.node_id}: {report.before} artifacts are {report.after} now")


@_command
@click.argument("node", required=False)
@click.option("--grace-days", type=float, default=7.0, show_default=True, help="Younger files stay.")
@JSON
def gc(config: Path | None, node: str | None, grace_days: float, is_json: bool) -> None:
    """Remove files that no release names and nobody waits for. They are those of NODE, or of all nodes."""
    with _open(config) as pipeline, working(f"looking for files of {node or 'all nodes'}"):
        reports = pipeline.gc(node, grace_s=grace_days * 86_400)
    if is_json:
        say_json(reports)
        return
    for report in reports:
        say(f"{report.node_id}: {len(report.removed)} files removed, {report.freed} bytes")


@_command
@NODES
@JSON
def verify(config: Path | None, nodes: tuple[str, ...], is_json: bool) -> None:
    """Prove every hash of each NODE, from its log to its bars.

    By default of all nodes. Exit status 1 where a hash is wrong or a node cannot be verified.
    """
    records = []
    with _open(config) as pipeline:
        for node in nodes or map(str, pipeline.settings.starts):
            with progress_bar(node) as on_progress:
                records.append(_verified(pipeline, node, on_progress))
            if not is_json:
                _say_verified(records[-1])
    if is_json:
        say_json(records)
    if not all(record["is_sound"] for record in records):
        sys.exit(1)


@_command
@NODE
@click.argument("before")
@click.argument("after", required=False)
@JSON
def diff(config: Path | None, node: str, before: str, after: str | None, is_json: bool) -> None:
    """Say how the dataset of NODE changed from BEFORE to AFTER.

    Each is an instant or the number of a release; AFTER is the newest by default.
    """
    with _open(config) as pipeline, working(f"comparing datasets of {node}"):
        changes = pipeline.diff(node, _as_of(pipeline, node, before), _as_of(pipeline, node, after))
    if is_json:
        say_json(changes)
        return
    say(f"from {changes.before.as_of} {changes.before.dataset_fingerprint}")
    say(f"to   {changes.after.as_of} {changes.after.dataset_fingerprint}")
    say(f"bars: {changes.bars.added} new, {changes.bars.removed} gone, {changes.bars.changed} changed")
    for sign, refs in (("+", changes.added), ("-", changes.withdrawn)):
        for ref in refs:
            say(f"{sign} {ref.partition} {ref.rows} bars {ref.fingerprint}")


@_command
@NODE
@click.option("--as-of", default=None, help="An instant, or a release's number; by default the newest.")
@JSON
def files(config: Path | None, node: str, as_of: str | None, is_json: bool) -> None:
    """List the Parquet files of the dataset of NODE, one a line."""
    with _open(config) as pipeline:
        uris = pipeline.snapshot_files(node, _as_of(pipeline, node, as_of))
    if is_json:
        say_json(uris)
        return
    for uri in uris:
        say(uri)


@contextmanager
def _open(config: Path | None) -> Iterator[Seamless]:
    """The pipeline, for work that waits for the artifact store above all."""
    with opened(config) as pipeline, waiting_for(artifacts_of(pipeline)):
        yield pipeline


def _instant(typed: str | None) -> Any:
    return None if typed is None else typed_instant(typed)


def _as_of(pipeline: Seamless, node: str, typed: str | None) -> Any:
    """An instant, or that of the release whose number was typed: no release is as old as such a number."""
    instant = _instant(typed)
    if not isinstance(instant, int) or instant >= _FIRST_INSTANT:
        return instant
    log = pipeline.releases(node)
    if not 1 <= instant <= len(log):
        raise NothingReleased(
            f"{node} has no release {typed}; there is {f'1 to {len(log)}' if log else 'none yet'}",
            node_id=node,
            seq=instant,
        )
    return log[instant - 1].as_of


def _made(pipeline: Seamless, node: str, entry: Release, is_json: bool) -> None:
    """Say what was done by hand, here and to Dagster, where it runs."""
    if is_json:
        say_json(entry)
    else:
        _say([entry])
    tell_dagster(pipeline, node, entry)


def tell_dagster(pipeline: Seamless, node: str, entry: Release) -> None:
    """Tell Dagster of what a person released, where it runs for these settings."""
    home = known_home(pipeline.settings)
    if home is None:
        return
    # Dagster takes longer to import than all else, and most have no instance.
    from seamless_assets.defs.governing.report import report_release

    try:
        report_release(pipeline, home, node, entry)
    except DagsterReportFailed as error:
        say(str(error), err=True)


def _verified(
    pipeline: Seamless, node: str, on_progress: Callable[[float, int | None], None]
) -> dict[str, Any]:
    """What a proof of a node found; `error` says why there is none."""
    try:
        report = pipeline.verify(node, on_progress=on_progress)
    except StoreError as error:
        return {"node_id": node, "is_sound": False, "error": str(error)}
    return {**plain(report), "is_sound": report.is_sound, "error": None}


def _say_verified(record: Mapping[str, Any]) -> None:
    if record["error"] is not None:
        say(f"{record['node_id']}: cannot be verified: {record['error']}", err=True)
        return
    say(
        f"{record['node_id']}: {record['releases']} releases, {record['artifacts']} artifacts, "
        f"{record['file_bytes']} bytes, {len(record['faults'])} faults"
    )
    for fault in record["faults"]:
        say(f"  {fault['uri']}: {fault['problem']}")
    for warning in record["warnings"]:
        say(f"  {warning}")
    for uri in record["orphans"]:
        say(f"  {uri}: neither a record nor an artifact by its name; nothing reads it")


def _say(log: Sequence[Release]) -> None:
    """A table on a terminal, with the first digits of a fingerprint where it is narrow; else lines."""
    if width() == NO_WRAP_WIDTH:
        for entry in log:
            say(_line(entry))
        return
    is_narrow = width() < WIDE
    whole = ("release", "as of", "kind", "fingerprint" if is_narrow else "dataset fingerprint", "+", "-")
    made = table(*whole, "reason", whole=whole)
    for entry in log:
        content = entry.dataset_fingerprint.partition(":")[2][:12] if is_narrow else entry.dataset_fingerprint
        counts = (str(len(entry.added)), str(len(entry.withdrawn)))
        made.add_row(*map(cell, (str(entry.seq), entry.as_of, entry.kind, content, *counts, _reason(entry))))
    if log:
        say_table(made)


def _line(entry: Release) -> str:
    return (
        f"{entry.seq:6} {entry.as_of} {entry.kind:10} +{len(entry.added)} -{len(entry.withdrawn)} "
        f"{entry.dataset_fingerprint} {_reason(entry)}"
    )


def _reason(entry: Release) -> str:
    """Why it was made, and how many bars it changed."""
    changed = sum(item.added + item.removed + item.changed for item in entry.revisions)
    return f"{entry.reason}{f' ({changed} bars revised)' if changed else ''}"
