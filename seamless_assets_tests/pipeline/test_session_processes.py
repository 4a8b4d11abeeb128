"""Sessions of one world in many real processes: an as_of never goes back, dry runs repeat what they said."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest
from support.killing import SPAWN, in_a_child

import seamless_assets as sa
from seamless_assets.config.load import Settings
from seamless_assets.flows.reading import published
from seamless_assets.sandbox.server import Sandbox
from seamless_assets.testing import DAY, START

NODE = "ohlcv:binance:BTC/USDT:1h"
READERS = 2
RELEASES = 6
PATIENT = {"total_deadline_ms": 60_000, "max_wait_storage_ms": 60_000, "max_wait_backfill_ms": 60_000}


@pytest.fixture
def settings(exchange: Sandbox, settings_for: Callable[..., Settings]) -> Settings:
    declared = {"base_url": exchange.url, "symbols": ["BTC/USDT"], "timeframes": ["1h"], "start": START}
    return settings_for({"binance": declared}, partitions={"1h": "day"})


def read_on(settings: Settings, folder: Path, number: int, ready: Any, over: Any) -> None:
    """Read, advance and look as one world until it is over; each answer with its beginning and end."""
    rng = Random(number)
    context = sa.ComputeContext("w1", "live", max_lag=1e12, min_coverage=0.0)
    with sa.connect(settings) as s, (folder / f"{number}").open("w") as answers:
        world = s.session("w1", max_lag=1e12, min_coverage=0.0, sla=PATIENT)
        ways: list[Callable[[], str | None]] = [
            lambda: world.read(NODE, START, START + DAY, strategy="FAIL_FAST").metadata.as_of,
            lambda: (
                s.read(NODE, START, START + DAY, context, strategy="FAIL_FAST", sla=PATIENT).metadata.as_of
            ),
            lambda: world.advance(NODE),
            lambda: world.as_of(NODE),
            lambda: s.session("w1", max_lag=1e12).as_of(NODE),
        ]
        last = False
        while not last:
            last = over.is_set()
            way, began = rng.randrange(len(ways)), time.monotonic()
            as_of = ways[way]()
            answers.write(json.dumps([began, time.monotonic(), as_of, way]) + "\n")
            ready.release()


def test_no_process_sees_an_as_of_before_what_another_has_been_given(
    settings: Settings, tmp_path: Path
) -> None:
    ready, over = SPAWN.Semaphore(0), SPAWN.Event()
    with sa.connect(settings) as s:
        s.materialize(NODE, START, START + DAY)
        children = [in_a_child(read_on, settings, tmp_path, n, ready, over) for n in range(READERS)]
        for day in range(1, RELEASES):
            for _ in range(12):
                assert ready.acquire(timeout=120)
            s.materialize(NODE, START + day * DAY, START + (day + 1) * DAY)
        s.rollback(NODE, reason="back", to=2)
        over.set()
        newest = s.releases(NODE)[-1].as_of
    for child in children:
        child.join(120)
        assert child.exitcode == 0
    reads = [
        json.loads(line) for n in range(READERS) for line in (tmp_path / f"{n}").read_text().splitlines()
    ]
    assert len({as_of for *_, as_of, _ in reads}) > 3 and max(as_of for *_, as_of, _ in reads) <= newest
    latest = sorted((end, as_of) for _, end, as_of, _ in reads)
    for began, _, as_of, way in reads:
        earlier = [known for end, known in latest if end < began]
        assert not earlier or as_of >= max(earlier), f"{as_of} by way {way} after {max(earlier)}"


def dry_read(settings: Settings, bound: str, day: int) -> sa.ReadResult:
    with sa.connect(settings) as s:
        dry = s.session("w1", "dryrun", as_of=bound, sla=PATIENT)
        return dry.read(NODE, START + day * DAY, START + (day + 1) * DAY, strategy="AUTO_BACKFILL")


def dry_read_and_die(settings: Settings, bound: str, before: str) -> None:
    """Read, and get SIGKILL before a step of publishing."""

    def die(*args: Any) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    setattr(published, before, die)
    dry_read(settings, bound, 1)


def test_a_dry_run_repeats_what_any_of_its_processes_was_given_whoever_died(
    exchange: Sandbox, settings: Settings
) -> None:
    with sa.connect(settings) as s:
        bound = s.materialize(NODE, START, START + DAY).as_of
        assert bound is not None
        for step in ("add_made", "gather_layered"):
            child = in_a_child(dry_read_and_die, settings, bound, step)
            child.join(120)
            assert child.exitcode == -signal.SIGKILL
        first = dry_read(settings, bound, 1)
        assert first.metadata.verdict == "PASS" and first.metadata.requested_as_of == bound
        # Others release more, and take back what the session was told.
        s.materialize(NODE, START + 2 * DAY, START + 3 * DAY)
        s.withdraw(NODE, "2025-01-02", reason="wrong market")
        for day in (1, 2, 1):
            again = dry_read(settings, bound, day)
            if day == 1:
                assert again.to_arrow().equals(first.to_arrow())
                assert again.metadata.as_of == first.metadata.as_of
        whole = s.session("w1", "dryrun", as_of=bound, sla=PATIENT).read(NODE, START, START + 3 * DAY)
        assert whole.to_arrow().slice(24, 24).equals(first.to_arrow())
        assert s.session("w1", "dryrun", as_of=bound).state(NODE) == "ACTIVE"
