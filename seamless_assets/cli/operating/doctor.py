"""The command that tells an operator whether each part of the pipeline is well."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import click
from rich.table import Table

from seamless_assets.cli.options import CONFIG, JSON, opened
from seamless_assets.cli.terminal import cell, say, say_json, say_table, table, waiting_for
from seamless_assets.core.sharing.health import Finding


@click.command()
@CONFIG
@JSON
def doctor(config: Path | None, is_json: bool) -> None:
    """Say whether each store, server and exchange can be reached, and what to do; status 1 if one cannot."""
    from seamless_assets.config.load import load_settings

    pending: list[tuple[str, ...]] = [()]
    waiting = waiting_for(describe=lambda: ", ".join(pending[-1]))
    with opened(load_settings(config).without_retries()) as pipeline, waiting:
        findings = pipeline.diagnose(on_pending=pending.append)
    if is_json:
        say_json(findings)
    else:
        _say(findings)
    if not all(finding.is_well for finding in findings):
        sys.exit(1)


COMMANDS: list[click.Command] = [doctor]


def _say(findings: Sequence[Finding]) -> None:
    say_table(_facts(findings))
    if any(finding.advice for finding in findings):
        say()
        say_table(_advice(findings))


def _facts(findings: Sequence[Finding]) -> Table:
    made = table("part", "state", "answers in", "version", "lag", "address", whole=("part", "state"))
    for finding in findings:
        state = cell("well", "green") if finding.is_well else cell("not reachable", "red")
        facts: tuple[str, ...] = ()
        if (status := finding.status) is not None:
            version = f"{status.kind} {status.version}".strip()
            facts = (f"{status.latency_ms:.0f} ms", version, status.lag, status.address)
        made.add_row(cell(finding.part), state, *map(cell, facts))
    return made


def _advice(findings: Sequence[Finding]) -> Table:
    made = table("part", "what to do", whole=("part",))
    for finding in findings:
        if finding.advice:
            made.add_row(cell(finding.part), cell(finding.advice))
    return made
