"""How time and memory grow as the work does: bars, days, releases, gaps, nodes, partitions, readers, workers.

A line is the exponent from the second largest size to the largest, which is ten times as much: 1 where it
grows with the work, 0 where it does not grow. What is asked for may grow with the work, and no faster; what
is not asked for may not show.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa

from bench.contenders.dagster import described_seconds
from bench.contenders.nodes import symbol
from bench.measuring.contender import Contender
from bench.measuring.sample import Probe, Sample, repeated
from bench.places import OURS, reach_support
from bench.running import Bench, Growth
from bench.subjects.artifacts import write_log
from bench.worlds.bars import DAY, DAY_BARS, MINUTE, START, market_bars
from bench.worlds.releases import bare_ports, open_again, open_store, release_days, table_of_frame
from seamless_assets.adapters.artifacts.store import ArtifactStore
from seamless_assets.adapters.machine.leases import MachineLeases
from seamless_assets.adapters.sqlite.store import SqliteHotStore
from seamless_assets.config.load import load_settings
from seamless_assets.core.bars.conformance.conform import conform
from seamless_assets.core.calendar.segment import Segment
from seamless_assets.core.coverage.coverage import coverage_of
from seamless_assets.core.node import NodeId
from seamless_assets.core.reading.context import ComputeContext
from seamless_assets.core.releases.fingerprint import fingerprint
from seamless_assets.defs.build import build_definitions
from seamless_assets.flows.reading.read import read_released
from seamless_assets.flows.releasing.materialize import materialize
from seamless_assets.testing import InMemoryExchange, connect_in_memory, in_memory_ports, random_walk

NODE = NodeId.parse("ohlcv:binance:BTC/USDT:1m")
FIVE = 300
SMALL = (1, 2, 4)


def cases(bench: Bench) -> Iterator[Growth]:
    """Everything in this process, but for those who follow nodes."""
    reach_support()
    with asyncio.Runner() as runner:
        groups: tuple[tuple[Callable[[Bench, asyncio.Runner], Iterator[Growth]], str], ...] = (
            (_bars, "bars-*"),
            (_days, "days-*"),
            (_releases, "releases-*"),
            (_gaps, "gaps-*"),
            (_nodes, "nodes-*"),
            (_partitions, "partitions-*"),
            (_readers, "readers-*"),
            (_workers, "workers-*"),
            (_followed, "followed-*"),
        )
        for group, lines in groups:
            if bench.wants(f"growth.{lines}"):
                yield from group(bench, runner)


def _sizes(bench: Bench, *full: int) -> tuple[int, ...]:
    return SMALL if bench.quick else full


def _bars(bench: Bench, runner: asyncio.Runner) -> Iterator[Growth]:
    """Bars that are conformed, hashed, and written to and read from the hot store."""
    folder, sizes = bench.folder / "bars", _sizes(bench, 10_000, 100_000, 1_000_000)
    folder.mkdir()
    sizes = tuple(size * (100 if bench.quick else 1) for size in sizes)
    bars = table_of_frame(market_bars(sizes[-1]))
    hot = SqliteHotStore(folder / "hot.sqlite")
    runner.run(hot.write_bars(NODE, bars, [], recorded_at=0.0))
    number = iter(range(10**9))

    def write(size: int) -> None:
        store = SqliteHotStore(folder / f"{next(number)}.sqlite")
        runner.run(store.write_bars(NODE, bars.slice(0, size), [], recorded_at=0.0))
        runner.run(store.close())

    def read(size: int) -> None:
        runner.run(hot.load_bars(NODE, Segment(START, START + size * MINUTE)))

    yield Growth("growth.bars-conform", sizes, lambda size: lambda: _done(conform(bars.slice(0, size))))
    yield Growth(
        "growth.bars-fingerprint",
        sizes,
        lambda size: lambda: _done(fingerprint(bars.slice(0, size), node_id=NODE, interval=60)),
    )
    yield Growth("growth.bars-write", sizes, lambda size: partial(write, size))
    yield Growth("growth.bars-read", sizes, lambda size: partial(read, size))


def _days(bench: Bench, runner: asyncio.Runner) -> Iterator[Growth]:
    """Days that were released of one node: all of them are read, and one of so many."""
    sizes = _sizes(bench, 36, 365, 3_650)
    bars = table_of_frame(market_bars(sizes[-1] * DAY_BARS))
    folders = {days: bench.folder / f"days-{days}" for days in sizes}
    for days, folder in folders.items():
        part = bars.slice(0, days * DAY_BARS)
        runner.run(release_days(open_store(folder), NODE, part, days_at_once=100))
    hot = SqliteHotStore(bench.folder / "days.sqlite")
    ids = {days: NodeId.parse(f"ohlcv:binance:D{days}/USDT:1m") for days in sizes}
    for days, node in ids.items():
        runner.run(hot.write_bars(node, bars.slice(0, days * DAY_BARS), [], recorded_at=0.0))
    warm = {days: open_store(folder) for days, folder in folders.items()}

    def read(store: ArtifactStore, first: int, days: int) -> None:
        window = Segment(START + first * DAY, START + (first + days) * DAY)
        runner.run(_read_released(store, window, days * DAY_BARS))

    def read_hot(days: int) -> None:
        first = START + days // 2 * DAY
        runner.run(hot.load_bars(ids[days], Segment(first, first + DAY)))

    yield Growth("growth.days-read", sizes, lambda days: lambda: read(open_store(folders[days]), 0, days))
    yield Growth(
        "growth.days-one-new", sizes, lambda days: lambda: read(open_again(folders[days]), days // 2, 1), 7
    )
    yield Growth(
        "growth.days-one-warm", sizes, lambda days: repeated(lambda: read(warm[days], days // 2, 1), 20), 7
    )
    yield Growth("growth.days-one-hot", sizes, lambda days: repeated(lambda: read_hot(days), 20), 7)


async def _read_released(store: ArtifactStore, window: Segment, rows: int) -> None:
    """Read a window that has so many rows; it returns none, since a runner writes results out as text."""
    found = await read_released(bare_ports(store), NODE, window, ComputeContext(), columns=None)
    assert found.bars.num_rows == rows


def _releases(bench: Bench, runner: asyncio.Runner) -> Iterator[Growth]:
    """Releases of a log: it is opened, asked for a snapshot, and released to."""
    from support.artifacts import NODE as HERE

    sizes = _sizes(bench, 100, 1_000, 10_000)
    stores = {releases: ArtifactStore(str(bench.folder / f"log-{releases}")) for releases in sizes}
    logs = {releases: write_log(store, releases) for releases, store in stores.items()}

    async def resolve(store: ArtifactStore, as_of: str) -> None:
        assert (await store.load_snapshot(HERE, as_of)).release is not None

    def load(store: ArtifactStore, releases: int) -> None:
        runner.run(resolve(store, logs[releases].releases[releases // 2].as_of))

    def opened(releases: int) -> None:
        load(ArtifactStore(str(bench.folder / f"log-{releases}")), releases)

    yield Growth("growth.releases-opened", sizes, lambda releases: partial(opened, releases))
    yield Growth(
        "growth.releases-as-of",
        sizes,
        lambda releases: repeated(lambda: load(stores[releases], releases), 50),
        7,
    )


def _gaps(bench: Bench, runner: asyncio.Runner) -> Iterator[Growth]:
    """Gaps of a year of minutes: they are counted, and read over."""
    sizes = _sizes(bench, 500, 5_000, 50_000)
    whole = table_of_frame(market_bars(bench.size(365, 1) * DAY_BARS))
    window = Segment(START, START + whole.num_rows * MINUTE)
    dice = np.random.default_rng(5)
    gapped = {}
    for gaps in sizes:
        kept = np.ones(whole.num_rows, dtype=bool)
        kept[dice.choice(np.arange(1, whole.num_rows - 1, 2), gaps, replace=False)] = False
        gapped[gaps] = whole.filter(pa.array(kept))
    folders = {gaps: bench.folder / f"gaps-{gaps}" for gaps in sizes}
    for gaps, bars in gapped.items():
        runner.run(_release_whole(folders[gaps], bars, window))

    def read(gaps: int) -> None:
        runner.run(_read_released(open_store(folders[gaps]), window, whole.num_rows - gaps))

    yield Growth(
        "growth.gaps-coverage",
        sizes,
        lambda gaps: (
            lambda: _done(coverage_of(NODE.timeframe, window, np.asarray(gapped[gaps].column("ts")), []))
        ),
    )
    yield Growth("growth.gaps-read", sizes, lambda gaps: partial(read, gaps))


async def _release_whole(folder: Path, bars: pa.Table, window: Segment) -> None:
    """Release bars in one artifact, the gaps of it missing."""
    from support.artifacts import seal_bars

    from bench.worlds.releases import joined
    from seamless_assets.core.releases.log import ReleaseLog

    store = open_store(folder)
    sealed = seal_bars(bars, "2020", window.end, NODE)
    ref = await store.put_artifact(sealed)
    await store.append_release(NODE, joined(ReleaseLog(str(NODE)), [ref]))


def _nodes(bench: Bench, runner: asyncio.Runner) -> Iterator[Growth]:
    """Nodes that are declared: all of them in a panel, one of them read, and their code location loaded."""
    sizes, many = _sizes(bench, 10, 100, 1_000), _sizes(bench, 50, 500, 5_000)
    if bench.wants("growth.nodes-panel*"):
        folder = bench.folder / "nodes"
        folder.mkdir()
        file = _released_nodes(runner, folder, sizes[-1])
        with Contender(OURS, "bench.contenders.nodes", file) as panels:

            def panel(nodes: int) -> Sample | float | None:
                panels.do("trim")
                return panels.probe(f"panel {nodes}")()

            # What is imported and made once is not counted.
            panels.do("panel 1")
            yield Growth("growth.nodes-panel", sizes, lambda nodes: partial(panel, nodes))
    nodes = [f"ohlcv:binance:{symbol(number)}:5m" for number in range(many[-1])]
    series = random_walk(START, START + 2 * DAY, FIVE)
    pipelines = {}
    for count in many:
        pipelines[count] = connect_in_memory(InMemoryExchange.serving(dict.fromkeys(nodes[:count], series)))
        pipelines[count].materialize(nodes[0], START, START + DAY)
    yield Growth(
        "growth.nodes-one",
        many,
        lambda count: repeated(lambda: _done(pipelines[count].read(nodes[0], START, START + DAY)), 20),
        7,
    )
    for opened in pipelines.values():
        opened.close()
    yield Growth("growth.nodes-dagster", many, partial(_location, bench.folder))


def _released_nodes(runner: asyncio.Runner, folder: Path, count: int) -> Path:
    """A project of so many nodes, a day of minutes of each released; its file."""
    names = [symbol(number) for number in range(count)]
    day, store = table_of_frame(market_bars(DAY_BARS)), open_store(folder)
    for name in names:
        runner.run(_release_day(store, NodeId.parse(f"ohlcv:binance:{name}:1m"), day))
    declared = {
        "seamless": {"artifact": {"object_store_uri": "./artifacts"}},
        # Every node's day, so that a panel of any size is read again from memory.
        "cache": {"max_shards": 2 * count},
        "exchanges": {"binance": {"symbols": names, "timeframes": ["1m"], "start": START}},
    }
    file = folder / "seamless.yaml"
    file.write_text(json.dumps(declared))
    return file


async def _release_day(store: ArtifactStore, node: NodeId, day: pa.Table) -> None:
    """Release a day; it returns none, since a runner writes results out as text."""
    await release_days(store, node, day)


def _location(folder: Path, nodes: int) -> Probe:
    """Build and describe a code location of so many nodes."""
    from bench.subjects.dagster import project

    file = project(folder, nodes, "http://127.0.0.1:1") / "seamless.yaml"

    def probe() -> Sample:
        seconds = described_seconds(partial(build_definitions, load_settings(file)))
        return Sample(seconds, seconds)

    return probe


def _partitions(bench: Bench, runner: asyncio.Runner) -> Iterator[Growth]:
    """Daily partitions of a node of 5m: they are materialized, into SQLite and a folder."""
    sizes = _sizes(bench, 3, 30, 300)
    series = random_walk(START, START + (sizes[-1] + 1) * DAY, FIVE)
    node, number = NodeId.parse("ohlcv:binance:BTC/USDT:5m"), iter(range(10**9))

    async def materialized(days: int) -> None:
        folder = bench.folder / f"partitions-{next(number)}"
        folder.mkdir()
        hot = SqliteHotStore(folder / "hot.sqlite")
        exchange = InMemoryExchange.serving({node: series})
        ports = in_memory_ports(exchange, hot=hot, artifacts=open_store(folder))
        report = await materialize(ports, node, Segment(START, START + days * DAY))
        await hot.close()
        assert report.released

    def work(days: int) -> None:
        runner.run(materialized(days))

    yield Growth("growth.partitions-materialize", sizes, lambda days: partial(work, days), 1)


def _readers(bench: Bench, runner: asyncio.Runner) -> Iterator[Growth]:
    """Readers of a day at once, of one process."""
    sizes = _sizes(bench, 10, 100, 1_000)
    folder = bench.folder / "readers"
    runner.run(release_days(open_store(folder), NODE, table_of_frame(market_bars(DAY_BARS))))
    store, window = open_store(folder), Segment(START, START + DAY)

    async def crowd(readers: int) -> None:
        ports = bare_ports(store)
        await asyncio.gather(
            *(read_released(ports, NODE, window, ComputeContext(), columns=None) for _ in range(readers))
        )

    yield Growth("growth.readers-day", sizes, lambda readers: lambda: runner.run(crowd(readers)))


def _workers(bench: Bench, runner: asyncio.Runner) -> Iterator[Growth]:
    """Workers that each claim a chunk of their own, renew it, and complete it."""
    sizes = _sizes(bench, 10, 100, 1_000)
    leases = MachineLeases(bench.folder / "leases.sqlite")

    async def work(name: str) -> None:
        lease = await leases.claim(f"chunk {name}", name, 60.0)
        assert lease is not None
        await leases.complete(await leases.renew(lease, 60.0))

    async def all_of_them(workers: int) -> None:
        await asyncio.gather(*(work(str(number)) for number in range(workers)))

    yield Growth("growth.workers-leases", sizes, lambda workers: lambda: runner.run(all_of_them(workers)))
    runner.run(leases.close())


def _followed(bench: Bench, _: asyncio.Runner) -> Iterator[Growth]:
    """Nodes whose streams are followed, on virtual time, until five bars of each have closed."""
    sizes = _sizes(bench, 10, 100, 1_000)
    with Contender(OURS, "bench.contenders.followed") as followers:

        def follow(nodes: int) -> Sample | float | None:
            followers.do("trim")
            return followers.probe(f"follow {nodes}")()

        # What is imported and made once is not counted.
        followers.do("follow 1")
        yield Growth("growth.followed-nodes", sizes, lambda nodes: partial(follow, nodes))


def _done(_: object) -> None:
    """A result that nobody needs."""
