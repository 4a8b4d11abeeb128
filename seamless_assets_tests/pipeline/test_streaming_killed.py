"""Subscribers that are killed at any event: another process goes on, and nothing is lost or told twice."""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path

import pytest
from support.killing import in_a_child
from support.services import QuestDbServer, RedisServer

import seamless_assets as sa
from seamless_assets.config.load import Settings, settings_from_mapping
from seamless_assets.sandbox.server import Sandbox
from seamless_assets.testing import DAY, START

NODES = ("ohlcv:binance:BTC/USDT:1m", "ohlcv:binance:ADA/USDT:5m")
NOW = START + 10 * DAY
SINCE, UNTIL = NOW - 12 * 3_600, NOW - 1_800


def read_on(settings: Settings, journal: Path, most: int) -> None:
    """Read from where the journal ends, a line for each event, and be killed before event number `most`."""
    lines = journal.read_text().splitlines() if journal.exists() else []
    since = lines[-1].split()[0] if lines else SINCE
    with sa.connect(settings) as s, journal.open("a") as file:
        for number, event in enumerate(s.subscribe(NODES, since=since, until=UNTIL)):
            if number == most:
                os.kill(os.getpid(), signal.SIGKILL)
            if isinstance(event, sa.Bar | sa.Gap):
                start = event.ts if isinstance(event, sa.Bar) else event.start
                file.write(f"{event.cursor} {event.node_id} {start} {event.end}\n")
                file.flush()


def kill_and_check(settings: Settings, journal: Path, points: list[int]) -> None:
    for most in [*points, 10**9]:
        child = in_a_child(read_on, settings, journal, most)
        child.join(120)
        assert child.exitcode == (0 if most == 10**9 else -signal.SIGKILL)
    lines = [line.split() for line in journal.read_text().splitlines()]
    for node in NODES:
        ranges = [(int(start), int(end)) for _, of, start, end in lines if of == node]
        assert ranges[0][0] == SINCE and ranges[-1][1] == UNTIL
        assert all(end == start for (_, end), (start, _) in pairwise(ranges))


@pytest.fixture
def settings(exchange: Sandbox, settings_for: Callable[..., Settings]) -> Settings:
    declared = {"symbols": ["BTC/USDT", "ADA/USDT"], "timeframes": ["1m", "5m"], "start": "2025-01-01"}
    return settings_for({"binance": {**declared, "base_url": exchange.url}})


def test_one_that_is_killed_is_gone_on_from(settings: Settings, tmp_path: Path) -> None:
    kill_and_check(settings, tmp_path / "journal", [211])


@pytest.mark.deep
@pytest.mark.parametrize("seed", range(10))
def test_any_number_of_kills_at_any_points(settings: Settings, tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    kill_and_check(settings, tmp_path / "journal", [rng.choice([0, 1, rng.randrange(300)]) for _ in range(4)])


@pytest.mark.deep
@pytest.mark.parametrize("seed", range(3))
def test_those_who_share_servers_go_on_for_each_other(
    exchange: Sandbox, own_questdb: QuestDbServer, own_redis: RedisServer, tmp_path: Path, seed: int
) -> None:
    rng, stores = random.Random(seed), f"questdb://127.0.0.1:{own_questdb.http_port}"
    declared = {"symbols": ["BTC/USDT", "ADA/USDT"], "timeframes": ["1m", "5m"], "start": "2025-01-01"}
    settings = settings_from_mapping(
        {
            "seamless": {
                "artifact": {"object_store_uri": "./artifacts"},
                "hot_store": {"dsn": stores, "pg_port": own_questdb.pg_port},
                "state_dir": "./state",
            },
            "exchanges": {"binance": {**declared, "base_url": exchange.url}},
            "environment": {"coordinator_url": own_redis.url, "rate_limiter_redis": own_redis.url},
        },
        base=tmp_path,
        environ={},
    )
    with ThreadPoolExecutor() as readers:
        reading = [
            readers.submit(
                kill_and_check, settings, tmp_path / f"journal {name}", [rng.randrange(250) for _ in range(3)]
            )
            for name in ("one", "two", "three")
        ]
        for one in reading:
            one.result()
