"""The flows on twins: what is fetched, proven, sealed, released and read back."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest
from support.ports import embedded_ports

from seamless_assets.core.bars.table import BARS_SCHEMA
from seamless_assets.core.calendar.segment import Segment
from seamless_assets.core.node import NodeId
from seamless_assets.core.reading.context import ComputeContext
from seamless_assets.core.sharing.policy import Policy
from seamless_assets.errors import CoverageMissing, ExchangeUnavailable, NothingReleased, RateLimited
from seamless_assets.flows.filling.backfill import backfill
from seamless_assets.flows.filling.history import evict
from seamless_assets.flows.reading.read import read_released
from seamless_assets.flows.releasing.govern import release_by_hand
from seamless_assets.flows.releasing.materialize import materialize, publish
from seamless_assets.testing import DAY, START, InMemoryExchange, ManualClock, random_walk

NODE = NodeId.parse("ohlcv:binance:BTC/USDT:1m")
TWO_DAYS = Segment(START, START + 2 * DAY)


@pytest.mark.parametrize(
    "venue",
    [{}, {"page": 300}, {"page": 300, "newest_first": True}, {"page": 77, "believed_page": 50}],
    ids=["honest", "cuts pages", "cuts pages, newest first", "gives more than believed"],
)
async def test_every_bar_arrives_and_every_hole_is_proven(tmp_path: Path, venue: dict[str, object]) -> None:
    exchange = InMemoryExchange(random_walk(START - DAY, START + 3 * DAY, skip=0.3), ManualClock(), **venue)
    world = embedded_ports(tmp_path, exchange)
    report = await materialize(world, NODE, TWO_DAYS)
    expected = [ts for ts in exchange.bars if TWO_DAYS.start <= ts < TWO_DAYS.end]
    assert report.released
    assert (report.coverage.present, report.coverage.absent, report.coverage.missing) == (
        len(expected),
        2880 - len(expected),
        0,
    )
    read = await read_released(world, NODE, TWO_DAYS, ComputeContext(as_of=report.as_of), columns=None)
    assert [tuple(row.values()) for row in read.bars.to_pylist()] == [
        (ts, *exchange.bars[ts]) for ts in expected
    ]


async def test_a_page_that_is_cut_just_before_the_end_of_closed_time_is_asked_for_its_rest(
    tmp_path: Path,
) -> None:
    clock = ManualClock(time=START + 298 * 60 + 5)
    exchange = InMemoryExchange(random_walk(START - DAY, START + DAY), clock, page=295, believed_page=300)
    world = embedded_ports(tmp_path, exchange)
    report = await backfill(world, NODE, Segment(START, START + 298 * 60))
    assert (report.coverage.present, report.coverage.missing) == (298, 0)


async def test_nothing_is_asked_twice_once_it_is_settled(tmp_path: Path) -> None:
    exchange = InMemoryExchange(random_walk(START - DAY, START + 3 * DAY, skip=0.5), ManualClock())
    world = embedded_ports(tmp_path, exchange)
    await backfill(world, NODE, TWO_DAYS)
    asked = len(exchange.asked)
    report = await backfill(world, NODE, TWO_DAYS)
    assert len(exchange.asked) == asked
    assert report.fetched == () and report.coverage.missing == 0


async def test_the_same_content_changes_nothing_and_a_correction_is_a_revision(tmp_path: Path) -> None:
    exchange = InMemoryExchange(random_walk(START - DAY, START + 3 * DAY), ManualClock())
    world = embedded_ports(tmp_path, exchange)
    first = await materialize(world, NODE, TWO_DAYS)
    again = await materialize(world, NODE, TWO_DAYS)
    assert (again.as_of, again.dataset_fingerprint, again.released) == (
        first.as_of,
        first.dataset_fingerprint,
        True,
    )
    before = await read_released(world, NODE, TWO_DAYS, ComputeContext(as_of=first.as_of), columns=None)
    corrected = START + 600
    o, h, low, c, v = exchange.bars[corrected]
    exchange.bars[corrected] = (o, h, low * 0.99, c, v)
    third = await materialize(world, NODE, TWO_DAYS)
    log = await world.artifacts.list_releases(NODE)
    assert [(r.changed, r.added, r.removed, r.examples) for r in log[-1].revisions] == [
        (1, 0, 0, (corrected,))
    ]
    assert third.as_of > first.as_of and third.dataset_fingerprint != first.dataset_fingerprint
    old = await read_released(world, NODE, TWO_DAYS, ComputeContext(as_of=first.as_of), columns=None)
    new = await read_released(world, NODE, TWO_DAYS, ComputeContext(as_of=third.as_of), columns=None)
    assert old.bars == before.bars and old.metadata == before.metadata
    assert new.bars != old.bars


async def test_a_partition_grows_as_bars_settle_and_old_snapshots_stay(tmp_path: Path) -> None:
    clock = ManualClock(time=START + 3600 + 30)
    exchange = InMemoryExchange(random_walk(START - DAY, START + DAY), clock)
    world = embedded_ports(tmp_path, exchange)
    early = await materialize(world, NODE, Segment(START, START + DAY))
    assert early.coverage.expected == 58
    clock.time = START + 2 * 3600
    late = await materialize(world, NODE, Segment(START, START + DAY))
    assert late.coverage.expected == 118
    log = await world.artifacts.list_releases(NODE)
    assert [len(entry.withdrawn) for entry in log] == [0, 1] and log[-1].revisions == ()
    hour = Segment(START, START + 58 * 60)
    old = await read_released(world, NODE, hour, ComputeContext(as_of=early.as_of), columns=None)
    assert old.bars.num_rows == 58
    with pytest.raises(CoverageMissing) as refused:
        await read_released(
            world, NODE, Segment(START, START + 3600), ComputeContext(as_of=early.as_of), columns=None
        )
    assert [gap[:2] for gap in refused.value.gaps] == [(START + 58 * 60, START + 3600)]


async def test_bars_before_the_listing_are_proven_absent(tmp_path: Path) -> None:
    listed = START + 5 * 3600
    exchange = InMemoryExchange(random_walk(listed, START + 2 * DAY), ManualClock(), listed=listed)
    report = await materialize(embedded_ports(tmp_path, exchange), NODE, Segment(START, START + DAY))
    assert report.released
    assert [tuple(gap) for gap in report.coverage.gaps] == [(START, listed, "pre_listing")]


async def test_what_the_exchange_withholds_is_missing_and_blocks_the_release(tmp_path: Path) -> None:
    hole = Segment(START + 3600, START + 4 * 3600)

    def fault(window: Segment, asked: int) -> None:
        if not window.intersect(hole).is_empty:
            raise ExchangeUnavailable("down", status=503)

    exchange = InMemoryExchange(
        random_walk(START - DAY, START + 2 * DAY), ManualClock(), believed_page=60, fault=fault
    )
    world = embedded_ports(tmp_path, exchange, Policy(retry_backoff_ms=10, max_attempts=2))
    report = await materialize(world, NODE, Segment(START, START + DAY))
    assert not report.released and report.as_of is None
    assert report.coverage.missing >= 180
    (partition,) = report.partitions
    assert partition.away is not None and partition.away.status == 503
    assert any("missing without proof" in problem for problem in report.problems)
    assert await world.artifacts.list_releases(NODE) == []
    by_hand = await release_by_hand(world, NODE, "the exchange lost these hours")
    assert by_hand.seq == 1 and by_hand.reason == "the exchange lost these hours"
    read = await read_released(
        world, NODE, Segment(START, START + DAY), ComputeContext(), columns=["ts", "close"]
    )
    assert read.metadata.verdict == "PARTIAL" and read.bars.column_names == ["ts", "close"]


async def test_an_exchange_that_is_away_is_kept_apart_from_bars_that_it_has_not(tmp_path: Path) -> None:
    class Away(InMemoryExchange):
        async def check_node(self, node: NodeId) -> None:
            raise ExchangeUnavailable("down", status=503)

    bars, policy = random_walk(START - DAY, START + 3 * DAY), Policy(retry_backoff_ms=10, max_attempts=2)
    away = await materialize(embedded_ports(tmp_path, Away(bars, ManualClock()), policy), NODE, TWO_DAYS)
    assert [(part.away is not None, part.released) for part in away.partitions] == [(True, False)] * 2
    assert away.problems[1].endswith("down")
    holey = {ts: bar for ts, bar in bars.items() if ts % DAY < DAY / 2}
    withheld = await materialize(
        embedded_ports(tmp_path, InMemoryExchange(holey, ManualClock()), policy), NODE, TWO_DAYS
    )
    assert [part.away for part in withheld.partitions] == [None, None]


@pytest.mark.parametrize("minutes", [3, 15, 25])
async def test_the_newest_bars_are_not_released_as_missing_while_nobody_answers_for_them(
    tmp_path: Path, minutes: int
) -> None:
    """So few that the threshold of coverage blocks nothing; by the release's end nobody would ask again."""
    clock = ManualClock(time=START + 20 * 3600)
    exchange = InMemoryExchange(random_walk(START - DAY, START + 2 * DAY), clock, believed_page=60)
    world = embedded_ports(tmp_path, exchange, Policy(retry_backoff_ms=10, max_attempts=2))
    day = Segment(START, START + DAY)
    before = await materialize(world, NODE, day)
    assert before.released

    def fault(window: Segment, asked: int) -> None:
        if window.end > START + 20 * 3600:
            raise ExchangeUnavailable("down", status=503)

    clock.time += minutes * 60
    answers, exchange.fault = exchange.fault, fault
    report = await materialize(world, NODE, day)
    (partition,) = report.partitions
    assert not report.released and partition.away is not None
    assert any("gave no answer for the bars from 2025-01-01T19:" in problem for problem in report.problems)
    assert [entry.seq for entry in await world.artifacts.list_releases(NODE)] == [1]
    # What a person knows to be all there is can be released all the same.
    assert partition.sealed is not None and partition.coverage.missing >= minutes
    exchange.fault = answers
    again = await materialize(world, NODE, day)
    assert again.released and again.coverage.missing == 0
    (held,) = (await world.artifacts.load_snapshot(NODE)).artifacts
    assert held.end == clock.now() // 60 * 60 - 120


