"""The command that shows what the processes of this machine have counted, once or for Prometheus."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

import click

from seamless_assets.cli.options import CONFIG, PORT
from seamless_assets.cli.project.local_exchange import require_free
from seamless_assets.cli.terminal import say, say_json, waiting_for

if TYPE_CHECKING:
    from seamless_assets.metrics.catalogue import Thresholds

BOARDS = ("fleet", "node", "exchange", "releases", "service", "sla")


@click.command()
@CONFIG
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on, with --port.")
@click.option("--port", type=PORT, default=None, help="Serve GET /metrics on this port.")
@click.option(
    "--rules",
    is_flag=True,
    help="Print Prometheus's alert rules instead, with the settings' thresholds.",
)
@click.option(
    "--dashboard",
    type=click.Choice(BOARDS),
    default=None,
    help="Print a Grafana dashboard instead, with the settings' thresholds.",
)
@click.option(
    "--runbook",
    "head",
    default=None,
    metavar="ALERT",
    help="Print what to do when an alert fires instead; `all` prints every runbook.",
)
def metrics(
    config: Path | None, host: str, port: int | None, rules: bool, dashboard: str | None, head: str | None
) -> None:
    """Print or serve the metrics of this machine. They are in Prometheus's text format."""
    from seamless_assets.config.load import load_settings
    from seamless_assets.pipeline.wiring.exchanges import BudgetLevels
    from seamless_assets.pipeline.wiring.metrics import metrics_file, scrape

    given = {"--rules": rules, "--dashboard": dashboard, "--runbook": head, "--port": port is not None}
    if len(asked := [option for option, is_there in given.items() if is_there]) > 1:
        raise click.UsageError(f"{' and '.join(asked)} ask for different things; give one of them")
    if head is not None:
        from seamless_assets.metrics.runbooks import page, runbook

        say((page() if head == "all" else runbook(head)).rstrip())
        return
    if dashboard is not None:
        from seamless_assets.metrics.dashboards import dashboard as drawn

        say_json(drawn(dashboard, _thresholds(config)))
        return
    if rules:
        import yaml

        from seamless_assets.metrics.alerts import alert_rules

        drawn_rules = alert_rules(_thresholds(config))
        say(yaml.safe_dump(drawn_rules, sort_keys=False, width=100).rstrip())
        return
    settings = load_settings(config)
    file, levels = metrics_file(settings), BudgetLevels(settings)
    if port is None:
        with waiting_for("the rate budgets"):
            text = asyncio.run(scrape(file, levels))
        say(text.rstrip())
        return
    require_free(host, port)
    import uvicorn

    from seamless_assets.service.metrics import metrics_app

    say(f"metrics of {file} on http://{host}:{port}/metrics")
    uvicorn.run(metrics_app(lambda: scrape(file, levels)), host=host, port=port, log_level="warning")


def _thresholds(config: Path | None) -> Thresholds | None:
    """Those of the settings of the file that is named or there; None, which are those by default, of none."""
    from seamless_assets.config.load import is_file_there, load_settings
    from seamless_assets.pipeline.wiring.metrics import thresholds_of

    return thresholds_of(load_settings(config)) if config or is_file_there() else None


COMMANDS: list[click.Command] = [metrics]
