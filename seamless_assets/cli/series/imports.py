"""The command that takes in bars of files, as a release."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from seamless_assets.cli.options import CONFIG, JSON, NODE, artifacts_of, hot_store_of, opened, pairs, working
from seamless_assets.cli.series.declarations import user
from seamless_assets.cli.series.releases import tell_dagster
from seamless_assets.cli.terminal import say, say_json, waiting_for
from seamless_assets.core.calendar.instant import seconds_text, typed_instant

if TYPE_CHECKING:
    from seamless_assets.flows.importing.ingest import ImportReport
    from seamless_assets.pipeline.connect import Seamless


@click.command("import")
@CONFIG
@NODE
@click.argument("files", nargs=-1, required=True)
@click.option("--rename", "renames", multiple=True, metavar="THEIRS=OURS", help="Which column is which.")
@click.option("--tz", help="Zone of times that come without one, such as Asia/Tokyo.")
@click.option("--time-format", help="Form of times such as 20250101: %Y%m%d.")
@click.option("--trades", is_flag=True, help="The files hold trades; bars are made of them.")
@click.option("--start", help="Start of what the files are about, if not their first bar.")
@click.option("--end", help="Its end.")
@click.option("--complete", is_flag=True, help="Nobody traded where the files have no bar.")
@click.option("--confirm-revisions", is_flag=True, help="Bars known by other values are wrong, these right.")
@click.option("--dry-run", is_flag=True, help="Say what would change, and change nothing.")
@click.option("--note", default="", help="Where the files are from; kept in manifests and the release log.")
@click.option("--by", default=None, help="Who says so, if not the user of this machine.")
@JSON
def import_files(
    config: Path | None,
    node: str,
    files: tuple[str, ...],
    renames: tuple[str, ...],
    tz: str | None,
    time_format: str | None,
    trades: bool,
    start: str | None,
    end: str | None,
    complete: bool,
    confirm_revisions: bool,
    dry_run: bool,
    note: str,
    by: str | None,
    is_json: bool,
) -> None:
    """Import bars of NODE from FILES and release them.

    FILES are names or patterns of CSV, Parquet, feather and JSON, also in zip or gzip. Exit status 1 where a
    partition is not released.
    """
    bounds = [None if bound is None else typed_instant(bound) for bound in (start, end)]
    with opened(config) as pipeline, _importing(pipeline, node, files):
        report = pipeline.ingest(
            list(files),
            node,
            *bounds,
            rename=pairs(renames, "--rename", "'Open time=ts'"),
            tz=tz,
            time_format=time_format,
            trades=trades,
            complete=complete,
            revisions="confirm" if confirm_revisions else "refuse",
            dry_run=dry_run,
            by=by or user(),
            note=note,
        )
        if is_json:
            say_json(report)
        else:
            _tell(report)
        if report.release is not None:
            tell_dagster(pipeline, node, report.release)
    if not report.released and not dry_run:
        sys.exit(1)


COMMANDS: list[click.Command] = [import_files]


@contextmanager
def _importing(pipeline: Seamless, node: str, files: Sequence[str]) -> Iterator[None]:
    """How long it takes so far, and what is waited for: the files first."""
    more = f" and {len(files) - 3} more" if len(files) > 3 else ""
    waited = (f"{', '.join(files[:3])}{more}", hot_store_of(pipeline), artifacts_of(pipeline))
    with working(f"importing {node}"), waiting_for(*waited):
        yield


def _tell(report: ImportReport) -> None:
    would = "would be " if report.is_dry_run else ""
    say(
        f"{report.node_id} [{seconds_text(report.start)}, {seconds_text(report.end)}): {report.rows} rows, "
        f"{report.bars} bars"
    )
    left = [(report.unsettled, "not settled yet"), (report.left_out, "outside of the window")]
    for count, why in left:
        if count:
            say(f"  {count} {would}left out: {why}")
    for name, count in report.flags.items():
        say(f"  {name}: {count}")
    say(f"  {report.added} bars {would}new, {report.revised} {would}revised; {report.coverage.counts}")
    for part in report.partitions:
        state = "would be released" if report.is_dry_run and not part.problems else "not released"
        state = "released" if part.released else state
        say(f"  {part.key} {state}: {part.added} new, {part.revised} revised, {part.coverage.counts}")
    if report.release is not None:
        say(f"  release {report.release.seq}, {report.as_of}, {report.dataset_fingerprint}")
    for problem in report.problems:
        say(f"  {problem}")
    if not report.partitions and not report.problems:
        say("  all of it is released already")
