"""The command that tells an operator whether each part of the pipeline is well."""

from __future__ import annotations

import asyncio
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
    """Say how stores, servers, exchanges and this machine are.

    Of each part: whether it can be reached, its clock against ours, its version, what waits in it. Of this
    machine: disks, limits, versions, sessions and their outbox, certificates that end soon. Where one is not
    well it says what to do, and the exit status is 1.
    """
    from seamless_assets.config.load import load_settings
    from seamless_assets.pipeline.wiring.machine import machine_findings

    settings = load_settings(config)
    pending: list[tuple[str, ...]] = [("the stores to open",)]
    with waiting_for(describe=lambda: ", ".join(pending[-1]) or "the stores to close"):
        with opened(settings.without_retries()) as pipeline:
            findings = pipeline.diagnose(on_pending=pending.append)
        pending.append(("certificates",))
        machine = asyncio.run(machine_findings(settings))
    if is_json:
        say_json([*findings, *machine])
    else:
        _say(findings)
        say()
        say_table(_machine(machine))
    if not all(finding.is_well for finding in (*findings, *machine)):
        sys.exit(1)


COMMANDS: list[click.Command] = [doctor]
_STATES = {
    (True, False): ("green", "well"),
    (True, True): ("yellow", "well, for now"),
    (False, True): ("red", "not well"),
}


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


def _machine(findings: Sequence[Finding]) -> Table:
    made = table("this machine", "state", "found", "what to do", whole=("this machine", "state"))
    for finding in findings:
        style, state = _STATES[finding.is_well, bool(finding.advice)]
        found = finding.status.lag if finding.status else ""
        made.add_row(cell(finding.part), cell(state, style), cell(found), cell(finding.advice))
    return made
