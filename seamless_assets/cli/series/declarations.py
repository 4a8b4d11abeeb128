"""The commands by which an operator says what nothing else can tell of bars."""

from __future__ import annotations

import getpass
import socket
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from seamless_assets.cli.options import CONFIG, END, JSON, NODE, START, hot_store_of, opened
from seamless_assets.cli.terminal import cell, say, say_json, say_table, table, waiting_for
from seamless_assets.core.calendar.instant import seconds_text, typed_instant
from seamless_assets.core.coverage.declaration import REASONS

if TYPE_CHECKING:
    from seamless_assets.core.coverage.declaration import Declaration

_NOTE = click.option("--note", default="", help="How you know; kept in the ledger and in manifests.")
_BY = click.option("--by", default=None, help="Who says so, if not the user of this machine.")


@click.command()
@CONFIG
@NODE
@START
@END
@click.option("--reason", required=True, help=f"Why there are none: {', '.join(REASONS)} (wants a note).")
@_NOTE
@_BY
@JSON
def declare(
    config: Path | None,
    node: str,
    start: str,
    end: str,
    reason: str,
    note: str,
    by: str | None,
    is_json: bool,
) -> None:
    """Say that there are no bars of NODE from START to END. That is for where nothing else can tell."""
    window = typed_instant(start), typed_instant(end)
    with opened(config) as pipeline, waiting_for(hot_store_of(pipeline)):
        said = pipeline.declare(node, *window, reason, note=note, by=by or user())
    if is_json:
        say_json(said)
        return
    _tell([said])


@click.command()
@CONFIG
@NODE
@START
@END
@_NOTE
@_BY
@JSON
def revoke(
    config: Path | None, node: str, start: str, end: str, note: str, by: str | None, is_json: bool
) -> None:
    """Take back what was declared of NODE from START to END."""
    window = typed_instant(start), typed_instant(end)
    with opened(config) as pipeline, waiting_for(hot_store_of(pipeline)):
        left = pipeline.revoke(node, *window, note=note, by=by or user())
    if is_json:
        say_json(left)
        return
    say("revoked; what was released of it stays until it is materialized again")
    _tell(left)


@click.command()
@CONFIG
@NODE
@START
@END
@JSON
def declarations(config: Path | None, node: str, start: str, end: str, is_json: bool) -> None:
    """List what was declared of NODE from START to END. What was revoked is listed, too."""
    window = typed_instant(start), typed_instant(end)
    with opened(config) as pipeline, waiting_for(hot_store_of(pipeline)):
        said = pipeline.declarations(node, *window)
    if is_json:
        say_json(said)
        return
    _tell(said)
    say(f"{len(said)} declarations")


COMMANDS: list[click.Command] = [declare, revoke, declarations]


def _tell(said: Iterable[Declaration]) -> None:
    whole = ("from", "to", "reason", "by", "on")
    made = table(*whole, "note", "state", whole=whole)
    for one in said:
        window = seconds_text(one.start), seconds_text(one.end)
        on = seconds_text(int(one.declared_at))
        made.add_row(*map(cell, (*window, one.reason, one.by, on, one.note, _state(one))))
    if made.row_count:
        say_table(made)


def _state(one: Declaration) -> str:
    said = ["in force"] if one.in_force else []
    said += ["revoked in part" if one.in_force else "revoked"] if one.revoked else []
    said += [f"wrong: {one.contradicted} bars are there, and count"] if one.contradicted else []
    return ", ".join(said)


def user() -> str:
    """The user of this process at this machine."""
    try:
        name = getpass.getuser()
    except (KeyError, OSError, ImportError):
        name = "somebody"
    return f"{name}@{socket.gethostname()}".replace(":", "-").replace(" ", "-")
