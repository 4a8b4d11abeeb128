"""The commands that serve: the leases of many machines, and the local exchange."""

from __future__ import annotations

import logging
from pathlib import Path

import click

from seamless_assets.cli.options import HOST, PORT
from seamless_assets.cli.terminal import say


@click.command()
@HOST
@click.option("--port", type=PORT, default=8765, show_default=True, help="Port to listen on.")
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
    say(f"leases of {state.absolute()} on http://{host}:{port}")
    serve(coordinator_app(lease_register(state), LogEvents()), host, port)


@click.command(context_settings={"ignore_unknown_options": True, "help_option_names": []})
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def sandbox(arguments: tuple[str, ...]) -> None:
    """Run the local exchange; `seamless sandbox --help` lists its options."""
    from seamless_assets.sandbox.__main__ import main as run_sandbox

    run_sandbox(list(arguments))


COMMANDS: list[click.Command] = [coordinator, sandbox]
