"""The commands of a project as a whole."""

from __future__ import annotations

from pathlib import Path

import click

from seamless_assets.cli.options import CONFIG, HOST, PORT
from seamless_assets.cli.terminal import say


@click.command()
@CONFIG
def check(config: Path | None) -> None:
    """Read seamless.yaml and say everything that is wrong with it."""
    from seamless_assets.config.load import load_settings

    settings = load_settings(config)
    for item in settings.nodes:
        say(str(item.node))
    if settings.idle_keys:
        say(f"not built yet, so of no effect: {', '.join(settings.idle_keys)}")
    say(f"{len(settings.nodes)} nodes; the settings are valid")


@click.command()
@click.option(
    "--days", type=click.IntRange(1, 366), default=3, show_default=True, help="Days to materialize."
)
def demo(days: int) -> None:
    """Start the local exchange, materialize several days through Dagster, read them back.

    Without a seamless.yaml in this folder, one is made.
    """
    from seamless_assets.cli.project.demo import run_demo

    run_demo(days)


@click.command()
@CONFIG
@HOST
@click.option("--port", type=PORT, default=3000, show_default=True, help="Port of the web UI.")
@click.option("--no-sandbox", is_flag=True, help="Start no local exchange for a base_url on this machine.")
def ui(config: Path | None, host: str, port: int, no_sandbox: bool) -> None:
    """Open Dagster's UI and daemon on the series of seamless.yaml, until stopped.

    Where a base_url names this machine and nothing answers there, the local exchange with its made-up
    candles is started beside them.
    """
    from seamless_assets.cli.project.ui import run_ui

    run_ui(config, host, port, with_sandbox=not no_sandbox)


COMMANDS: list[click.Command] = [check, demo, ui]
