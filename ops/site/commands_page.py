"""The reference of the command line, made of the commands themselves."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator

import click

from seamless_assets.cli.app import cli

HEAD = """# Command line
Every command of `seamless`, with what it takes. [The command line](../commands.md) says in a page which one does what.

"""


def page() -> str:
    """The page, in Markdown."""
    context = click.Context(cli, info_name="seamless")
    names = cli.list_commands(context)
    overview = "".join(
        f"| [`{name}`](#{name}) | {cli.commands[name].get_short_help_str(110)} |\n" for name in names
    )
    parts = [HEAD, prose(cli.help), "\n\n| command | does |\n|---|---|\n", overview]
    for name in names:
        parts += section(cli.commands[name], context, level=2)
    return "".join(parts)


def section(command: click.Command, parent: click.Context, level: int) -> Iterator[str]:
    """A command under a head of its own, and those below it."""
    with click.Context(command, info_name=command.name, parent=parent) as context:
        yield f"\n{'#' * level} {command.name}\n"
        usage = " ".join(command.collect_usage_pieces(context))
        yield f"```text\n{context.command_path} {usage}\n```\n{prose(command.help)}\n"
        rows = [row for option in command.params if (row := described(option, context))]
        if rows:
            yield "\n| option | meaning |\n|---|---|\n" + "".join(rows)
        if isinstance(command, click.Group):
            for name in command.list_commands(context):
                yield from section(command.commands[name], context, level + 1)


def described(parameter: click.Parameter, context: click.Context) -> str:
    """A row of the table of options; nothing for arguments, which the usage shows."""
    record = parameter.get_help_record(context)
    if record is None:
        return ""
    names, meaning = record
    return f"| `{cell(names)}` | {cell(meaning)} |\n"


def cell(text: str) -> str:
    """A text that breaks no table."""
    return re.sub(r"\s+", " ", text).replace("|", "\\|").strip()


def prose(text: str | None) -> str:
    """Help as Markdown: what is laid out by hand keeps its layout."""
    parts = inspect.cleandoc(text or "").split("\n\n")
    shown = [
        f"```text\n{part.lstrip(chr(8)).strip(chr(10))}\n```" if part.startswith("\b") else part
        for part in parts
    ]
    return "\n\n".join(shown)
