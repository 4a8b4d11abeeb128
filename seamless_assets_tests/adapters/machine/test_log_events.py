"""Events as log records: one JSON object each, what somebody should look at as a warning."""

from __future__ import annotations

import json
import logging

import pytest

from seamless_assets.adapters.machine.log import LogEvents
from seamless_assets.core.sharing.events import (
    BackfillEvent,
    CoordinationEvent,
    Event,
    LeaseEvent,
    UnrecordedVerdict,
    WebhookEvent,
)

NODE = "ohlcv:binance:BTC/USDT:1m"


@pytest.mark.parametrize(
    ("event", "name", "level"),
    [
        (BackfillEvent("attempt", NODE, 0, 60, "w", 7), "backfill_attempt", logging.INFO),
        (BackfillEvent("complete", NODE, 0, 60, "w", 7, 12.5, 1), "backfill_complete", logging.INFO),
        (BackfillEvent("fail", NODE, 0, 60, "w", 7, 12.5, 0, "no"), "backfill_fail", logging.WARNING),
        (CoordinationEvent("rate_limiter", False, "away"), "rate_limiter_lost", logging.WARNING),
        (CoordinationEvent("leases", True, "back"), "leases_found", logging.INFO),
        (UnrecordedVerdict("w", "live", NODE, "HOLD", "away"), "verdict_unrecorded", logging.WARNING),
        (WebhookEvent(False, "w", "msg_1", 0, "full", is_dropped=True), "webhook_dropped", logging.WARNING),
        (LeaseEvent("claim", "k", 7, "w"), "lease_claim", logging.INFO),
        (LeaseEvent("fail", "k", 7, "", "no"), "lease_fail", logging.WARNING),
    ],
)
def test_an_event_is_one_json_object(
    event: Event, name: str, level: int, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="seamless_assets")
    LogEvents().notify(event)
    (record,) = caplog.records
    logged = json.loads(record.getMessage())
    assert (logged["event"], record.levelno) == (name, level)
    assert record.event == logged  # type: ignore[attr-defined]
    assert logged.get("token", 7) == 7
