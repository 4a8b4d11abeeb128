"""`seamless ...`: what operators and newcomers type."""

from __future__ import annotations

import logging
import signal
import sys
from pathlib import Path
from typing import Never

import click

from seamless_assets.cli import doctor, filling, metrics, releases
from seamless_assets.errors import ConfigError, SeamlessError
from seamless_assets.pipeline.wiring.log import LOGGER


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="seamless-assets")
def cli() -> None:
    """Candle history that is ready, complete, reproducible and on time."""


@cli.command()
@click.option("--config", type=click.Path(path_type=Path), default=None, help="seamless.yaml to use.")
def check(config: Path | None) -> None:
    """Read seamless.yaml and say everything that is wrong with it."""
    from seamless_assets.config.load import load_settings

    settings = load_settings(config)
    for item in settings.nodes:
        click.echo(str(item.node))
    click.echo(f"{len(settings.nodes)} nodes; the settings are valid")


@cli.command()
@click.option("--days", default=3, show_default=True, help="Days to materialize.")
def demo(days: int) -> None:
    """Start the local exchange, materialize several days through Dagster, read them back."""
    from seamless_assets.cli.demo import run_demo

    run_demo(days)


@cli.command(context_settings={"ignore_unknown_options": True, "help_option_names": []})
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def sandbox(arguments: tuple[str, ...]) -> None:
    """Run the local exchange; `seamless sandbox --help` lists its options."""
    from seamless_assets.sandbox.__main__ import main as run_sandbox

    run_sandbox(list(arguments))


@cli.command()
@click.option("--port", default=3000, show_default=True, help="Port of the web UI.")
def ui(port: int) -> None:
    """Open Dagster's UI and daemon on this project, with the local exchange beside them."""
    from seamless_assets.cli.demo import run_ui

    run_ui(port)


@cli.command()
@click.option("--config", type=click.Path(path_type=Path), default=None, help="seamless.yaml to use.")
def evict(config: Path | None) -> None:
    """Drop hot bars that released artifacts hold and that are older than hot_store.keep_days."""
    from seamless_assets.pipeline.connect import connect

    with connect(config) as pipeline:
        click.echo(f"{pipeline.evict()} bars dropped from the hot store")


for _command in (*doctor.COMMANDS, *filling.COMMANDS, *metrics.COMMANDS, *releases.COMMANDS):
    cli.add_command(_command)


@cli.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port", type=click.IntRange(1, 65_535), default=8765, show_default=True, help="Port to listen on."
)
@click.option(
    "--state",
    type=click.Path(path_type=Path),
    default=Path("data/state/coordinator.sqlite"),
    show_default=True,
    help="File that its leases are kept in, or its folder.",
)
def coordinator(host: str, port: int, state: Path) -> None:
    """Serve the leases of many machines over HTTP; workers find it by environment.coordinator_url."""
    from seamless_assets.pipeline.wiring.coordination import lease_register
    from seamless_assets.pipeline.wiring.log import LogEvents
    from seamless_assets.service.coordinator import coordinator_app
    from seamless_assets.service.serving import serve

    logging.basicConfig(level=logging.INFO, format="%(message)s")
    state = state / "coordinator.sqlite" if state.is_dir() else state
    click.echo(f"leases of {state.absolute()} on http://{host}:{port}")
    serve(coordinator_app(lease_register(state), LogEvents()), host, port)


class Trouble(logging.Handler):
    """Tells a person of lost services; what else the log says stands in what a command prints."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print one plain line."""
        told = getattr(record, "event", {})
        if "service" in told:
            click.echo(f"{told['event'].replace('_', ' ')}: {told['detail']}", err=True)


def terminated(*_: object) -> Never:
    """End as Ctrl-C does, so that leases are given back, with the exit status of a SIGTERM."""
    sys.exit(128 + signal.SIGTERM)


def main() -> None:
    """The console script: typed errors become one clear message and exit status 1."""
    signal.signal(signal.SIGTERM, terminated)
    logging.getLogger(LOGGER).addHandler(Trouble(logging.WARNING))
    try:
        cli(standalone_mode=False)
    except ConfigError as error:
        click.echo(str(error), err=True)
        sys.exit(1)
    except SeamlessError as error:
        click.echo(f"{type(error).__name__}: {error}", err=True)
        sys.exit(1)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except click.Abort:
        sys.exit(130)
