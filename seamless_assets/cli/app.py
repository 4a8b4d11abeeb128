"""`seamless ...`: what operators and newcomers type."""

from __future__ import annotations

import logging
import signal
import sys
from typing import Never

import click

from seamless_assets.cli.acceptance import command as acceptance
from seamless_assets.cli.operating import doctor, metrics, services
from seamless_assets.cli.project import commands as project
from seamless_assets.cli.series import declarations, exports, filling, materializing, reading, releases
from seamless_assets.cli.terminal import Unwritten, close_streams, discard_output, open_streams, warn
from seamless_assets.errors import ConfigError, SeamlessError
from seamless_assets.pipeline.wiring.log import LOGGER

INTERRUPTED = 128 + signal.SIGINT


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="seamless-assets")
def cli() -> None:
    """Candle history that is ready, complete, reproducible and on time."""


_ROOMS = (
    project,
    materializing,
    filling,
    reading,
    exports,
    declarations,
    releases,
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
    try:
        cli(standalone_mode=False)
        close_streams()
    except ConfigError as error:
        warn(str(error))
    except SeamlessError as error:
        warn(f"{type(error).__name__}: {error}")
    except click.ClickException as error:
        if isinstance(error, click.UsageError) and error.ctx is not None:
            warn(error.ctx.get_usage())
        warn(f"Error: {error.format_message()}")
        return error.exit_code
    except click.Abort:
        return INTERRUPTED
    except Unwritten as error:
        if error.reason:
            warn(f"the output cannot be written: {error.reason}")
    else:
        return 0
    return 1


def main() -> Never:
    """The console script."""
    open_streams()
    for number in (signal.SIGTERM, signal.SIGHUP):
        # What was started to outlive its terminal (nohup) does.
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, terminated)
    logging.getLogger(LOGGER).addHandler(ServiceNotices(logging.WARNING))
    try:
        sys.exit(run())
    finally:
        discard_output()
