"""Released history without an exchange: an artifact store and its log, filled by hand."""

from __future__ import annotations

import random
import time
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa

from bench.places import reach_support
from bench.worlds.bars import DAY_BARS
from seamless_assets.adapters.artifacts.storage.copies import CopyFolder
from seamless_assets.adapters.artifacts.store import ArtifactStore
from seamless_assets.adapters.machine.clock import SystemClock
from seamless_assets.core.bars.table import BARS_SCHEMA
from seamless_assets.core.node import NodeId
from seamless_assets.core.reading.cache import ReadCache
from seamless_assets.core.releases.artifact import ArtifactRef
from seamless_assets.core.releases.log import ReleaseLog
from seamless_assets.core.releases.release import Release
from seamless_assets.core.releases.snapshot import next_release
from seamless_assets.core.sharing.policy import Policy
from seamless_assets.flows.ports import Ports
from seamless_assets.flows.reading.background import BackgroundFills
from seamless_assets.flows.sharing.quota import LeaseQuota
from seamless_assets.testing import InMemoryExchange, InMemorySessionStore, RecordingObserver


def bare_ports(store: ArtifactStore, hot: Any = None) -> Ports:
    """Ports of which only clock, hot store, artifacts and policy are there."""
    absent: Any = None
    nobody: Any = InMemoryExchange()
    return Ports(
        clock=SystemClock(),
        source=nobody,
        hot=hot,
        artifacts=store,
        policy=Policy(),
        rng=random.Random(1),
        leases=absent,
        observer=RecordingObserver(),
        flights=absent,
        worker="bench",
        quota=LeaseQuota(),
        fills=BackgroundFills(),
        fill_queue=absent,
        sessions=InMemorySessionStore(),
        frames=ReadCache(lambda: 0.0, 60.0, 64),
    )


def open_store(folder: Path) -> ArtifactStore:
    """The store of `folder`, newly opened."""
    return ArtifactStore(str(folder / "artifacts"))


def open_again(folder: Path) -> ArtifactStore:
    """The same as by a project, which keeps in its `state_dir` what it proved before."""
    return ArtifactStore(str(folder / "artifacts"), copies=CopyFolder(folder / "segments", 10**9))


def table_of_frame(bars: pd.DataFrame) -> pa.Table:
    """The bars in the project's columns."""
    return pa.Table.from_pandas(bars, BARS_SCHEMA, preserve_index=False)


def day_key(ts: int) -> str:
    """The daily partition in which an instant lies."""
    return time.strftime("%Y-%m-%d", time.gmtime(ts))


def joined(log: ReleaseLog, added: list[ArtifactRef]) -> Release:
    """The next record of a log, which joins it; what it overlaps is withdrawn."""
    before = log.snapshot()
    withdrawn = [old for ref in added for old in before.overlapping(ref.segment)]
    now = int(time.time() * 1e6)
    entry = next_release(
        before, added=added, withdrawn=withdrawn, now_micros=now, checks={"coverage": True}, reason="bench"
    )
    log.extend([entry], "bench")
    return entry


async def release_days(
    store: ArtifactStore, node: NodeId, bars: pa.Table, *, days_at_once: int = 1
) -> list[ArtifactRef]:
    """Seal whole days of minutes by hand, and release so many of them with each record."""
    reach_support()
    from support.artifacts import seal_bars

    log, refs, waiting = ReleaseLog(str(node)), [], []
    for first in range(0, bars.num_rows, DAY_BARS):
        day = bars.slice(first, DAY_BARS)
        sealed = seal_bars(day, day_key(day["ts"][0].as_py()), node=node)
        waiting.append(await store.put_artifact(sealed))
        if len(waiting) == days_at_once or first + DAY_BARS >= bars.num_rows:
            await store.append_release(node, joined(log, waiting))
            refs += waiting
            waiting = []
    return refs
