"""The command `seamless accept`."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.table import Table

from seamless_assets.cli.acceptance.outcome import Outcome, as_record, is_accepted, name_of
from seamless_assets.cli.options import CONFIG, progress_bar
from seamless_assets.cli.terminal import cell, say, say_table, table, waiting_for

if TYPE_CHECKING:
    from collections.abc import Callable

    from seamless_assets.config.load import Settings
    from seamless_assets.core.node import NodeId

    Trial = tuple[Settings, list[NodeId], Sequence[Callable[[Settings, NodeId], Outcome]]]

STYLES = {"passed": "green", "failed": "red", "not tried": "yellow"}


@click.command()
@CONFIG
@click.option("--local", is_flag=True, help="Try it all on a local exchange, incidents too; no file is read.")
@click.option("--node", "nodes", multiple=True, help="Try this series alone; may be given again.")
@click.option("--json", "as_json", is_flag=True, help="Print the outcome for programs.")
def accept(config: Path | None, local: bool, nodes: tuple[str, ...], as_json: bool) -> None:
    """Try the five benchmarks of a release on what is released. Exit status 1 if one fails."""
    if local and config is not None:
        raise click.UsageError("--local reads no file; leave --config out")
    with _trial(config, local, nodes) as (settings, chosen, benchmarks):
        outcomes = list(_tried(settings, chosen, benchmarks))
    if as_json:
        say(json.dumps(as_record(outcomes), indent=2))
    else:
        say_table(_facts(outcomes))
    if not is_accepted(outcomes):
        sys.exit(1)


COMMANDS: list[click.Command] = [accept]


@contextmanager
def _trial(config: Path | None, local: bool, nodes: Sequence[str]) -> Iterator[Trial]:
    from seamless_assets.cli.acceptance.benchmarks import BENCHMARKS
    from seamless_assets.config.load import load_settings

    if local:
        from seamless_assets.cli.acceptance.local import local_trial

        with local_trial() as trial:
            chosen = _chosen(trial.nodes, nodes)
            trial.prepare(chosen)
            yield trial.settings, chosen, trial.benchmarks(BENCHMARKS)
        return
    settings = load_settings(config)
    yield settings, _chosen([item.node for item in settings.nodes], nodes), BENCHMARKS


def _chosen(known: Sequence[NodeId], asked: Sequence[str]) -> list[NodeId]:
    """The asked series, all of them where none is. Raises `InvalidChoice` for one that is not declared."""
    from seamless_assets.core.node import NodeId
    from seamless_assets.core.reading.context import choose

    names = tuple(map(str, known))
    return [NodeId.parse(choose(str(NodeId.parse(node)), names, "node")) for node in asked or names]


def _tried(
    settings: Settings, nodes: Sequence[NodeId], benchmarks: Sequence[Callable[[Settings, NodeId], Outcome]]
) -> Iterator[Outcome]:
    """Every benchmark on every node; what raises has failed, and says so."""
    from seamless_assets.errors import SeamlessError

    total = len(nodes) * len(benchmarks)
    with progress_bar("benchmarks", total) as moved:
        for done, (benchmark, node) in enumerate(
            ((benchmark, node) for benchmark in benchmarks for node in nodes), 1
        ):
            name = name_of(benchmark)
            try:
                with waiting_for(f"{name} of {node}"):
                    found = benchmark(settings, node)
                yield found
            except SeamlessError as error:
                yield Outcome(name, str(node), "failed", "", f"{type(error).__name__}: {error}")
            moved(done, total)


def _facts(outcomes: Sequence[Outcome]) -> Table:
    made = table("series", "benchmark", "outcome", "measured", whole=("outcome",))
    for found in outcomes:
        measured = "; ".join(part for part in (found.measured, found.reason) if part)
        state = cell(found.state, STYLES[found.state])
        made.add_row(cell(found.node_id), cell(found.benchmark), state, cell(measured))
    return made
