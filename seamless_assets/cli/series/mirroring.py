"""The command that shows release logs as tables of other engines."""

from __future__ import annotations

from pathlib import Path

import click

from seamless_assets.cli.options import CONFIG, JSON, NODES, artifacts_of, opened, working
from seamless_assets.cli.terminal import cell, say_json, say_table, table, waiting_for


@click.command()
@CONFIG
@NODES
@JSON
def mirror(config: Path | None, nodes: tuple[str, ...], is_json: bool) -> None:
    """Make what is missing of the Iceberg tables of each NODE.

    By default of all declared nodes. Releases are mirrored as they are made where seamless.artifact.mirror is
    iceberg; this is for logs that are older than that setting, and for what was lost.
    """
    with opened(config) as pipeline, working("mirroring"), waiting_for(artifacts_of(pipeline)):
        tables = {name: url for node in nodes or [None] for name, url in pipeline.mirror(node).items()}
    if is_json:
        say_json(tables)
        return
    shown = table("node", "metadata")
    for name, url in tables.items():
        shown.add_row(cell(name), cell(url or "nothing is released yet"))
    say_table(shown)


COMMANDS: list[click.Command] = [mirror]
