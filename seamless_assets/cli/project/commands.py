"""The commands of a project as a whole."""

from __future__ import annotations

import shlex
from pathlib import Path

import click

from seamless_assets.cli.options import CONFIG, HOST, JSON, PORT
from seamless_assets.cli.terminal import say, say_json


@click.command()
@CONFIG
@JSON
def check(config: Path | None, is_json: bool) -> None:
    """Say everything that is wrong with seamless.yaml. Nothing is asked of an exchange."""
    from seamless_assets.config.load import load_settings
    from seamless_assets.pipeline.wiring.exchanges import timeframes_served

    settings = load_settings(config, rules=(timeframes_served,))
    if is_json:
        say_json({"nodes": list(map(str, settings.starts))})
        return
    for node in settings.starts:
        say(str(node))
    say(f"{len(settings.starts)} nodes; the settings are valid")


@click.command()
@click.option(
    "--days", type=click.IntRange(1, 366), default=3, show_default=True, help="Days to materialize."
)
def demo(days: int) -> None:
    """Start the local exchange, materialize days, read them back.

    They are materialized through Dagster. Without a seamless.yaml in this folder, one is made.
    """
    from seamless_assets.cli.project.demo import run_demo

    run_demo(days)


@click.command()
@CONFIG
@HOST
@click.option("--port", type=PORT, default=3000, show_default=True, help="Port of the web UI.")
@click.option("--no-sandbox", is_flag=True, help="Start no local exchange for a base_url on this machine.")
def ui(config: Path | None, host: str, port: int, no_sandbox: bool) -> None:
    """Open Dagster's UI and daemon on the series, until stopped.

    A workspace.yaml beside seamless.yaml says what else is loaded, as that of `seamless new` does.
    Where a base_url names this machine and nothing answers there, the local exchange with its made-up
    candles is started beside them.
    """
    from seamless_assets.cli.project.ui import run_ui

    run_ui(config, host, port, with_sandbox=not no_sandbox)


@click.command()
@CONFIG
@HOST
@click.option("--port", type=PORT, default=3000, show_default=True, help="Port of the web UI.")
@click.option("--service-port", type=PORT, default=8765, show_default=True, help="Port of the service.")
@click.option("--no-sandbox", is_flag=True, help="Start no local exchange for a base_url on this machine.")
def up(config: Path | None, host: str, port: int, service_port: int, no_sandbox: bool) -> None:
    """Run everything on this machine until stopped.

    That is Dagster's UI and daemon, and the service with its page.
    A workspace.yaml beside seamless.yaml says what Dagster loads, as that of `seamless new` does.
    Where a base_url names this machine and nothing answers there, the local exchange with its made-up
    candles is started beside them. One Ctrl-C ends all of it.
    """
    from seamless_assets.cli.project.ui import run_ui

    run_ui(config, host, port, with_sandbox=not no_sandbox, service_port=service_port)


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
@JSON
def new(folder: Path, is_json: bool) -> None:
    """Make a project of your own in FOLDER. It has seamless.yaml, definitions.py and compose.yaml."""
    from seamless_assets.cli.project.new import IGNORED, make_project

    made = make_project(folder)
    if is_json:
        say_json(made)
        return
    for file in made:
        say(str(file))
    if folder / IGNORED not in made:
        say(f"{folder / IGNORED} is left as it is; let it name /data/, where everything is kept")
    going = "" if folder.resolve() == Path.cwd() else f"`cd {shlex.quote(str(folder))}`, then "
    say(f"\nNext: {going}`seamless check` and `seamless up`")
    say("Dagster shows the assets of definitions.py beside the series.")


@click.command()
@click.argument("shell", type=click.Choice(("bash", "zsh", "fish")))
def completions(shell: str) -> None:
    """Print completions of commands, options, nodes for a SHELL. Its first line says how to use it."""
    from click.shell_completion import get_completion_class

    kind = get_completion_class(shell)
    assert kind is not None
    root = click.get_current_context().find_root().command
    say(
        f'# eval "$(seamless completions {shell})"'
        if shell != "fish"
        else "# seamless completions fish | source"
    )
    say(kind(root, {}, "seamless", "_SEAMLESS_COMPLETE").source())


COMMANDS: list[click.Command] = [check, demo, ui, up, new, completions]
