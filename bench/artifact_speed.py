"""Speed of artifacts and of the release log, as ratios against the barest way in the same run.

    python bench/artifact_speed.py [--rounds 7] [--releases 10000]

Each round times the peer and ours right after one another; printed are medians. Publishing is compared with
writing the same bars as zstd Parquet and hashing the file; reading a year of one-minute bars that was
released day by day with reading it from one file; an `as_of` is resolved in a long log, newly opened and
again. Shown too is how long it takes to read, hash and decode the daily files as Parquet and do nothing
else. Exits with 1 where a goal is missed.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import io
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from core_speed import START

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "seamless_assets_tests"))

from support.artifacts import NODE, seal_bars

from seamless_assets.adapters.artifacts.store import ArtifactStore
from seamless_assets.adapters.machine.clock import SystemClock
from seamless_assets.adapters.sqlite.store import SqliteHotStore
from seamless_assets.core.bars.parquet import decode_bars
from seamless_assets.core.bars.table import BARS_SCHEMA
from seamless_assets.core.calendar.partition import partition_of_key
from seamless_assets.core.calendar.segment import Segment
from seamless_assets.core.canonical import sha256_text
from seamless_assets.core.reading.cache import ReadCache
from seamless_assets.core.reading.context import ComputeContext
from seamless_assets.core.releases.artifact import ArtifactRef
from seamless_assets.core.releases.log import ReleaseLog
from seamless_assets.core.releases.release import Release, record_path
from seamless_assets.core.releases.snapshot import next_release
from seamless_assets.core.sharing.policy import Policy
from seamless_assets.flows.ports import Ports
from seamless_assets.flows.reading.background import BackgroundFills
from seamless_assets.flows.reading.read import read_released
from seamless_assets.flows.releasing.compact import compact
from seamless_assets.flows.releasing.publish import seal
from seamless_assets.flows.sharing.quota import LeaseQuota
from seamless_assets.testing import InMemoryExchange, InMemorySessionStore, RecordingObserver

DAY, MONTH_BARS, YEAR_DAYS = 86_400, 44_640, 365


@dataclass(frozen=True)
class Case:
    """One line of the result: seconds, or MiB; without a `peer` the goal is in seconds itself."""

    name: str
    ours: float
    peer: float | None
    goal: float | None
    unit: str = "ms"

    @property
    def measured(self) -> float:
        return self.ours / self.peer if self.peer else self.ours

    @property
    def is_missed(self) -> bool:
        return self.goal is not None and self.measured > self.goal

    def line(self) -> str:
        scale = 1e3 if self.unit == "ms" else 1.0
        ours = f"{self.ours * scale:9.2f} {self.unit:3}"
        ratio = (
            f"peer {self.peer * scale:8.2f} {self.unit:3}  ratio {self.measured:6.2f}"
            if self.peer
            else " " * 33
        )
        goal = "" if self.goal is None else f"   goal {self.goal:.2f}"
        if self.goal and not self.peer:
            goal = f"   goal {self.goal * scale:.0f} ms"
        return f"{self.name:58} {ours}  {ratio}{goal}"


def made_bars(rows: int) -> pa.Table:
    """One-minute bars such as an exchange sends of BTC/USDT: prices in cents, volumes of five decimals."""
    dice = np.random.default_rng(1)
    close = 30_000 * np.exp(dice.normal(scale=6e-4, size=rows).cumsum())
    opened = np.append(close[0], close[:-1])
    high = np.maximum(opened, close) * (1 + np.abs(dice.normal(scale=3e-4, size=rows)))
    low = np.minimum(opened, close) * (1 - np.abs(dice.normal(scale=3e-4, size=rows)))
    volume = dice.exponential(20.0, rows)
    prices = (np.round(price, 2) for price in (opened, high, low, close))
    return pa.table([START + 60 * np.arange(rows), *prices, np.round(volume, 5)], BARS_SCHEMA)


async def median(rounds: int, *calls: Callable[[], Any]) -> list[float]:
    """Median seconds of each call; they take turns."""
    times: list[list[float]] = [[] for _ in calls]
    for _ in range(rounds + 1):
        for call, taken in zip(calls, times, strict=True):
            began = time.perf_counter()
            await _done(call())
            taken.append(time.perf_counter() - began)
    return [statistics.median(taken[1:]) for taken in times]


async def _done(answer: Any) -> None:
    if isinstance(answer, Awaitable):
        await answer


async def publishing(folder: Path, rounds: int) -> list[Case]:
    """Seal a month that lies in the hot store, against writing and hashing the same bars."""
    bars = made_bars(MONTH_BARS)
    await asyncio.to_thread(folder.mkdir)
    hot = SqliteHotStore(folder / "hot.sqlite")
    await hot.write_bars(NODE, bars, [], recorded_at=0.0)
    partition = partition_of_key(NODE.timeframe, "month", "2020-01")
    number = 0

    async def seal_month() -> None:
        nonlocal number
        number += 1
        store = opened(folder / str(number))
        assert await seal(bare_ports(store, hot), NODE, partition, time.time()) is not None

    def bare() -> None:
        sink = io.BytesIO()
        pq.write_table(bars, sink, compression="zstd")
        payload = sink.getvalue()
        hashlib.sha256(payload).hexdigest()
        (folder / "bare.parquet").write_bytes(payload)

    ours, peer = await median(rounds, seal_month, bare)
    await hot.close()
    return [Case(f"publish {MONTH_BARS:,} bars", ours, peer, 1.5)]


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


async def reading(folder: Path, rounds: int) -> list[Case]:
    """A year that was released day by day, against the same bars in one file."""
    year = made_bars(YEAR_DAYS * 1440)
    window = Segment(START, START + YEAR_DAYS * DAY)
    publisher = opened(folder)
    log = ReleaseLog(str(NODE))
    for number in range(YEAR_DAYS):
        key = time.strftime("%Y-%m-%d", time.gmtime(START + number * DAY))
        ref = await publisher.put_artifact(seal_bars(year.slice(number * 1440, 1440), key))
        await publisher.append_release(NODE, released(log, added=[ref]))
    pq.write_table(year, folder / "one.parquet", compression="zstd")
    files = sorted((folder / "artifacts").rglob("*.parquet"))

    async def read(store: ArtifactStore) -> Any:
        return await read_released(bare_ports(store), NODE, window, ComputeContext(), columns=None)

    async def first() -> None:
        (await read(opened(folder))).to_pandas()

    async def to_pandas() -> None:
        (await read(warm)).to_pandas()

    async def as_arrow() -> None:
        assert (await read(warm)).bars.num_rows == year.num_rows

    def peer() -> None:
        pq.read_table(folder / "one.parquet").to_pandas()

    def barest() -> None:
        with ThreadPoolExecutor(2) as pool:
            halves = list(pool.map(decoded, (files[: YEAR_DAYS // 2], files[YEAR_DAYS // 2 :])))
        pa.concat_tables(halves).to_pandas()

    warm = opened(folder)
    cases = [
        Case("read a year of days, first time", *await median(rounds, first, peer), 2.0),
        Case("its files as Parquet and no more, in two threads", *await median(rounds, barest, peer), None),
        Case("read it again, to pandas", *await median(rounds, to_pandas, peer), 0.15),
        Case("read it again, as Arrow", *await median(rounds, as_arrow, peer), 0.15),
        Case("peak memory of the first read", peak(folder, ours=True), peak(folder, ours=False), None, "MiB"),
    ]
    await compact(bare_ports(warm), NODE)
    return [*cases, Case("read it compacted to months", *await median(rounds, first, peer), None)]


def peak(folder: Path, *, ours: bool) -> float:
    """MiB that reading the year takes in a new process beyond what it took to start."""
    with ProcessPoolExecutor(1, get_context("spawn")) as child:
        return child.submit(_peak, folder, ours=ours).result()


def _peak(folder: Path, *, ours: bool) -> float:
    # What the kernel knows as the peak is set back to what the process holds by now.
    Path("/proc/self/clear_refs").write_text("5")
    before = _held("VmHWM")
    if ours:
        window = Segment(START, START + YEAR_DAYS * DAY)
        ports = bare_ports(opened(folder))
        asyncio.run(read_released(ports, NODE, window, ComputeContext(), columns=None)).to_pandas()
    else:
        pq.read_table(folder / "one.parquet").to_pandas()
    return _held("VmHWM") - before


def _held(name: str) -> float:
    """MiB of a line of the process's status."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name)) / 1024


