"""What a command waits for that fetches: told by the events of the pipeline itself."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from seamless_assets.cli.terminal import warn
from seamless_assets.core.node import NodeId
from seamless_assets.pipeline.wiring.log import LOGGER

if TYPE_CHECKING:
    from seamless_assets.pipeline.connect import Seamless


class Waits(logging.Handler):
    """Tells a person of exchanges that are asked again, and of leases that others hold."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print one plain line."""
        event = getattr(record, "event", {})
        match event.get("event"):
            case "exchange_waited_for":
                attempts = f"try {event['attempt'] + 1} of {event['attempts']}"
                warn(
                    f"waiting for {event['exchange']}, asked again in {event['delay_s']:.1f} s, {attempts}: "
                    f"{event['reason']}"
                )
            case "lease_waited_for":
                warn(f"waiting for the lease of {event['key']}, which another worker holds")


@contextmanager
def heard(handler: logging.Handler) -> Iterator[None]:
    """Let a handler hear every event meanwhile, and nobody above it."""
    log = logging.getLogger(LOGGER)
    level, propagates = log.level, log.propagate
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    log.propagate = False
    try:
        yield
    finally:
        log.removeHandler(handler)
        log.setLevel(level)
        log.propagate = propagates


def exchange_of(pipeline: Seamless, node: NodeId) -> str:
    """The exchange of a node and its address, as it is named to who waits for it."""
    declared = pipeline.settings.exchanges.get(node.exchange)
    where = f" at {declared.base_url.masked}" if declared and declared.base_url else ""
    return f"{node.exchange}{where}"