async def test_a_rate_limit_is_waited_out_as_long_as_it_asks(tmp_path: Path) -> None:
    clock = ManualClock()
    started = clock.time

    def fault(window: Segment, asked: int) -> None:
        if asked == 1:
            raise RateLimited("slow down", status=429, retry_after=30.0)

    exchange = InMemoryExchange(random_walk(START - DAY, START + 2 * DAY), clock, fault=fault)
    report = await materialize(embedded_ports(tmp_path, exchange), NODE, Segment(START, START + DAY))
    assert report.released and clock.time - started >= 30


async def test_an_unsound_bar_is_neither_stored_nor_taken_for_no_trades(tmp_path: Path) -> None:
    exchange = InMemoryExchange(random_walk(START - DAY, START + 2 * DAY), ManualClock())
    o, h, low, c, v = exchange.bars[START + 60]
    exchange.bars[START + 60] = (o, low, h, c, v)
    world = embedded_ports(tmp_path, exchange)
    report = await materialize(world, NODE, Segment(START, START + DAY))
    assert not report.released
    assert "ohlc_inconsistent" in report.problems[0]
    assert report.coverage.missing == 1
    assert [gap[:2] for gap in report.coverage.missing_gaps] == [(START + 60, START + 120)]


async def test_publishing_alone_releases_nothing(tmp_path: Path) -> None:
    exchange = InMemoryExchange(random_walk(START - DAY, START + 2 * DAY), ManualClock())
    world = embedded_ports(tmp_path, exchange)
    await backfill(world, NODE, Segment(START, START + DAY))
    sealed = await publish(world, NODE, Segment(START, START + DAY))
    assert [item.ref.rows for item in sealed] == [1440]
    with pytest.raises(NothingReleased):
        await read_released(world, NODE, Segment(START, START + DAY), ComputeContext(), columns=None)


