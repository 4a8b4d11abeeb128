"""The command that shows what the processes of this machine have counted, once or for Prometheus."""

from __future__ import annotations

import asyncio
from pathlib import Path

import click


@click.command()
@click.option("--config", type=click.Path(path_type=Path), default=None, help="seamless.yaml to use.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on, with --port.")
@click.option("--port", type=click.IntRange(1, 65_535), default=None, help="Serve GET /metrics on this port.")
@click.option("--rules", is_flag=True, help="Print Prometheus's alert rules instead.")
def metrics(config: Path | None, host: str, port: int | None, rules: bool) -> None:
    """Print the metrics of this machine in Prometheus's text format, or serve them."""
    import yaml

    from seamless_assets.config.load import load_settings
    from seamless_assets.metrics.alerts import alert_rules
    from seamless_assets.pipeline.wiring.metrics import metrics_file, scrape

    if rules:
        click.echo(yaml.safe_dump(alert_rules(), sort_keys=False, width=100), nl=False)
        return
    file = metrics_file(load_settings(config))
    if port is None:
        click.echo(asyncio.run(scrape(file)), nl=False)
        return
    import uvicorn

    from seamless_assets.service.metrics import metrics_app

    click.echo(f"metrics of {file} on http://{host}:{port}/metrics")
    uvicorn.run(metrics_app(lambda: scrape(file)), host=host, port=port, log_level="warning")


COMMANDS: list[click.Command] = [metrics]
