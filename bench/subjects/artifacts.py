"""Artifacts and the release log beside bare Parquet files."""

from __future__ import annotations

import asyncio
import hashlib
import io
import random
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from bench.places import reach_support
from bench.running import Bench, Case
from bench.worlds.bars import DAY, DAY_BARS, START, market_bars
from bench.worlds.releases import bare_ports, joined, open_store, release_days, table_of_frame
from seamless_assets.adapters.artifacts.store import ArtifactStore
from seamless_assets.adapters.sqlite.store import SqliteHotStore
from seamless_assets.core.bars.parquet import decode_bars
from seamless_assets.core.calendar.partition import partition_of_key
from seamless_assets.core.calendar.segment import Segment
from seamless_assets.core.canonical import sha256_text
from seamless_assets.core.reading.context import ComputeContext
from seamless_assets.core.reading.result import ReadResult
from seamless_assets.core.releases.artifact import ArtifactRef
from seamless_assets.core.releases.log import ReleaseLog
from seamless_assets.core.releases.release import record_path
from seamless_assets.flows.reading.read import read_released
from seamless_assets.flows.releasing.compact import compact
from seamless_assets.flows.releasing.publish import seal

MONTH_BARS = 44_640


def cases(bench: Bench) -> Iterator[Case]:
    """Everything in this process."""
    reach_support()
    with asyncio.Runner() as runner:
        if bench.wants("artifacts.publish"):
            yield _publishing(bench, runner)
        if any(map(bench.wants, ("artifacts.*-year", "artifacts.again-*"))):
            yield from _reading(bench, runner)
        if any(map(bench.wants, ("artifacts.as-of", "artifacts.log-opened"))):
            yield from _resolving(bench, runner)


def _publishing(bench: Bench, runner: asyncio.Runner) -> Case:
    """Seal a month that lies in the hot store, against writing and hashing the same bars."""
    from support.artifacts import NODE

    folder = bench.folder / "publish"
    folder.mkdir()
    bars = table_of_frame(market_bars(bench.size(MONTH_BARS, DAY_BARS)))
    hot = SqliteHotStore(folder / "hot.sqlite")
    runner.run(hot.write_bars(NODE, bars, [], recorded_at=0.0))
    partition = partition_of_key(NODE.timeframe, "month", "2020-01")
    number = 0

    def seal_month() -> None:
        nonlocal number
        number += 1
        store = open_store(folder / str(number))
        assert runner.run(seal(bare_ports(store, hot), NODE, partition, time.time())) is not None

    def bare() -> None:
        sink = io.BytesIO()
        pq.write_table(bars, sink, compression="zstd")
        payload = sink.getvalue()
        hashlib.sha256(payload).hexdigest()
        (folder / "bare.parquet").write_bytes(payload)

    return Case("artifacts.publish", seal_month, bare)


def _reading(bench: Bench, runner: asyncio.Runner) -> Iterator[Case]:
    """A year that was released day by day, against the same bars in one file."""
    from support.artifacts import NODE

    folder, days = bench.folder / "read", bench.size(365, 3)
    year = table_of_frame(market_bars(days * DAY_BARS))
    window = Segment(START, START + days * DAY)
    runner.run(release_days(open_store(folder), NODE, year))
    pq.write_table(year, folder / "one.parquet", compression="zstd")
    files = sorted((folder / "artifacts").rglob("*.parquet"))
    warm = open_store(folder)

    def read(store: ArtifactStore) -> ReadResult:
        return runner.run(read_released(bare_ports(store), NODE, window, ComputeContext(), columns=None))

    def first() -> None:
        read(open_store(folder)).to_pandas()

    def again_to_pandas() -> None:
        read(warm).to_pandas()

    def again_as_arrow() -> None:
        assert read(warm).bars.num_rows == year.num_rows

    def bare_file() -> None:
        pq.read_table(folder / "one.parquet").to_pandas()

    def bare_files() -> None:
        with ThreadPoolExecutor(2) as pool:
            halves = list(pool.map(_decoded, (files[: days // 2], files[days // 2 :])))
        pa.concat_tables(halves).to_pandas()

    yield Case("artifacts.first-year", first, bare_file)
    yield Case("artifacts.bare-year", bare_files, bare_file)
    yield Case("artifacts.again-pandas", again_to_pandas, bare_file)
    yield Case("artifacts.again-arrow", again_as_arrow, bare_file)
    if bench.wants("artifacts.compacted-year"):
        runner.run(compact(bare_ports(warm), NODE))
        yield Case("artifacts.compacted-year", first, bare_file)


def _decoded(files: list[Path]) -> pa.Table:
    """The bars of files, which are hashed as well."""
    payloads = [path.read_bytes() for path in files]
    for payload in payloads:
        hashlib.sha256(payload).hexdigest()
    return pa.concat_tables([decode_bars(payload) for payload in payloads])


def _resolving(bench: Bench, runner: asyncio.Runner) -> Iterator[Case]:
    """Find the snapshot at an `as_of`: in a log newly opened, and in one that is open."""
    from support.artifacts import NODE

    folder = bench.folder / "resolve"
    store = ArtifactStore(str(folder))
    log = write_log(store, bench.size(10_000, 50))
    dice = random.Random(2)

    def opened() -> None:
        asked = ArtifactStore(str(folder)).load_snapshot(NODE, dice.choice(log.releases).as_of)
        assert runner.run(asked).release is not None

    def open_already() -> None:
        asked = store.load_snapshot(NODE, dice.choice(log.releases).as_of)
        assert runner.run(asked).release is not None

    yield Case("artifacts.log-opened", opened, rounds=3)
    yield Case("artifacts.as-of", open_already, rounds=200)


def write_log(store: ArtifactStore, releases: int) -> ReleaseLog:
    """A log of so many releases of a month's days, whose artifacts are not there."""
    from support.artifacts import NODE

    where = Path(store.file_uri(NODE, record_path(1))).parent
    where.mkdir(parents=True)
    log = ReleaseLog(str(NODE))
    for number in range(releases):
        start = START + number % 31 * DAY
        ref = ArtifactRef(
            partition=f"2020-01-{number % 31 + 1:02}",
            start=start,
            end=start + DAY,
            rows=DAY_BARS,
            fingerprint=sha256_text(f"bars {number}".encode()),
            file_sha256=sha256_text(f"file {number}".encode()),
            manifest_sha256=sha256_text(f"manifest {number}".encode()),
        )
        entry = joined(log, [ref])
        (where / Path(record_path(entry.seq)).name).write_bytes(entry.to_json())
    return log
