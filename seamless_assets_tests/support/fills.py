"""Child processes that read with a strategy and leave, killed or not, while what they wanted is under way."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

from support.workers import forked

from seamless_assets.adapters.machine.fill_queue import MachineFillQueue
from seamless_assets.adapters.machine.leases import MachineLeases
from seamless_assets.adapters.sqlite.store import SqliteHotStore
from seamless_assets.config.load import Settings, settings_from_mapping
from seamless_assets.core.reading.context import ComputeContext
from seamless_assets.pipeline.connect import connect
from seamless_assets.testing import START

NODE = "ohlcv:binance:BTC/USDT:1m"
WINDOW = (START, START + 7_200)
LIVE = ComputeContext(domain="live", max_lag=1e9)
TTL_MS = 1_000
CALLS: tuple[tuple[type, tuple[str, ...]], ...] = (
    (MachineFillQueue, ("add", "hold", "remove")),
    (MachineLeases, ("claim", "complete")),
    (SqliteHotStore, ("load_bars", "write_bars")),
)
"""What a fill does beyond its process, from its first line to its last."""


def settings_at(folder: Path, url: str, ttl_ms: int = TTL_MS, **environment: str) -> Settings:
    """Settings of one machine, below `folder`."""
    patient = {"total_deadline_ms": 60_000, "max_wait_storage_ms": 60_000, "max_wait_backfill_ms": 60_000}
    declared = {
        "seamless": {
            "artifact": {"object_store_uri": "./artifacts"},
            "hot_store": {"dsn": "sqlite:///./hot.sqlite"},
            "state_dir": "./state",
            "backfill": {"distributed_lease_ttl_ms": ttl_ms},
            "sla": patient,
        },
        "exchanges": {
            "binance": {"base_url": url, "symbols": ["BTC/USDT"], "timeframes": ["1m"], "start": START}
        },
        "environment": environment,
    }
    return settings_from_mapping(declared, base=folder, environ={})


def read_together(folder: Path, settings: Settings, count: int) -> None:
    """Fork processes that read at once, with a backfill; each leaves its verdict in a file."""
    # Imported once for all of them.
    import ccxt.async_support  # noqa: F401

    def work(number: int) -> None:
        with connect(settings) as pipeline:
            metadata = pipeline.read(NODE, *WINDOW, context=LIVE, strategy="AUTO_BACKFILL").metadata
            (folder / f"verdict-{number}").write_text(metadata.verdict)

    for pid in forked(count, work):
        os.waitpid(pid, 0)


def want_and_die(folder: Path, settings: Settings, before_call: int) -> None:
    """Want a fill, and get SIGKILL instead of making call number `before_call`; a file tells of an answer."""
    left = before_call

    def counted(call: Callable[..., Any]) -> Any:
        async def dying(*args: Any, **more: Any) -> Any:
            nonlocal left
            left -= 1
            if left < 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return await call(*args, **more)

        return dying

    for kind, names in CALLS:
        for name in names:
            setattr(kind, name, counted(getattr(kind, name)))
    pipeline = connect(settings)
    pipeline.read(NODE, *WINDOW, context=LIVE, strategy="PARTIAL_FILL")
    (folder / "answered").touch()
    # Who wants it again waits for the same fill.
    pipeline.read(NODE, *WINDOW, context=LIVE, strategy="AUTO_BACKFILL")
    os.kill(os.getpid(), signal.SIGKILL)
