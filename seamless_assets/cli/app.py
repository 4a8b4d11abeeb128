"""`seamless ...`: what operators and newcomers type."""

from __future__ import annotations

import logging
import signal
import sys
from typing import Never

import click

from seamless_assets.cli.acceptance import command as acceptance
from seamless_assets.cli.operating import doctor, metrics, services
from seamless_assets.cli.options import Answer
from seamless_assets.cli.project import commands as project
from seamless_assets.cli.series import (
    declarations,
    exports,
    filling,
    imports,
    materializing,
    mirroring,
    reading,
    releases,
)
from seamless_assets.cli.terminal import (
    Unwritten,
    close_streams,
    discard_output,
    json_text,
    open_streams,
    warn,
)
from seamless_assets.core.wire.problems import plain
from seamless_assets.errors import ConfigError, SeamlessError
from seamless_assets.pipeline.wiring.log import LOGGER

INTERRUPTED = 128 + signal.SIGINT


@click.group(
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    invoke_without_command=True,
    subcommand_metavar="COMMAND [ARGS]...",
)
@click.version_option(package_name="seamless-assets")
@click.pass_context
def cli(context: click.Context) -> None:
    """Candle history that is ready, complete, reproducible and on time.

    Windows are NODE START END, half-open; times are epoch seconds, dates, or ISO 8601 with an offset. With
    --json an error is one line of JSON on standard error.

    \b
    Exit status:
      0    all of it was done, and is well
      1    not all of it, or an error, which names the input, the reason and the way out
      2    a command typed wrongly
      130  interrupted (Ctrl-C)
      143  asked to end (SIGTERM)
    """
    if context.invoked_subcommand is None:
        warn(context.get_help())
        sys.exit(2)


_ROOMS = (
    project,
    materializing,
    filling,
    reading,
    exports,
    imports,
    declarations,
    releases,
    mirroring,
    doctor,
    acceptance,
    metrics,
    services,
)
for _room in _ROOMS:
    for _command in _room.COMMANDS:
        cli.add_command(_command)


class ServiceNotices(logging.Handler):
    """Tells a person of lost services; what else the log says stands in what a command prints."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print one plain line."""
        event = getattr(record, "event", {})
        if "service" in event:
            warn(f"{event['event'].replace('_', ' ')}: {event['detail']}")


def terminated(number: int, _: object) -> Never:
    """End as Ctrl-C does, so that leases are given back, with the exit status of the signal."""
    sys.exit(128 + number)


def run() -> int:
    """Run the command that was typed; the exit status. Typed errors become one clear message."""
    answer = Answer()
    try:
        cli(standalone_mode=False, obj=answer)
        close_streams()
    except SeamlessError as error:
        _tell(error, answer)
    except click.ClickException as error:
        _tell_usage(error, answer)
        return error.exit_code
    except click.Abort:
        return INTERRUPTED
    except Unwritten as error:
        if error.reason:
            warn(f"the output cannot be written: {error.reason}")
    else:
        return 0
    return 1


def _tell(error: SeamlessError, answer: Answer) -> None:
    if answer.is_json:
        facts = {name: plain(value) for name, value in error.facts.items()}
        warn(json_text({"error": type(error).__name__, "detail": str(error), "facts": facts}))
        return
    # Its problems name their file and lines; the name of its kind says no more.
    kind = "" if isinstance(error, ConfigError) else f"{type(error).__name__}: "
    warn(f"{kind}{error}")


def _tell_usage(error: click.ClickException, answer: Answer) -> None:
    message = error.format_message()
    if isinstance(error, click.NoSuchOption) and (name := _taker(error)):
        message = f"{error.option_name} goes after the command: `seamless {name} ... {error.option_name}`"
    if answer.is_json:
        warn(json_text({"error": type(error).__name__, "detail": message, "facts": {}}))
        return
    if isinstance(error, click.UsageError) and error.ctx is not None:
        warn(error.ctx.get_usage())
    warn(f"Error: {message}")


def _taker(error: click.NoSuchOption) -> str:
    """The command that takes an option which stands before any: the one that was typed, or another."""
    if error.ctx is None or error.ctx.command is not cli:
        return ""
    takers = [
        name
        for name, command in cli.commands.items()
        if any(error.option_name in parameter.opts for parameter in command.params)
    ]
    typed = [word for word in sys.argv[1:] if word in takers]
    return next(iter((*typed, *takers)), "")


def main() -> Never:
    """The console script."""
    open_streams()
    for number in (signal.SIGTERM, signal.SIGHUP):
        # What was started to outlive its terminal (nohup) does.
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, terminated)
    log, notices = logging.getLogger(LOGGER), ServiceNotices(logging.WARNING)
    log.addHandler(notices)
    try:
        sys.exit(run())
    finally:
        log.removeHandler(notices)
        discard_output()
