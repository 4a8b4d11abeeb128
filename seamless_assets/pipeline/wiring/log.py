"""Where what happens is logged, for the rooms that know no adapter."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from seamless_assets.adapters.machine.log import FORMS, LOGGER, LogEvents, log_context, log_to

__all__ = ["FORMS", "LOGGER", "LogEvents", "log_context", "log_failure", "log_to"]


def log_failure(what: str) -> Callable[[asyncio.Future[Any] | Future[Any]], None]:
    """What to call when work ends that nobody waits for: an error that ended it is logged as critical."""

    def log(ended: asyncio.Future[Any] | Future[Any]) -> None:
        error = None if ended.cancelled() else ended.exception()
        if error is not None:
            logging.getLogger(LOGGER).critical("%s ended by an error", what, exc_info=error)

    return log
