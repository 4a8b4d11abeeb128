"""Eight processes backfill the same twenty nodes; three are killed, one sleeps beyond its leases."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from support import workers

from seamless_assets.adapters.sqlite.store import SqliteHotStore
from seamless_assets.core.calendar.segment import Segment
from seamless_assets.core.node import NodeId
from seamless_assets.core.sharing.lease import chunks
from seamless_assets.sandbox.server import Sandbox
from seamless_assets.testing import DAY, START

WORKERS, KILLED = 8, 3
TOKENS, INTERVAL_S, BURST = 30, 2.0, 10
ON_THEIR_WAY_S = 0.3
TTL_S = 12.0
BARS = 120
WINDOW = Segment(START, START + DAY)
SYMBOLS = [f"{coin}/{quote}" for coin in ("BTC", "ETH", "SOL") for quote in ("USDT", "USD", "EUR")] + [
    "ETH/BTC"
]
NODES = [NodeId.parse(f"ohlcv:binance:{symbol}:{frame}") for symbol in SYMBOLS for frame in ("1m", "5m")]


def settings(exchange: Sandbox, environment: dict[str, str], state: str) -> str:
    declared = {
        "seamless": {
            "artifact": {"object_store_uri": "./artifacts"},
            "hot_store": {"dsn": "sqlite:///./hot.sqlite"},
            "state_dir": state,
            "backfill": {
                "distributed_lease_ttl_ms": int(TTL_S * 1000),
                "retry_backoff_ms": 50,
                "window_bars": BARS,
            },
            "rate_limit": {
                "tokens_per_interval": TOKENS,
                "interval_ms": int(INTERVAL_S * 1000),
                "burst_tokens": BURST,
            },
        },
        "exchanges": {
            "binance": {
                "base_url": exchange.url,
                "symbols": SYMBOLS,
                "timeframes": ["1m", "5m"],
                "start": "2025-01-01",
            }
        },
        "environment": environment,
    }
    return json.dumps(declared)


@asynccontextmanager
async def fleet(folder: Path, declared: str) -> AsyncIterator[tuple[list[int], asyncio.subprocess.Process]]:
    """The process ids of the workers, none of which outlives the block."""
    process = await workers.start("fleet", folder, declared, WORKERS, json.dumps(list(WINDOW)))
    assert process.stdout is not None
    pids: list[int] = []
    try:
        pids += json.loads(await process.stdout.readline())
        yield pids, process
    finally:
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        await process.wait()


async def requested(exchange: Sandbox, count: int) -> None:
    while len(exchange.requests) < count:  # noqa: ASYNC110
        await asyncio.sleep(0.02)


def events(folder: Path) -> Iterator[dict[str, Any]]:
    """What the workers logged of their backfills; the last line of a killed one may be cut."""
    for log in sorted(folder.glob("worker-*.log")):
        for line in log.read_text().splitlines():
            with suppress(ValueError):
                yield json.loads(line)


@pytest.fixture(params=["machine", "redis", "http"])
def sharing(request: pytest.FixtureRequest) -> tuple[dict[str, str], str]:
    """How the workers share: what `environment` says, and whose machine's state they keep."""
    if request.param == "machine":
        return {}, "./state"
    redis = request.getfixturevalue("own_redis").url
    coordinator = redis if request.param == "redis" else request.getfixturevalue("own_coordinator").url
    # As if each of them ran on a machine of its own: only the servers can keep them apart.
    return {"rate_limiter_redis": redis, "coordinator_url": coordinator}, "./state-{n}"


@pytest.mark.long
async def test_many_workers_do_the_work_once_and_lose_nothing(
    sharing: tuple[dict[str, str], str], exchange: Sandbox, tmp_path: Path
) -> None:
    async with fleet(tmp_path, settings(exchange, *sharing)) as (pids, process):
        for number in range(KILLED):
            await requested(exchange, 40 * (number + 1))
            os.kill(pids[number], signal.SIGKILL)
        os.kill(pids[KILLED], signal.SIGSTOP)
        await asyncio.sleep(1.5 * TTL_S)
        os.kill(pids[KILLED], signal.SIGCONT)
        assert process.stdout is not None
        statuses = json.loads(await process.stdout.readline())
    assert statuses == [-signal.SIGKILL] * KILLED + [0] * (WORKERS - KILLED)
    await check_bars(exchange, tmp_path)
    check_budget(exchange)
    check_events(tmp_path)


async def check_bars(exchange: Sandbox, folder: Path) -> None:
    """Every bar that the exchange has is there, and no other."""
    hot = SqliteHotStore(folder / "hot.sqlite")
    for node in NODES:
        stored = await hot.load_bars(node, WINDOW)
        sent = exchange.book.candles(node.symbol, node.timeframe, *WINDOW)
        assert [tuple(row.values()) for row in stored.to_pylist()] == [tuple(row) for row in sent.tolist()]
    await hot.close()


def check_budget(exchange: Sandbox) -> None:
    times = [request.at for request in exchange.requests]
    window = INTERVAL_S - ON_THEIR_WAY_S
    most = max(bisect_left(times, first + window) - number for number, first in enumerate(times))
    assert most <= TOKENS + BURST


def check_events(folder: Path) -> None:
    """No piece was fetched twice, save where its worker failed, or its lease had run out."""
    attempts: defaultdict[tuple[str, int, int], list[int]] = defaultdict(list)
    failed: set[int] = set()
    lost = False
    completed: Counter[tuple[str, int, int]] = Counter()
    for event in events(folder):
        if "node_id" not in event:
            lost |= event["event"] == "leases_lost"
            continue
        piece = (event["node_id"], event["start"], event["end"])
        if event["kind"] == "attempt":
            attempts[piece].append(event["token"])
        elif event["kind"] == "fail":
            failed.add(event["token"])
        else:
            completed[piece] += 1
    assert len(attempts) == sum(len(chunks(node.timeframe, WINDOW, BARS)) for node in NODES)
    for piece, tokens in attempts.items():
        for earlier, later in pairwise(sorted(tokens)):
            # On a machine that is too busy the coordinator may seem away, and then workers overlap.
            assert lost or earlier in failed or later - earlier >= TTL_S * 1e6, (piece, tokens)
    assert sum(completed.values()) >= len(attempts) - KILLED * 32
