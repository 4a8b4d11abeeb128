"""The command that tells an operator whether each part of the pipeline is well."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from seamless_assets.core.sharing.health import Finding

UNCUT = 10_000
"""The width of an output that is no terminal: what is told of a part stays on one line."""


@click.command()
@click.option("--config", type=click.Path(path_type=Path), default=None, help="seamless.yaml to use.")
def doctor(config: Path | None) -> None:
    """Say whether each store, server and exchange can be reached, and what to do; status 1 if one cannot."""
    from seamless_assets.config.load import load_settings
    from seamless_assets.pipeline.connect import connect

    with connect(load_settings(config).hasty()) as pipeline:
        findings = pipeline.diagnose()
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = UNCUT
    with console.capture() as told:
        console.print(_facts(findings))
        if any(finding.advice for finding in findings):
            console.print()
            console.print(_advice(findings))
    click.echo("\n".join(line.rstrip() for line in told.get().splitlines()))
    if not all(finding.is_well for finding in findings):
        sys.exit(1)


COMMANDS: list[click.Command] = [doctor]


def _facts(findings: Sequence[Finding]) -> Table:
    table = _table("part", "state", "answers in", "version", "lag", "address")
    for finding in findings:
        state = Text("well", "green") if finding.is_well else Text("not reachable", "red")
        facts: tuple[str, ...] = ()
        if (status := finding.status) is not None:
            version = f"{status.kind} {status.version}".strip()
            facts = (f"{status.latency_ms:.0f} ms", version, status.lag, status.address)
        table.add_row(Text(finding.part), state, *map(Text, facts))
    return table


def _advice(findings: Sequence[Finding]) -> Table:
    table = _table("part", "what to do")
    for finding in findings:
        if finding.advice:
            table.add_row(Text(finding.part), Text(finding.advice))
    return table


def _table(*names: str) -> Table:
    table = Table(box=None, pad_edge=False)
    for name in names:
        table.add_column(name, overflow="fold", no_wrap=name in ("part", "state"))
    return table
