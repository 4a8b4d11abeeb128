"""What commands have in common: options, and the pipeline that they open."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from seamless_assets.cli.terminal import cell, progress_console
from seamless_assets.errors import ConfigError

if TYPE_CHECKING:
    from seamless_assets.config.load import Settings
    from seamless_assets.pipeline.connect import Seamless


@dataclass
class Answer:
    """What is known of the answer that was asked for, for who reports an error in its place."""

    is_json: bool = False


def _note_json(context: click.Context, _: click.Parameter, is_json: bool) -> bool:
    answer = context.find_root().obj
    if isinstance(answer, Answer):
        answer.is_json = is_json
    return is_json


CONFIG = click.option(
    "--config", type=click.Path(path_type=Path), default=None, help="File to use, if not ./seamless.yaml."
)
PORT = click.IntRange(1, 65_535)
HOST = click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
JSON = click.option(
    "--json", "is_json", is_flag=True, is_eager=True, callback=_note_json, help="Print JSON, for machines."
)


def _known_nodes(context: click.Context, _: click.Parameter, begun: str) -> list[str]:
    """The nodes of seamless.yaml that begin so, for the completion of a shell."""
    from seamless_assets.config.load import load_settings

    try:
        settings = load_settings(context.params.get("config"))
    except ConfigError:
        return []
    return [node for node in map(str, settings.starts) if node.startswith(begun)]


NODE = click.argument("node", shell_complete=_known_nodes)
NODES = click.argument("nodes", metavar="[NODE]...", nargs=-1, shell_complete=_known_nodes)
START, END = click.argument("start"), click.argument("end")


@contextmanager
def opened(config: Path | Settings | None) -> Iterator[Seamless]:
    """The pipeline of a file, closed afterwards."""
    # Dagster and ccxt are no part of what most commands need before a store is asked.
    from seamless_assets.pipeline.connect import connect

    with connect(config) as pipeline:
        yield pipeline


@contextmanager
def progress_bar(title: str, total: int | None = None) -> Iterator[Callable[[float, int | None], None]]:
    """A bar on the terminal, where there is one, gone in the end; it is moved to what is done, of what."""
    with _progress(BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()) as bar:
        task = bar.add_task(_escaped(title), total=total)
        yield lambda done, of: bar.update(task, completed=done, total=of)


@contextmanager
def working(title: str) -> Iterator[None]:
    """How long work takes so far of which nobody knows how much is left, on the terminal, gone in the end."""
    with _progress(SpinnerColumn("line"), TimeElapsedColumn()) as clock:
        clock.add_task(_escaped(title), total=None)
        yield


def _progress(*columns: ProgressColumn) -> Progress:
    console = progress_console()
    title = TextColumn("{task.description}")
    return Progress(
        *(title, *columns),
        console=console,
        transient=True,
        # What is printed meanwhile stands above it, but where that goes to a file it still does.
        redirect_stdout=sys.stdout.isatty(),
        disable=not console.is_terminal,
    )


def _escaped(title: str) -> str:
    return cell(title).plain.replace("[", r"\[")


def pairs(texts: Sequence[str], option: str, example: str) -> dict[str, str]:
    """What an option that is repeated says: each of its `NAME=VALUE`.

    Raises `click.UsageError` for what is no pair, and for a name that comes twice.
    """
    found: dict[str, str] = {}
    for text in texts:
        name, equals, value = text.rpartition("=")
        if not (equals and name and value):
            raise click.UsageError(f"{option} {text} is no pair such as {example}")
        if name in found:
            raise click.UsageError(f"{option} says {name} twice; say it once")
        found[name] = value
    return found


def artifacts_of(pipeline: Seamless) -> str:
    """The artifact store, as it is named to who waits for it."""
    return f"the artifact store {pipeline.settings.seamless.artifact.object_store_uri}"


def hot_store_of(pipeline: Seamless) -> str:
    """The hot store, as it is named to who waits for it."""
    return f"the hot store {pipeline.settings.seamless.hot_store.dsn.masked}"
