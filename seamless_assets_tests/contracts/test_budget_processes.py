"""Many processes, one budget, counted by the exchange: with Redis, without, and with Redis lost and found."""

from __future__ import annotations

import asyncio
import json
from bisect import bisect_left
from pathlib import Path

import pytest
import workers
from services import RedisServer

from seamless_assets.sandbox.server import Sandbox

TOKENS, INTERVAL_S, BURST = 20, 2.0, 10
BUDGET = json.dumps([TOKENS, INTERVAL_S * 1000, BURST])
ON_THEIR_WAY_S = 0.3
"""Requests are counted when they arrive, and may have been on their way for that much longer than others."""


async def press(
    exchange: Sandbox, folder: Path, redis: str, seconds: float, cool_at: float = 0.0
) -> list[asyncio.subprocess.Process]:
    """Four processes that press together; the first of them hears a 429 at `cool_at`."""
    started = [
        await workers.start("press", exchange.url, folder, redis, BUDGET, seconds, 0 if number else cool_at)
        for number in range(4)
    ]
    for process in started:
        assert process.stdout is not None and await process.stdout.readline() == b"ready\n"
    for process in started:
        assert process.stdin is not None
        process.stdin.write(b"go\n")
    return started


def most_in_a_window(times: list[float]) -> int:
    return max(
        bisect_left(times, first + INTERVAL_S - ON_THEIR_WAY_S) - number for number, first in enumerate(times)
    )


async def ended(started: list[asyncio.subprocess.Process]) -> list[str]:
    told = [(await process.communicate())[0].decode() for process in started]
    assert [process.returncode for process in started] == [0] * len(started)
    return told


@pytest.mark.parametrize("shared", ["redis", "machine"])
async def test_processes_keep_to_one_budget_and_use_it_and_one_429_stops_them_all(
    request: pytest.FixtureRequest, exchange: Sandbox, tmp_path: Path, shared: str
) -> None:
    redis = request.getfixturevalue("own_redis").url if shared == "redis" else ""
    told = await ended(await press(exchange, tmp_path, redis, 7.0, cool_at=3.0))
    heard = float(told[0])
    times = [one.at for one in exchange.requests]
    assert most_in_a_window(times) <= TOKENS + BURST
    assert not [at for at in times if heard + ON_THEIR_WAY_S < at < heard + 2.0 - ON_THEIR_WAY_S]
    working = times[-1] - times[0] - 2.0
    assert len(times) >= 0.6 * working * TOKENS / INTERVAL_S and times[-1] > heard + 2.0


async def test_redis_killed_and_started_again_in_the_middle_breaks_no_budget(
    own_redis: RedisServer, exchange: Sandbox, tmp_path: Path
) -> None:
    started = await press(exchange, tmp_path, own_redis.url, 13.0)
    await asyncio.sleep(4)
    own_redis.kill()
    lost = len(exchange.requests)
    await asyncio.sleep(4)
    went_on = len(exchange.requests) - lost
    await asyncio.to_thread(own_redis.start)
    await ended(started)
    times = [one.at for one in exchange.requests]
    assert most_in_a_window(times) <= TOKENS + BURST
    assert went_on >= 10 and len(times) - lost - went_on >= 10