async def test_a_correction_that_no_artifact_holds_is_never_evicted(tmp_path: Path) -> None:
    exchange = InMemoryExchange(random_walk(START - DAY, START + 3 * DAY), ManualClock())
    world = embedded_ports(tmp_path, exchange, Policy(retry_backoff_ms=10, keep_days={"day": 1.0}))
    await materialize(world, NODE, TWO_DAYS)
    row = (1.0, 2.0, 0.5, 1.5, 3.0)
    late = pa.table([[value] for value in (START + 600, *row)], BARS_SCHEMA)
    await world.hot.write_bars(NODE, late, [], recorded_at=exchange.clock.now())
    assert await evict(world, [NODE]) == DAY // 60
    first = await world.hot.load_bars(NODE, Segment(START, START + DAY))
    assert first.num_rows == DAY // 60 and late.to_pylist()[0] in first.to_pylist()
    exchange.bars[START + 600] = row
    await materialize(world, NODE, TWO_DAYS)
    assert await evict(world, [NODE]) == 2 * (DAY // 60)


async def test_an_eviction_reads_no_day_that_is_gone_already(tmp_path: Path) -> None:
    window, after = Segment(START, START + 20 * DAY), ManualClock(time=START + 30 * DAY)
    exchange = InMemoryExchange(random_walk(START - DAY, window.end + DAY), after)
    world = embedded_ports(tmp_path, exchange, Policy(retry_backoff_ms=10, keep_days={"day": 13.0}))
    await materialize(world, NODE, window)
    assert await evict(world, [NODE]) == 17 * (DAY // 60)
    after.time += DAY
    read: list[Segment] = []
    load_bars = world.hot.load_bars

    async def noted(node: NodeId, part: Segment) -> pa.Table:
        read.append(part)
        return await load_bars(node, part)

    world.hot.load_bars = noted  # type: ignore[method-assign]
    assert await evict(world, [NODE]) == DAY // 60
    assert read == [Segment(START + 17 * DAY, START + 18 * DAY)]
