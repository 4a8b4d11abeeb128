"""Many processes, one budget, counted by the exchange: with Redis, without, and with Redis lost and found."""

from __future__ import annotations

import asyncio
import json
import signal
from bisect import bisect_left
from pathlib import Path

import pytest
from support import workers
from support.services import RedisServer

from seamless_assets.sandbox.server import Sandbox

TOKENS, INTERVAL_S, BURST = 20, 2.0, 10
BUDGET = json.dumps([TOKENS, INTERVAL_S * 1000, BURST])
ON_THEIR_WAY_S = 0.3
"""Requests are counted when they arrive, and may have been on their way for that much longer than others."""


async def press(
    exchange: Sandbox, folder: Path, redis: str, seconds: float, cool_at: float = 0.0
) -> asyncio.subprocess.Process:
    """Four processes that press together; the first of them hears a 429 at `cool_at`."""
    return await workers.start("presses", exchange.url, folder, redis, BUDGET, seconds, cool_at, 4)


def most_in_a_window(times: list[float]) -> int:
    return max(
        bisect_left(times, first + INTERVAL_S - ON_THEIR_WAY_S) - number for number, first in enumerate(times)
    )


async def ended(started: asyncio.subprocess.Process) -> str:
    output, _ = await started.communicate()
    assert started.returncode == 0
    return output.decode()


async def requested(exchange: Sandbox, count: int) -> None:
    while len(exchange.requests) < count:  # noqa: ASYNC110
        await asyncio.sleep(0.02)


@pytest.mark.parametrize("shared", ["redis", "machine"])
async def test_processes_keep_to_one_budget_and_use_it_and_one_429_stops_them_all(
    request: pytest.FixtureRequest, exchange: Sandbox, tmp_path: Path, shared: str
) -> None:
    redis = request.getfixturevalue("own_redis").url if shared == "redis" else ""
    printed = await ended(await press(exchange, tmp_path, redis, 7.0, cool_at=3.0))
    heard = float(printed)
    times = [one.at for one in exchange.requests]
    assert most_in_a_window(times) <= TOKENS + BURST
    assert not [at for at in times if heard + ON_THEIR_WAY_S < at < heard + 2.0 - ON_THEIR_WAY_S]
    working = times[-1] - times[0] - 2.0
    assert len(times) >= 0.6 * working * TOKENS / INTERVAL_S and times[-1] > heard + 2.0


@pytest.mark.parametrize("kind", ["killed and started again", "hung and gone on"])
async def test_redis_lost_and_found_in_the_middle_breaks_no_budget(
    own_redis: RedisServer, exchange: Sandbox, tmp_path: Path, kind: str
) -> None:
    is_killed = kind.startswith("killed")
    started = await press(exchange, tmp_path, own_redis.url, 13.0)
    await requested(exchange, 25)
    own_redis.kill() if is_killed else own_redis.signal(signal.SIGSTOP)
    lost = len(exchange.requests)
    await requested(exchange, lost + 25)
    if is_killed:
        await asyncio.to_thread(own_redis.start)
    else:
        own_redis.signal(signal.SIGCONT)
    await ended(started)
    times = [one.at for one in exchange.requests]
    assert most_in_a_window(times) <= TOKENS + BURST
    assert len(times) >= lost + 50
