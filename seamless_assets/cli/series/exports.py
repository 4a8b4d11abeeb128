"""The commands that hand released bars to other programs, as files."""

from __future__ import annotations

from pathlib import Path

import click

from seamless_assets.cli.options import CONFIG, JSON, NODE, artifacts_of, opened, pairs, working
from seamless_assets.cli.terminal import say, say_json, waiting_for
from seamless_assets.core.calendar.instant import seconds_text, typed_instant
from seamless_assets.core.exports.forms import FORMS
from seamless_assets.core.exports.sidecar import Sidecar


@click.command()
@CONFIG
@NODE
@click.argument("start", required=False)
@click.argument("end", required=False)
@click.option("--to", "path", required=True, type=click.Path(path_type=Path), help="File, or data folder.")
@click.option("--form", type=click.Choice(list(FORMS)), help="Form of the file, if not by its ending.")
@click.option("--as-of", help="Release to export; the newest one if left out.")
@click.option("--decimals", metavar="PRICES,SIZES", help="For nautilus, if not those of the bars.")
@click.option("--compression", metavar="CODEC", help="For parquet, if not zstd.")
@click.option("--encoding", multiple=True, metavar="COLUMN=ENCODING", help="For parquet; repeatable.")
@click.option("--overwrite", is_flag=True, help="Take the place of files that are there.")
@JSON
def export(
    config: Path | None,
    node: str,
    start: str | None,
    end: str | None,
    path: Path,
    form: str | None,
    as_of: str | None,
    decimals: str | None,
    compression: str | None,
    encoding: tuple[str, ...],
    overwrite: bool,
    is_json: bool,
) -> None:
    """Write released bars of NODE as files of another program.

    Those from START to END, where they are given. csv, parquet, feather and backtesting are one file;
    freqtrade fills freqtrade's data folder of an exchange, lean LEAN's data folder and nautilus a catalog.
    Beside the files stands a sidecar that says what they hold, and proves it.
    """
    bounds = [None if bound is None else typed_instant(bound) for bound in (start, end)]
    with (
        opened(config) as pipeline,
        working(f"exporting {node}"),
        waiting_for(artifacts_of(pipeline), str(path)),
    ):
        made = pipeline.export(
            node,
            path,
            *bounds,
            form=form,
            as_of=as_of,
            overwrite=overwrite,
            decimals=_counts(decimals),
            compression=compression,
            encodings=pairs(encoding, "--encoding", "close=PLAIN") or None,
        )
    if is_json:
        say_json(made)
        return
    _tell(made.sidecar)
    many = f" and {len(made.files) - 1} more" if len(made.files) > 1 else ""
    say(f"{made.files[0]}{many}" if made.files else "no file: there is no bar")
    say(f"{made.sidecar_path}")


@click.command("verify-export")
@CONFIG
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--released", is_flag=True, help="Also hold it against the release that it names.")
@JSON
def verify_export(config: Path | None, file: Path, released: bool, is_json: bool) -> None:
    """Prove an exported FILE by its sidecar. A sidecar as FILE proves all that it names."""
    if released:
        with opened(config) as pipeline, waiting_for(artifacts_of(pipeline)):
            sidecar = pipeline.verify_export(file)
    elif config is not None:
        raise click.UsageError("--config is used with --released alone")
    else:
        from seamless_assets.pipeline.files import verify_export as verify

        sidecar = verify(file)
    if is_json:
        say_json({"is_sound": True, "is_as_released": released or None, "sidecar": sidecar})
        return
    _tell(sidecar)
    say("sound, and as released" if released else "sound")


COMMANDS: list[click.Command] = [export, verify_export]


def _counts(text: str | None) -> list[int] | None:
    if text is None:
        return None
    try:
        return [int(part) for part in text.split(",")]
    except ValueError as error:
        raise click.UsageError(f"--decimals {text} is not two whole numbers, such as 2,6") from error


def _tell(sidecar: Sidecar) -> None:
    window = f"[{seconds_text(sidecar.start)}, {seconds_text(sidecar.end)})"
    say(f"{sidecar.node_id} {window}: {sidecar.rows} bars, coverage {sidecar.coverage_ratio:.4f}")
    say(f"as_of {sidecar.as_of}, {sidecar.dataset_fingerprint}")
