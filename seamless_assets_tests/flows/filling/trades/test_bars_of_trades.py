"""Bars of trades: as a node, and where candles stay away; told apart for ever, and never made up."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import replace
from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seamless_assets.core.bars.volume import VolumeUnit
from seamless_assets.core.calendar.segment import Segment
from seamless_assets.core.coverage.witnesses import Trades
from seamless_assets.core.node import NodeId
from seamless_assets.core.releases.artifact import Manifest
from seamless_assets.core.sharing.policy import Policy
from seamless_assets.errors import ExchangeRefused, ExchangeUnavailable
from seamless_assets.flows.filling.backfill import backfill
from seamless_assets.flows.filling.trades.tapes import read_tapes
from seamless_assets.flows.ports import Ports
from seamless_assets.flows.releasing.compact import compact
from seamless_assets.flows.releasing.drift import sample_drift
from seamless_assets.flows.releasing.materialize import materialize
from seamless_assets.testing import START, InMemoryExchange, ManualClock, in_memory_ports, random_walk
from seamless_assets.testing.bars import Row, bars_table

NODE = NodeId.parse("ohlcv:kraken:BTC/USD:1m")
HOUR = Segment(START, START + 3_600)
Trade = tuple[float, float, float]
OF_TRADES = Policy(retry_backoff_ms=10, lease_ttl_ms=math.inf, made_of_trades=frozenset({NODE}))
REPAIRED = replace(OF_TRADES, made_of_trades=frozenset(), repaired_by_trades=frozenset({NODE}))
CANDLES = replace(OF_TRADES, made_of_trades=frozenset())


def tape_of(bars: Mapping[int, Row]) -> list[Trade]:
    """Four trades of each bar: its open, high, low and close, whose amounts are its volume."""

    def trades() -> Iterator[Trade]:
        for ts, (opened, high, low, close, volume) in bars.items():
            part = round(volume / 4, 6)
            rest = float(Decimal(repr(volume)) - 3 * Decimal(repr(part)))
            for at, price, amount in zip(
                (0.0, 19.5, 19.5, 59.875), (opened, high, low, close), (part, part, part, rest), strict=True
            ):
                yield ts + at, price, amount

    return list(trades())


def world(
    policy: Policy, candles: Mapping[int, Row], traded: Mapping[int, Row], page: int = 50
) -> tuple[Ports, InMemoryExchange]:
    exchange = InMemoryExchange(
        series={NODE: dict(candles)},
        clock=ManualClock(HOUR.end + 125),
        tape={NODE: tape_of(traded)},
        trades_page=page,
    )
    return in_memory_ports(exchange, policy=policy), exchange


async def newest_manifest(ports: Ports) -> Manifest:
    (ref,) = (await ports.artifacts.load_snapshot(NODE)).artifacts
    return await ports.artifacts.load_manifest(NODE, ref)


async def released(ports: Ports) -> list[dict[str, float]]:
    (ref,) = (await ports.artifacts.load_snapshot(NODE)).artifacts
    rows: list[dict[str, float]] = (await ports.artifacts.load_artifact(NODE, ref)).to_pylist()
    return rows


WALK = dict(
    sorted(
        {
            **random_walk(START - 3_600, HOUR.end + 3_600, skip=0.3),
            HOUR.end: (100.0, 101.0, 99.0, 100.5, 2.0),
        }.items()
    )
)
INSIDE = {ts: row for ts, row in WALK.items() if HOUR.start <= ts < HOUR.end}


@pytest.mark.parametrize("page", [50, 1_000])
async def test_a_node_of_trades_has_every_bar_and_proves_the_others_absent(page: int) -> None:
    ports, exchange = world(OF_TRADES, {}, WALK, page)
    report = await materialize(ports, NODE, HOUR)
    assert report.released, report.problems
    assert await released(ports) == bars_table(INSIDE).to_pylist()
    manifest = await newest_manifest(ports)
    assert manifest.conformance_flags["from_trades"] == len(INSIDE)
    assert {gap.reason for gap in manifest.absent} == {"no_trades"}
    assert not manifest.missing
    assert manifest.from_trades and all("sha256:" in one.evidence for one in manifest.from_trades)
    assert exchange.asked == []
    assert (await materialize(ports, NODE, HOUR)).released
    assert len(await ports.artifacts.list_releases(NODE)) == 1
    assert (await sample_drift(ports, NODE)).is_stable


async def test_other_trades_make_another_release(tmp_path: object) -> None:
    ports, exchange = world(OF_TRADES, {}, WALK)
    await materialize(ports, NODE, HOUR)
    before = await newest_manifest(ports)
    exchange.tape[NODE] = sorted([*exchange.tape[NODE], (min(INSIDE) + 30.25, 1e6, 0.5)])
    assert not (await sample_drift(ports, NODE, 10_000)).is_stable
    await materialize(ports, NODE, HOUR)
    after = await newest_manifest(ports)
    assert (await released(ports))[0]["high"] == 1e6
    assert before.from_trades[0].evidence != after.from_trades[0].evidence


HOLES = (START + 600, START + 660, START + 1_800)


def with_holes() -> dict[int, Row]:
    """Candles of every minute but some in which somebody traded."""
    every = random_walk(START - 3_600, HOUR.end + 3_600)
    return {ts: row for ts, row in every.items() if ts not in HOLES}


async def test_trades_make_the_bars_that_the_exchange_keeps_sending_no_candles_of() -> None:
    every = random_walk(START - 3_600, HOUR.end + 3_600)
    ports, exchange = world(REPAIRED, with_holes(), every)
    report = await materialize(ports, NODE, HOUR)
    assert report.coverage.missing == 0
    inside = {ts: row for ts, row in every.items() if HOUR.start <= ts < HOUR.end}
    assert await released(ports) == bars_table(inside).to_pylist()
    manifest = await newest_manifest(ports)
    assert [(one.start, one.end) for one in manifest.from_trades] == [
        (START + 600, START + 720),
        (START + 1_800, START + 1_860),
    ]
    assert manifest.conformance_flags["from_trades"] == 3
    assert (await sample_drift(ports, NODE, 10_000)).is_stable

    # A candle that comes after all takes the place of the bar of trades, and the manifest says so.
    exchange.series[NODE][START + 660] = every[START + 660]
    await materialize(ports, NODE, HOUR)
    assert [(one.start, one.end) for one in (await newest_manifest(ports)).from_trades] == [
        (START + 600, START + 660),
        (START + 1_800, START + 1_860),
    ]
    assert await released(ports) == bars_table(inside).to_pylist()


async def test_what_bars_are_made_of_outlives_the_hot_store() -> None:
    every = random_walk(START - 3_600, HOUR.end + 3_600)
    ports, exchange = world(REPAIRED, with_holes(), every)
    await materialize(ports, NODE, HOUR)
    exchange.tape[NODE] = []
    assert isinstance(exchange.clock, ManualClock)
    exchange.clock.time += 1_800
    other = in_memory_ports(exchange, policy=REPAIRED, artifacts=ports.artifacts)
    await materialize(other, NODE, HOUR)
    (ref,) = (await other.artifacts.load_snapshot(NODE)).artifacts
    manifest = await other.artifacts.load_manifest(NODE, ref)
    assert ref.end == HOUR.end + 1_800
    assert {ts for one in manifest.from_trades for ts in range(one.start, one.end, 60)} == {*HOLES}


async def test_trades_that_make_other_bars_than_the_candles_beside_repair_nothing() -> None:
    every = random_walk(START - 3_600, HOUR.end + 3_600)
    doubled = {ts: (*row[:4], row[4] * 2) for ts, row in every.items()}
    holey = {ts: row for ts, row in every.items() if not START + 600 <= ts < START + 2_400}
    ports, _ = world(REPAIRED, holey, doubled)
    report = await materialize(ports, NODE, HOUR)
    assert (report.coverage.present, report.coverage.missing) == (30, 30)
    assert any("another bar" in problem for problem in report.problems)
    ports, exchange = world(REPAIRED, holey, every)
    exchange.volume = VolumeUnit("quote", "USD")
    report = await materialize(ports, NODE, HOUR)
    assert (report.coverage.present, report.coverage.missing) == (30, 30)
    assert any("volume counts quote" in problem for problem in report.problems)


class Odd(InMemoryExchange):
    """An exchange whose pages of trades are not what was asked for."""

    async def fetch_trades(self, node: NodeId, window: Segment) -> Trades:
        page = await super().fetch_trades(node, window)
        return self.changed(page)

    def changed(self, page: Trades) -> Trades:
        return page


def cut(page: Trades, mask: np.ndarray, *, is_bounded: bool = False) -> Trades:
    assert page.prices is not None
    assert page.amounts is not None
    return Trades(page.asked, page.times[mask], is_bounded, page.prices[mask], page.amounts[mask])


def odd(kind: type[Odd], page: int = 50) -> Ports:
    exchange = kind(series={NODE: {}}, clock=ManualClock(HOUR.end + 7_200), trades_page=page)
    exchange.tape = {NODE: tape_of(WALK)}
    return in_memory_ports(exchange, policy=OF_TRADES)


async def test_the_newest_trades_whatever_was_asked_make_no_bar_of_the_past() -> None:
    class Newest(Odd):
        async def fetch_trades(self, node: NodeId, window: Segment) -> Trades:
            return cut(await super().fetch_trades(node, Segment(HOUR.end + 1_800, HOUR.end + 3_600)), ...)  # type: ignore[arg-type]

    report = await backfill(odd(Newest), NODE, HOUR)
    assert (report.coverage.present, report.coverage.absent) == (0, 0)
    assert any("later" in problem for problem in report.problems)


async def test_a_page_that_leaves_trades_out_leaves_their_bars_missing_and_no_other() -> None:
    lost = START + 1_200.0

    class Leaky(Odd):
        """Whatever is asked of ten minutes, the trades of them do not come, nor those just before."""

        def changed(self, page: Trades) -> Trades:
            is_after = page.asked.start >= lost - 300
            return cut(page, (page.times >= lost + 600) if is_after else (page.times < lost))

    ports = odd(Leaky)
    report = await backfill(ports, NODE, HOUR)
    held = {bar["ts"]: bar for bar in (await ports.hot.load_bars(NODE, HOUR)).to_pylist()}
    assert held == {bar["ts"]: bar for bar in bars_table(INSIDE).to_pylist() if bar["ts"] in held}
    (gap,) = [gap for gap in report.coverage.gaps if gap.reason == "missing"]
    assert gap.start <= lost - 60 and gap.end >= lost + 600 and gap.end - gap.start < 1_200


@pytest.mark.parametrize("size", [120, 240, 1_000])
async def test_pages_of_the_last_trades_before_an_end_are_asked_for_in_shorter_times(size: int) -> None:
    class Last(Odd):
        async def fetch_trades(self, node: NodeId, window: Segment) -> Trades:
            self.trades_page = 10**6
            page = await super().fetch_trades(node, window)
            inside = np.flatnonzero(page.times < window.end)[-size:]
            return cut(page, inside, is_bounded=True)

    ports = odd(Last)
    report = await backfill(ports, NODE, HOUR)
    assert report.coverage.missing == 0
    assert (await ports.hot.load_bars(NODE, HOUR)).to_pylist() == bars_table(INSIDE).to_pylist()


async def test_times_without_trades_that_are_longer_than_a_page_reaches_are_walked_over() -> None:
    quiet = {ts: row for ts, row in random_walk(START - 43_200, START + 90_000).items() if ts % 43_200 < 120}

    class HourAtOnce(Odd):
        def changed(self, page: Trades) -> Trades:
            return cut(page, page.times < page.asked.start + 3_600)

    exchange = HourAtOnce(series={NODE: {}}, clock=ManualClock(START + 100_000), tape={NODE: tape_of(quiet)})
    ports = in_memory_ports(exchange, policy=OF_TRADES)
    report = await backfill(ports, NODE, Segment(START, START + 86_400))
    assert (report.coverage.missing, report.coverage.present) == (0, 4)


async def test_what_is_not_followed_by_a_trade_yet_is_missing_and_looked_for_again() -> None:
    ports, exchange = world(OF_TRADES, {}, {ts: row for ts, row in WALK.items() if ts < HOUR.end - 600})
    assert isinstance(exchange.clock, ManualClock)
    exchange.clock.time = HOUR.end + 1.0
    report = await backfill(ports, NODE, HOUR)
    assert report.coverage.missing >= 10
    exchange.tape[NODE] = tape_of(WALK)
    exchange.clock.time += 7_200
    assert (await backfill(ports, NODE, HOUR)).coverage.missing == 0


async def test_an_outage_in_the_middle_keeps_what_was_read() -> None:
    class Breaks(Odd):
        async def fetch_trades(self, node: NodeId, window: Segment) -> Trades:
            if window.start > START + 1_800:
                raise ExchangeUnavailable("down", status=503)
            return await super().fetch_trades(node, window)

    ports = odd(Breaks)
    ports = replace(ports, policy=replace(OF_TRADES, max_attempts=1))
    report = await backfill(ports, NODE, HOUR)
    assert report.problems == ("down",)
    assert 0 < report.coverage.missing <= 31


@pytest.mark.parametrize("refusal", ["no price", "refused"])
async def test_trades_that_cannot_be_read_make_nothing(refusal: str) -> None:
    class Broken(Odd):
        async def fetch_trades(self, node: NodeId, window: Segment) -> Trades:
            if refusal == "refused":
                raise ExchangeRefused("no trades for you", status=403)
            page = await super().fetch_trades(node, window)
            return Trades(page.asked, page.times)

    report = await backfill(odd(Broken), NODE, HOUR)
    assert report.coverage.missing == 60
    assert report.problems


@settings(max_examples=30, deadline=None)
@given(
    instants=st.lists(st.integers(0, 12), min_size=1, max_size=250).map(sorted),
    page=st.integers(50, 90),
)
async def test_tapes_hold_every_trade_of_what_they_know_whatever_pages_come(
    instants: list[int], page: int
) -> None:
    """Trades of one instant may be cut by the end of a page; more of them than a page holds are told of."""
    trades = [(START + at / 4, 100.0 + number, 1.0) for number, at in enumerate(instants)]
    exchange = InMemoryExchange(
        series={NODE: {}}, clock=ManualClock(START + 9_000), tape={NODE: trades}, trades_page=page
    )
    ports = in_memory_ports(exchange, policy=OF_TRADES)
    reading = await read_tapes(ports, NODE, Segment(START, START + 60), START + 8_000)
    for tape in reading.tapes:
        inside = [price for at, price, _ in trades if tape.start < at < tape.end]
        times, prices, _ = tape.values
        held = prices[(times > tape.start) & (times < tape.end)]
        assert held.tolist() == inside


async def test_what_bars_are_made_of_outlives_a_compaction_and_the_repair_that_made_them() -> None:
    """Days that end a month, sealed by day and merged, and sealed again by settings without the repair."""
    days = Segment(START + 29 * 86_400, START + 31 * 86_400)
    every = random_walk(days.start - 3_600, days.end + 7_200)
    holey = {ts: row for ts, row in every.items() if ts - days.start not in (600, 660, 88_200)}
    ports, exchange = world(REPAIRED, holey, every, page=1_000)
    assert isinstance(exchange.clock, ManualClock)
    exchange.clock.time = days.end + 3_600
    await materialize(ports, NODE, days)
    made = [
        one
        for ref in (await ports.artifacts.load_snapshot(NODE)).artifacts
        for one in (await ports.artifacts.load_manifest(NODE, ref)).from_trades
    ]
    assert [(one.start - days.start, one.end - one.start) for one in made] == [(600, 120), (88_200, 60)]
    assert (await compact(ports, NODE)).after == 1
    assert list((await newest_manifest(ports)).from_trades) == made

    exchange.series[NODE][days.start + 1_200] = (1.0, 2.0, 0.5, 1.5, 3.0)
    later = in_memory_ports(exchange, policy=CANDLES, artifacts=ports.artifacts)
    assert (await sample_drift(later, NODE, 10_000)).revision.removed == 0
    await materialize(later, NODE, days)
    snapshot = await later.artifacts.load_snapshot(NODE)
    assert snapshot.release is not None and snapshot.release.revisions
    manifests = [await later.artifacts.load_manifest(NODE, ref) for ref in snapshot.artifacts]
    assert [one for manifest in manifests for one in manifest.from_trades] == made
