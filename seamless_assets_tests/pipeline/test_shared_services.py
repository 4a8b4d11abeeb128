"""A pipeline that shares its budget and leases through servers: both lost and found, a 429 heard by all."""

from __future__ import annotations

import asyncio
import json
import logging
from bisect import bisect_left
from pathlib import Path
from typing import Any

import pytest
from support.services import Coordinator, RedisServer

import seamless_assets as sa
from seamless_assets.config.load import settings_from_mapping
from seamless_assets.sandbox.faults import Fault
from seamless_assets.sandbox.server import Sandbox
from seamless_assets.testing import DAY, START

TOKENS, INTERVAL_S, BURST = 20, 2.0, 5
ON_THEIR_WAY_S = 0.3
NODES = ("ohlcv:bybit:BTC/USDT:1m", "ohlcv:bybit:ETH/USDT:1m")


def settings(exchange: str, redis: str, coordinator: str, state: str = "./state") -> dict[str, Any]:
    return {
        "seamless": {
            "artifact": {"object_store_uri": "./artifacts"},
            "hot_store": {"dsn": "sqlite:///./hot.sqlite"},
            "state_dir": state,
            "backfill": {"retry_backoff_ms": 50, "window_bars": 30},
            "rate_limit": {
                "tokens_per_interval": TOKENS,
                "interval_ms": int(INTERVAL_S * 1000),
                "burst_tokens": BURST,
            },
        },
        "exchanges": {"bybit": {"base_url": exchange, "symbols": ["BTC/USDT", "ETH/USDT"]}},
        "environment": {"rate_limiter_redis": redis, "coordinator_url": coordinator},
    }


def opened(folder: Path, declared: dict[str, Any]) -> sa.Seamless:
    return sa.connect(settings_from_mapping(declared, base=folder, environ={}))


async def requested(exchange: Sandbox, count: int) -> None:
    while len(exchange.requests) < count:  # noqa: ASYNC110
        await asyncio.sleep(0.02)


async def backfill(s: sa.Seamless, days: float = 1.0) -> None:
    window = (START, START + int(days * DAY))
    for report in await asyncio.gather(*(s.aio.backfill(node, *window) for node in NODES)):
        assert (report.problems, report.coverage.missing) == ((), 0)


async def test_a_backfill_goes_on_while_both_servers_are_away_and_returns_to_them(
    exchange: Sandbox,
    own_redis: RedisServer,
    own_coordinator: Coordinator,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, logger="seamless_assets")
    declared = settings(exchange.url, own_redis.url, own_coordinator.url)
    with opened(tmp_path, declared) as s:
        running = asyncio.create_task(backfill(s))
        await requested(exchange, 20)
        own_redis.kill()
        own_coordinator.kill()
        await requested(exchange, 50)
        await asyncio.gather(asyncio.to_thread(own_redis.start), asyncio.to_thread(own_coordinator.start))
        await running
        await backfill(s, 1.3)
    heard = [json.loads(record.getMessage())["event"] for record in caplog.records]
    for service in ("rate_limiter", "leases"):
        names = [name for name in heard if name.startswith(service)]
        assert (names[0], names[-1]) == (f"{service}_lost", f"{service}_found")
    assert "backfill_fail" not in heard
    times = [request.at for request in exchange.requests]
    window = INTERVAL_S - ON_THEIR_WAY_S
    most = max(bisect_left(times, first + window) - number for number, first in enumerate(times))
    assert most <= TOKENS + BURST


async def test_a_429_heard_by_one_pipeline_stops_the_other(
    exchange: Sandbox, own_redis: RedisServer, tmp_path: Path
) -> None:
    declared = [settings(exchange.url, own_redis.url, own_redis.url, f"./state-{name}") for name in "ab"]
    with opened(tmp_path, declared[0]) as one, opened(tmp_path, declared[1]) as other:
        running = asyncio.gather(backfill(one, 0.3), backfill(other, 0.3))
        await requested(exchange, 20)
        exchange.faults.add(Fault("status", code=429, retry_after=3.0))
        await running
    (refused,) = [request.at for request in exchange.requests if request.status == 429]
    calm = (refused + ON_THEIR_WAY_S, refused + 3.0 - ON_THEIR_WAY_S)
    assert not [request for request in exchange.requests if calm[0] < request.at < calm[1]]
    assert [request for request in exchange.requests if request.at > calm[1]]


async def test_a_ban_heard_by_one_pipeline_is_known_to_the_other(
    exchange: Sandbox, own_redis: RedisServer, tmp_path: Path
) -> None:
    declared = [settings(exchange.url, own_redis.url, own_redis.url, f"./state-{name}") for name in "ab"]
    with opened(tmp_path, declared[0]) as one, opened(tmp_path, declared[1]) as other:
        await backfill(other, 0.1)
        exchange.faults.add(Fault("status", code=418, retry_after=7_200.0, times=None))
        banned = await one.aio.backfill(NODES[0], START, START + DAY)
        asked = len(exchange.requests)
        report = await other.aio.backfill(NODES[0], START, START + DAY)
    assert len(exchange.requests) == asked and "without requests" in " ".join(report.problems)
    assert banned.coverage.missing and report.coverage.missing == banned.coverage.missing
