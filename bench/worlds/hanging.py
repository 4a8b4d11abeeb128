"""Reads whose exchange, Redis, leases or hot store keep their connections and answer nobody."""

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


def behind_newest_bars(folder: Path) -> list[float]:
    """The same of reads that wait for the newest bars of that exchange."""
    with Sandbox(now=START + 365 * DAY).running() as exchange:

        def stop() -> None:
            exchange.faults.add(Fault("hang", times=None))

        return _late(folder / "late-live", exchange.url, {}, {}, stop, is_newest=True)


def behind_redis(folder: Path) -> list[float] | None:
    """The same where Redis has leases and rate budget, and is stopped; None where there is none."""
    return _behind_redis(folder, "redis", "coordinator_url", "rate_limiter_redis")


def behind_leases(folder: Path) -> list[float] | None:
    """The same where Redis has the leases alone."""
    return _behind_redis(folder, "leases", "coordinator_url")


def _behind_redis(folder: Path, name: str, *shared: str) -> list[float] | None:
    reach_support()
    from support.services import RedisServer

    program = shutil.which("redis-server")
    if program is None:
        return None
    with Sandbox(now=START + 365 * DAY).running() as exchange:
        redis = RedisServer(program, folder / name)
        redis.start()
        urls = dict.fromkeys(shared, redis.url)
        try:
            return _late(
                folder / f"late-{name}", exchange.url, urls, {}, lambda: redis.signal(signal.SIGSTOP)
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
    folder: Path,
    url: str,
    environment: dict[str, str],
    hot: dict[str, Any],
    stop: Callable[[], None],
    *,
    is_newest: bool = False,
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
    phase = "live_wait" if is_newest else "backfill_wait"
    sla = {
        "max_wait_live_ms": DEADLINE_MS,
        "max_wait_backfill_ms": DEADLINE_MS,
        "total_deadline_ms": DEADLINE_MS,
        "max_sync_gap_bars": (READS + 1) * 60,
        "on_violation": "HOLD",
    }
    late = []
    with sa.connect(settings_from_mapping(declared, base=folder, environ={})) as pipeline:
        for number in range(READS + 1):
            start, is_open = START + number * 3_600, is_newest and number > 0
            window = {"limit": number * 60} if is_open else {"start": start, "end": start + 3_600}
            began = time.perf_counter()
            result = pipeline.read(
                "ohlcv:binance:BTC/USDT:1m",
                **window,
                context=context,
                strategy="SEAMLESS" if is_open else "AUTO_BACKFILL",
                sla=sla,
            )
            late.append(time.perf_counter() - began - DEADLINE_MS / 1_000)
            if number == 0:
                # The first one opens everything; it is not counted.
                stop()
            elif not result.metadata.sla["phases"][phase]["is_cut"]:
                raise RuntimeError(f"what hangs was not waited for: {result.metadata!r}")
    return late[1:]
