"""Events as structured log records: one JSON object each, under the logger `seamless_assets`."""

from __future__ import annotations

import json
import logging
from dataclasses import asdict

from seamless_assets.core.events import BackfillEvent, Event

LOGGER = "seamless_assets"


class LogEvents:
    """An `Observer` that logs; a lost service and a failed backfill are warnings."""

    def __init__(self) -> None:
        self._log = logging.getLogger(LOGGER)

    def notify(self, event: Event) -> None:
        """Log the event; its fields stand in the message as JSON, and in the record as `event`."""
        fields = asdict(event)
        if isinstance(event, BackfillEvent):
            level = logging.WARNING if event.kind == "fail" else logging.INFO
            record = {"event": f"backfill_{event.kind}", **fields}
        else:
            level = logging.INFO if event.is_available else logging.WARNING
            record = {"event": "coordination", **fields}
        if self._log.isEnabledFor(level):
            self._log.log(level, "%s", json.dumps(record), extra={"event": record})
