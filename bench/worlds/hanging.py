"""Reads whose exchange, Redis or hot store keeps its connections and answers nobody."""

from __future__ import annotations

import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench.places import reach_support
from bench.worlds.bars import DAY, START
from seamless_assets.sandbox.faults import Fault
from seamless_assets.sandbox.server import Sandbox

DEADLINE_MS, READS = 100.0, 200


def behind_an_exchange(folder: Path) -> list[float]:
    """Seconds after its deadline that each read returns."""
    with Sandbox(now=START + 365 * DAY).running() as exchange:
        exchange.faults.add(Fault("hang", times=None))
        return _late(folder / "late-exchange", exchange.url, {}, {}, lambda: None)


def behind_redis(folder: Path) -> list[float] | None:
    """The same where Redis is stopped; None where there is none."""
    reach_support()
    from support.services import RedisServer

    program = shutil.which("redis-server")
    if program is None:
        return None
    with Sandbox(now=START + 365 * DAY).running() as exchange:
        redis = RedisServer(program, folder / "redis")
        redis.start()
        shared = {"coordinator_url": redis.url, "rate_limiter_redis": redis.url}
        try:
            return _late(
                folder / "late-redis", exchange.url, shared, {}, lambda: redis.signal(signal.SIGSTOP)
            )
        finally:
            redis.kill()


def behind_questdb(folder: Path) -> list[float] | None:
    """The same where QuestDB is stopped; None where there is none."""
    reach_support()
    from bootstrap import QUESTDB_JAR
    from support.services import QuestDbServer

    if not QUESTDB_JAR.exists():
        return None
    with Sandbox(now=START + 365 * DAY).running() as exchange:
        server = QuestDbServer(QUESTDB_JAR, folder / "questdb")
        server.start()
        hot = {"dsn": f"questdb://127.0.0.1:{server.http_port}", "pg_port": server.pg_port}
        try:
            return _late(folder / "late-questdb", exchange.url, {}, hot, server.hang)
        finally:
            server.kill()


def _late(
    folder: Path, url: str, environment: dict[str, str], hot: dict[str, Any], stop: Callable[[], None]
) -> list[float]:
    import seamless_assets as sa
    from seamless_assets.config.load import settings_from_mapping

    folder.mkdir()
    declared = {
        "seamless": {
            "artifact": {"object_store_uri": "./artifacts"},
            "hot_store": hot or {"dsn": "sqlite:///./hot.sqlite"},
            "state_dir": "./state",
        },
        "exchanges": {"binance": {"base_url": url, "symbols": ["BTC/USDT"], "start": START}},
        "environment": environment,
    }
    context = sa.ComputeContext(domain="live", max_lag=1e12)
    sla = {"max_wait_backfill_ms": DEADLINE_MS, "total_deadline_ms": DEADLINE_MS, "on_violation": "HOLD"}
    late = []
    with sa.connect(settings_from_mapping(declared, base=folder, environ={})) as pipeline:
        for number in range(READS + 1):
            start = START + number * 3_600
            began = time.perf_counter()
            pipeline.read(
                *("ohlcv:binance:BTC/USDT:1m", start, start + 3_600),
                context=context,
                strategy="AUTO_BACKFILL",
                sla=sla,
            )
            late.append(time.perf_counter() - began - DEADLINE_MS / 1_000)
            if number == 0:
                # The first one opens everything; it is not counted.
                stop()
    return late[1:]
