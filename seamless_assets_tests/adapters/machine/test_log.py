"""Logs for machines and for people: one line a record, its context with it, no secret in it."""

from __future__ import annotations

import io
import json
import logging
import threading
from collections.abc import Iterator
from dataclasses import replace

import pytest

from seamless_assets.adapters.machine.log import LOGGER, LogEvents, log_context, log_to
from seamless_assets.core.sharing.events import BackfillEvent, CoordinationEvent, Event, SealEvent

SEALED = SealEvent("ohlcv:okx:BTC/USDT:1m", 60, "2025-01-01", "sha256:0", 1440, 9_000, 12.0, {"gap": 3}, 1)
FAILED = BackfillEvent(
    "fail", "ohlcv:okx:BTC/USDT:1m", 0, 60, "w", 7, reason="GET https://u:pw@x/?signature=abc&a=1"
)


@pytest.fixture
def restored() -> Iterator[None]:
    """The root logger as it was."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:], root.level = handlers, level


def logged(form: str, *events: Event) -> list[str]:
    stream = io.StringIO()
    log_to(stream, form)
    for event in events:
        LogEvents().notify(event)
    return stream.getvalue().splitlines()


def test_a_line_for_machines_says_when_how_grave_and_what(restored: None) -> None:
    with log_context(run="run-1"):
        sealed, failed = (json.loads(line) for line in logged("json", SEALED, FAILED))
    assert sealed["event"] == "artifact_sealed" and sealed["level"] == "info" and sealed["run"] == "run-1"
    assert (
        sealed["time"].endswith("Z") and sealed["fingerprint"] == "sha256:0" and sealed["flags"] == {"gap": 3}
    )
    assert failed["level"] == "warning" and failed["token"] == 7 and failed["node_id"] == FAILED.node_id


def test_a_line_for_people_has_first_what_they_look_for(restored: None) -> None:
    with log_context(run="run-1"):
        (line,) = logged("pretty", SEALED)
    _, level, event, *fields = line.split()
    assert (level, event) == ("info", "artifact_sealed")
    assert fields[:3] == ["run=run-1", "node_id=ohlcv:okx:BTC/USDT:1m", "fingerprint=sha256:0"]


@pytest.mark.parametrize("form", ["json", "pretty"])
def test_what_is_logged_stays_on_its_line(restored: None, form: str) -> None:
    (line,) = logged(form, replace(FAILED, reason="one\nforged line\r\x1b[2J"))
    assert line.isprintable() and "forged" in line


@pytest.mark.parametrize("form", ["json", "pretty"])
def test_no_secret_is_logged(restored: None, form: str) -> None:
    lost = CoordinationEvent("leases", False, "redis://user:pw@host cannot be reached")
    stream = io.StringIO()
    log_to(stream, form)
    LogEvents().notify(FAILED)
    LogEvents().notify(lost)
    logging.getLogger(LOGGER).warning("Authorization: Bearer %s", "abcdefgh")
    try:
        raise ValueError("https://u:pw@x/?signature=abc")
    except ValueError:
        logging.getLogger(LOGGER).exception("it failed")
    text = stream.getvalue()
    assert not any(secret in text for secret in ("pw@", "=abc", "abcdefgh")) and "it failed" in text


def test_the_context_holds_for_what_is_begun_within_it_alone(restored: None) -> None:
    stream = io.StringIO()
    log_to(stream, "json")
    with log_context(run="a"), log_context(world="b"):
        LogEvents().notify(SEALED)
    other = threading.Thread(target=LogEvents().notify, args=(SEALED,))
    other.start()
    other.join()
    inside, outside = map(json.loads, stream.getvalue().splitlines())
    assert (inside["run"], inside["world"]) == ("a", "b") and "run" not in outside
