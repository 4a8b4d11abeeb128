"""What bars are made of, after imports over bars that the ledger says were made of something else."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pytest

from seamless_assets.core.calendar.segment import Segment
from seamless_assets.core.coverage.ledger import (
    ARCHIVE_DIFFERS,
    FROM_ARCHIVE,
    FROM_CANDLES,
    FROM_TRADES,
    Fact,
    MadeRange,
)
from seamless_assets.core.imports.bars import ImportedBars
from seamless_assets.core.imports.rows import Source
from seamless_assets.core.node import NodeId
from seamless_assets.core.releases.artifact import Manifest
from seamless_assets.core.sharing.policy import Policy
from seamless_assets.errors import HotStoreError
from seamless_assets.flows.importing.ingest import ingest
from seamless_assets.flows.importing.plan import IngestRequest
from seamless_assets.flows.ports import Ports
from seamless_assets.flows.releasing.materialize import materialize
from seamless_assets.testing import (
    START,
    InMemoryExchange,
    InMemoryHotStore,
    ManualClock,
    in_memory_ports,
    random_walk,
)
from seamless_assets.testing.bars import Row, bars_table

NODE = NodeId.parse("ohlcv:kraken:BTC/USD:1m")
HOUR = Segment(START, START + 3_600)
PART = Segment(START + 600, START + 1_200)
HOLE = Segment(START + 840, START + 900)
NONE = Segment(0, 0)
WALK = random_walk(START, HOUR.end + 1_800)
REASONS = (FROM_TRADES, FROM_ARCHIVE, ARCHIVE_DIFFERS)


class Dying(InMemoryHotStore):
    """A hot store whose worker dies before it writes, where it is told to."""

    dies = False

    async def write_bars(self, *given: Any, **named: Any) -> Any:
        if self.dies:
            raise HotStoreError("the worker died here")
        return await super().write_bars(*given, **named)


async def world(reason: str) -> tuple[Ports, Dying, ManualClock]:
    """Ports where the bars of `HOUR`, but for those of `HOLE`, are released as a fact tells of them."""
    clock, hot = ManualClock(HOUR.end + 125), Dying()
    exchange = InMemoryExchange(series={NODE: {}}, clock=clock)
    policy = Policy(retry_backoff_ms=10, lease_ttl_ms=math.inf, coverage_ratio_threshold=0.5)
    ports = in_memory_ports(exchange, policy=policy, hot=hot)
    fact = Fact(*HOUR, reason, "of before", clock.now())
    await hot.write_bars(NODE, bars(HOUR, without=HOLE), [fact], recorded_at=clock.now())
    assert (await materialize(ports, NODE, HOUR)).released
    return ports, hot, clock


def bars(window: Segment, plus: float = 0.0, without: Segment = NONE) -> pa.Table:
    held: dict[int, Row] = {
        ts: (*row[:4], row[4] + plus)
        for ts, row in WALK.items()
        if window.start <= ts < window.end and not without.start <= ts < without.end
    }
    return bars_table(held)


def request(plus: float, *, is_of_trades: bool = False) -> IngestRequest:
    source = Source("file.csv", "5" * 64, 1)
    table = bars(PART, plus)
    imported = ImportedBars(table, PART, {}, 10, 0, ((source, PART),), is_of_trades=is_of_trades)
    return IngestRequest(imported, is_complete=False, confirms=True, is_dry_run=False, by="ann", note="")


async def resealed(ports: Ports, clock: ManualClock) -> Manifest:
    """The manifest of the next release of the same day."""
    later = Segment(HOUR.end, HOUR.end + 1_800)
    clock.time += 1_800
    await ports.hot.write_bars(NODE, bars(later), [], recorded_at=clock.now())
    assert (await materialize(ports, NODE, Segment(HOUR.start, later.end))).released
    return await manifest_in_force(ports)


async def manifest_in_force(ports: Ports) -> Manifest:
    (ref,) = (await ports.artifacts.load_snapshot(NODE)).artifacts
    return await ports.artifacts.load_manifest(NODE, ref)


def made(manifest: Manifest, reason: str) -> list[Segment]:
    ranges: dict[str, Sequence[MadeRange]] = {
        FROM_TRADES: manifest.from_trades,
        FROM_ARCHIVE: manifest.from_archives,
        ARCHIVE_DIFFERS: manifest.archive_differences,
    }
    return [one.segment for one in ranges[reason]]


async def import_and(ports: Ports, hot: Dying, asked: IngestRequest, *, dies: bool) -> None:
    if dies:
        hot.dies = True
        with pytest.raises(HotStoreError, match="died here"):
            await ingest(ports, NODE, asked)
        hot.dies = False
    await ingest(ports, NODE, asked)


@pytest.mark.parametrize("reason", REASONS)
@pytest.mark.parametrize("is_evicted", [False, True])
@pytest.mark.parametrize("dies", [False, True])
async def test_candles_are_never_called_what_they_took_the_place_of(
    reason: str, is_evicted: bool, dies: bool
) -> None:
    ports, hot, clock = await world(reason)
    if is_evicted:
        hot.bars[NODE].clear()
    clock.time += 60
    await import_and(ports, hot, request(1.0), dies=dies)
    rest = [Segment(HOUR.start, PART.start), Segment(PART.end, HOUR.end)]
    assert made(await manifest_in_force(ports), reason) == rest
    manifest = await resealed(ports, clock)
    assert made(manifest, reason) == rest
    is_counted = {"from_trades": 50} if reason == FROM_TRADES else {}
    assert {name: n for name, n in manifest.conformance_flags.items() if name == "from_trades"} == is_counted


@pytest.mark.parametrize("reason", REASONS)
async def test_candles_that_only_fill_a_hole_are_no_part_of_what_is_around_them(reason: str) -> None:
    ports, _, clock = await world(reason)
    clock.time += 60
    report = await ingest(ports, NODE, request(0.0))
    assert (report.added, report.revised) == (1, 0)
    rest = [Segment(HOUR.start, HOLE.start), Segment(HOLE.end, HOUR.end)]
    for manifest in (await manifest_in_force(ports), await resealed(ports, clock)):
        assert made(manifest, reason) == rest


@pytest.mark.parametrize("reason", [*REASONS, FROM_CANDLES])
@pytest.mark.parametrize("dies", [False, True])
async def test_imported_trades_are_told_of_by_a_second_run(reason: str, dies: bool) -> None:
    ports, hot, clock = await world(reason)
    clock.time += 60
    await import_and(ports, hot, request(1.0, is_of_trades=True), dies=dies)
    for manifest in (await manifest_in_force(ports), await resealed(ports, clock)):
        theirs = [one.segment for one in manifest.from_trades if "imported trades" in one.evidence]
        assert theirs == [PART]


async def test_a_second_run_outweighs_nothing_that_was_learned_since_and_says_nothing_twice() -> None:
    ports, hot, clock = await world(FROM_TRADES)
    clock.time += 60
    asked = request(1.0, is_of_trades=True)
    await ingest(ports, NODE, asked)
    clock.time += 60
    came = Fact(PART.start, PART.start + 120, FROM_CANDLES, "sent since", clock.now())
    await hot.write_bars(NODE, bars(NONE), [came], recorded_at=clock.now())
    before = list(hot.facts[NODE])
    clock.time += 60
    assert (await ingest(ports, NODE, asked)).release is None
    assert hot.facts[NODE] == before
    manifest = await resealed(ports, clock)
    theirs = [one.segment for one in manifest.from_trades if "imported trades" in one.evidence]
    assert theirs == [Segment(PART.start + 120, PART.end)]
