"""The commands that serve: the leases of many machines, and the local exchange."""

from __future__ import annotations

import hashlib
import json
import logging
import secrets
import sys
from pathlib import Path

import click

from seamless_assets.cli.options import CONFIG, HOST, JSON, PORT
from seamless_assets.cli.project.local_exchange import require_free
from seamless_assets.cli.terminal import say, say_json
from seamless_assets.pipeline.wiring.log import FORMS, log_failure, log_to


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
    """Serve the leases of many machines over HTTP. Workers find it by environment.coordinator_url."""
    from seamless_assets.pipeline.wiring.coordination import lease_register
    from seamless_assets.pipeline.wiring.log import LogEvents
    from seamless_assets.service.coordinator import coordinator_app
    from seamless_assets.service.serving import serve

    require_free(host, port)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    state = state / "coordinator.sqlite" if state.is_dir() else state
    say(f"leases of {state.absolute()} on http://{host}:{port}")
    serve(coordinator_app(lease_register(state), LogEvents()), host, port)


@click.command()
@CONFIG
@HOST
@click.option("--port", type=PORT, default=8765, show_default=True, help="Port to listen on.")
@click.option(
    "--log", "form", type=click.Choice(FORMS), default="json", show_default=True, help="Lines of the log."
)
@click.option(
    "--dialects/--no-dialects",
    "speaks",
    default=None,
    help="Answer as the exchanges do, too, below /binance and the like; by default as service.dialects says.",
)
def serve(config: Path | None, host: str, port: int, form: str, speaks: bool | None) -> None:
    """Serve history, releases, sessions, leases and metrics.

    All of it over HTTP, with a page to look at. Meanwhile it fills what readers wanted and left behind, and
    delivers what waits for the webhook. Other machines are answered only where the settings hold tokens
    (`seamless token`).
    """
    from seamless_assets.config.load import load_settings
    from seamless_assets.flows.reading.background import keep_draining
    from seamless_assets.metrics.levels import Levels
    from seamless_assets.pipeline.connect import connect
    from seamless_assets.pipeline.wiring.coordination import lease_register, machine_leases_file
    from seamless_assets.pipeline.wiring.exchanges import BudgetLevels
    from seamless_assets.pipeline.wiring.metrics import metrics_file, scrape
    from seamless_assets.service.access import require_tokens
    from seamless_assets.service.app import service_app
    from seamless_assets.service.serving import serve as serve_app

    settings = load_settings(config)
    served = settings.service
    if speaks is not None:
        served = served.model_copy(update={"dialects": speaks})
    require_tokens(host, served.tokens)
    require_free(host, port)
    leases, counts = lease_register(machine_leases_file(settings)), metrics_file(settings)
    levels, held = BudgetLevels(settings), Levels()
    log_to(sys.stderr, form)
    with connect(settings) as pipeline:
        say(f"seamless-assets on http://{host}:{port}")
        app = service_app(pipeline, leases, lambda: scrape(counts, levels, held), served, levels.load, held)
        draining = pipeline.aio.portal.start(keep_draining(pipeline.aio.ports))
        draining.add_done_callback(log_failure("filling what others left"))
        serve_app(app, host, port, takes_websockets=served.dialects)


@click.command()
@click.argument("name")
@click.option(
    "--scope",
    "scopes",
    type=click.Choice(("read", "lease", "operate")),
    multiple=True,
    default=("read",),
    show_default=True,
    help="What its bearer may do; may be given again.",
)
@JSON
def token(name: str, scopes: tuple[str, ...], is_json: bool) -> None:
    """Make a token for NAME, and print it once. With it come the lines of seamless.yaml that let it in."""
    made = secrets.token_urlsafe(32)
    digest = hashlib.sha256(made.encode()).hexdigest()
    if is_json:
        say_json({"name": name, "token": made, "sha256": digest, "scopes": list(dict.fromkeys(scopes))})
        return
    listed = ", ".join(dict.fromkeys(scopes))
    say(f"token: {made}", err=True)
    say("It is shown this once; its bearer sends it as `Authorization: Bearer ...`.", err=True)
    say(f"service:\n  tokens:\n    {json.dumps(name)}: {{sha256: {digest}, scopes: [{listed}]}}")


@click.command(context_settings={"ignore_unknown_options": True, "help_option_names": []})
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def sandbox(arguments: tuple[str, ...]) -> None:
    """Run the local exchange."""
    from seamless_assets.sandbox.__main__ import main as run_sandbox

    run_sandbox(list(arguments))


COMMANDS: list[click.Command] = [coordinator, serve, token, sandbox]