def opened(folder: Path) -> ArtifactStore:
    """The store of `folder`, newly opened."""
    return ArtifactStore(str(folder / "artifacts"))


def decoded(files: list[Path]) -> pa.Table:
    """The bars of files, which are hashed as well."""
    payloads = [path.read_bytes() for path in files]
    for payload in payloads:
        hashlib.sha256(payload).hexdigest()
    return pa.concat_tables([decode_bars(payload) for payload in payloads])


def released(log: ReleaseLog, added: list[ArtifactRef]) -> Release:
    """The next record of a log, which joins it; what it overlaps is withdrawn."""
    before = log.snapshot()
    withdrawn = [old for ref in added for old in before.overlapping(ref.segment)]
    now = int(time.time() * 1e6)
    entry = next_release(
        before, added=added, withdrawn=withdrawn, now_micros=now, checks={"coverage": True}, reason="bench"
    )
    log.extend([entry], "bench")
    return entry


async def resolving(folder: Path, rounds: int, releases: int) -> list[Case]:
    """Find the snapshot at an `as_of`: in a log newly opened, and in one that is open."""
    store = ArtifactStore(str(folder))
    where = Path(store.file_uri(NODE, record_path(1))).parent
    where.mkdir(parents=True)
    log = ReleaseLog(str(NODE))
    for number in range(releases):
        start = START + number % 31 * DAY
        ref = ArtifactRef(
            partition=f"2020-01-{number % 31 + 1:02}",
            start=start,
            end=start + DAY,
            rows=1440,
            fingerprint=sha256_text(f"bars {number}".encode()),
            file_sha256=sha256_text(f"file {number}".encode()),
            manifest_sha256=sha256_text(f"manifest {number}".encode()),
        )
        entry = released(log, added=[ref])
        (where / Path(record_path(entry.seq)).name).write_bytes(entry.to_json())
    dice = random.Random(2)

    async def cold() -> None:
        await ArtifactStore(str(folder)).load_snapshot(NODE, dice.choice(log.releases).as_of)

    async def warm() -> None:
        snapshot = await store.load_snapshot(NODE, dice.choice(log.releases).as_of)
        assert snapshot.release is not None

    (cold_s,) = await median(max(1, rounds // 3), cold)
    (warm_s,) = await median(200, warm)
    return [
        Case(f"resolve an as_of among {releases:,} releases, newly opened", cold_s, None, 10.0),
        Case(f"resolve an as_of among {releases:,} releases", warm_s, None, 0.005),
    ]


def main() -> int:
    """Print a line for each measurement; 1 where a goal is missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--releases", type=int, default=10_000)
    options = parser.parse_args()
    missed = 0
    print(f"medians of {options.rounds} rounds")
    with tempfile.TemporaryDirectory() as folder:
        for work in (
            publishing(Path(folder, "publish"), options.rounds),
            reading(Path(folder, "read"), options.rounds),
            resolving(Path(folder, "resolve"), options.rounds, options.releases),
        ):
            for case in asyncio.run(work):
                missed += case.is_missed
                print(case.line(), flush=True)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
