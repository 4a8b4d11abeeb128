"""A service that is killed while it tells of bars, and comes back: its followers miss nothing."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from support.killing import in_a_child
from support.services import free_port

import seamless_assets as sa
from seamless_assets.adapters.machine.leases import MachineLeases
from seamless_assets.config.load import Settings
from seamless_assets.pipeline.remote import streaming
from seamless_assets.sandbox.server import Sandbox
from seamless_assets.service.app import service_app
from seamless_assets.service.serving import serve
from seamless_assets.testing import DAY, START

NODES = ("ohlcv:binance:BTC/USDT:1m", "ohlcv:binance:ADA/USDT:5m")
NOW = START + 10 * DAY
SINCE, UNTIL = NOW - 12 * 3_600, NOW - 1_800


def serve_on(settings: Settings, folder: Path, port: int) -> None:
    """Serve what the settings say until killed."""

    async def scrape() -> str:
        return ""

    with sa.connect(settings) as pipeline:
        serve(service_app(pipeline, MachineLeases(folder / "leases.sqlite"), scrape), "127.0.0.1", port)


@contextmanager
def restarted(settings: Settings, folder: Path, port: int) -> Iterator[Callable[[], None]]:
    """A service on a port, and the call that kills it and starts it again."""
    children: list[Any] = []

    def again() -> None:
        for child in children:
            child.kill()
            child.join(60)
        children[:] = [in_a_child(serve_on, settings, folder, port)]

    again()
    try:
        yield again
    finally:
        for child in children:
            child.kill()
            child.join(60)


def follow_through(settings: Settings, folder: Path, points: list[int]) -> None:
    """Follow to the end while the service is killed at some events, and check that each came once."""
    port = free_port()
    told: list[Any] = []
    with (
        restarted(settings, folder, port) as again,
        sa.connect(f"http://127.0.0.1:{port}") as remote,
    ):
        begun = begin(remote)
        for number, event in enumerate(begun):
            if number in points:
                again()
            told.append(event)
    for node in NODES:
        ranges = [
            (event.ts if isinstance(event, sa.Bar) else event.start, event.end)
            for event in told
            if event.node_id == node and isinstance(event, sa.Bar | sa.Gap)
        ]
        assert ranges[0][0] == SINCE and ranges[-1][1] == UNTIL
        assert all(end == start for (_, end), (start, _) in pairwise(ranges))
        assert len([event for event in told if event.node_id == node and isinstance(event, sa.CaughtUp)]) == 1


def begin(remote: sa.Seamless) -> Iterator[Any]:
    """The stream, asked for until the service is there."""
    while True:
        events = remote.subscribe(NODES, since=SINCE, until=UNTIL)
        try:
            yield next(events)
        except sa.errors.ServiceUnavailable:
            threading.Event().wait(0.05)
        else:
            yield from events
            return


@pytest.fixture
def settings(
    exchange: Sandbox, settings_for: Callable[..., Settings], monkeypatch: pytest.MonkeyPatch
) -> Settings:
    monkeypatch.setattr(streaming, "LONGEST_RETRY_S", streaming.FIRST_RETRY_S)
    declared = {"symbols": ["BTC/USDT", "ADA/USDT"], "timeframes": ["1m", "5m"], "start": "2025-01-01"}
    return settings_for({"binance": {**declared, "base_url": exchange.url}})


def test_a_follower_gets_each_event_once_through_a_restart(settings: Settings, tmp_path: Path) -> None:
    follow_through(settings, tmp_path, [150])


@pytest.mark.deep
@pytest.mark.parametrize("seed", range(10))
def test_any_number_of_restarts_at_any_events(settings: Settings, tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    follow_through(settings, tmp_path, [rng.randrange(400) for _ in range(4)])
