"""Nothing that an older, emptied or foreign store says outweighs the release in force.

Hot stores are set back, emptied, and taken from another machine; ledgers are lost; the exchange corrects its
bars back and forth, stays away, and forgets.
"""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seamless_assets.core.bars.table import empty_bars
from seamless_assets.core.calendar.segment import Segment
from seamless_assets.core.coverage.coverage import DECLARED, Coverage, Gap
from seamless_assets.core.coverage.ledger import DENIED, REVOKED, Fact
from seamless_assets.core.node import NodeId
from seamless_assets.core.reading.context import ComputeContext
from seamless_assets.core.sharing.policy import Policy
from seamless_assets.flows.filling.backfill import refill
from seamless_assets.flows.filling.history import coverage, evict
from seamless_assets.flows.reading.read import read_released
from seamless_assets.flows.releasing.compact import compact
from seamless_assets.flows.releasing.govern import rollback
from seamless_assets.flows.releasing.materialize import materialize, publish
from seamless_assets.flows.releasing.verify import verify
from seamless_assets.testing import (
    DAY,
    START,
    InMemoryExchange,
    InMemoryHotStore,
    ManualClock,
    in_memory_ports,
    random_walk,
)

NODE = NodeId.parse("ohlcv:binance:BTC/USDT:1h")
DAYS = Segment(START, START + 2 * DAY)
POLICY = Policy(
    retry_backoff_ms=10,
    lease_ttl_ms=float("inf"),
    partition_units={"1h": "day"},
    keep_days={"day": 0.1, "month": 0.1, "year": 0.1},
)


class World:
    """One exchange and one artifact store; hot stores come and go."""

    def __init__(self) -> None:
        clock = ManualClock(time=START + 5 * DAY)
        bars = random_walk(START - DAY, START + 4 * DAY, step=3_600, skip=0.2, seed=3)
        self.exchange = InMemoryExchange(bars, clock)
        self.hot = InMemoryHotStore()
        self.ports = in_memory_ports(self.exchange, policy=POLICY, hot=self.hot)
        self.backups = [self.hot.backup()]
        self.truth = dict(bars)

    def correct(self, at: int, volume: float) -> None:
        """The exchange gives a bar another volume, perhaps one that it had before."""
        opens = [ts for ts in self.truth if DAYS.start <= ts < DAYS.end]
        ts = opens[at % len(opens)]
        self.truth[ts] = (*self.truth[ts][:4], volume)

    async def materialize(self, serves: str) -> None:
        """An ordinary materialize, the exchange serving all, nothing, or other days alone."""
        self.exchange.is_away = serves == "away"
        self.exchange.bars = {ts: row for ts, row in self.truth.items() if serves == "all" or ts >= DAYS.end}
        await materialize(self.ports, NODE, DAYS)
        self.exchange.is_away, self.exchange.bars = False, dict(self.truth)
        self.exchange.clock.time += 60

    async def record(self, gap: Gap, reason: str) -> None:
        """Add a line to the ledger."""
        self.exchange.clock.time += 60
        now = self.exchange.clock.time
        fact = Fact(gap.start, gap.end, reason, "other by me: test", now)
        await self.ports.hot.write_bars(NODE, empty_bars(), [fact], recorded_at=now)
        self.exchange.clock.time += 60

    async def served(self) -> tuple[dict[int, float], int]:
        """Volumes by open as they are served, and the number of releases."""
        log = await self.ports.artifacts.list_releases(NODE)
        if not log:
            return {}, 0
        bars = (await read_released(self.ports, NODE, DAYS, ComputeContext(), columns=None)).bars
        return dict(zip(bars["ts"].to_pylist(), bars["volume"].to_pylist(), strict=True)), len(log)

    async def act(self, act: str, number: int) -> None:
        """Do what may be done to stores."""
        if act == "back up":
            self.backups.append(self.hot.backup())
        elif act == "set back":
            self.hot.restore(self.backups[number % len(self.backups)])
        elif act == "empty":
            self.hot.restore(InMemoryHotStore())
        elif act == "lose the ledger":
            self.hot.facts.clear()
        elif act == "evict":
            await evict(self.ports, [NODE])
        elif act == "compact":
            await compact(self.ports, NODE, "month")
        elif act == "publish":
            await publish(self.ports, NODE, DAYS)
        elif act == "another machine":
            # It saw the exchange as it is now, and has never released.
            await refill(replace(self.ports, hot=InMemoryHotStore()), NODE, DAYS, DAYS.end)
        self.exchange.clock.time += 60


ACTS = st.sampled_from(
    ["back up", "set back", "empty", "lose the ledger", "evict", "compact", "publish", "another machine"]
)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("correct"), st.integers(0, 40), st.sampled_from([1.0, 2.0, 3.0])),
        st.tuples(st.just("materialize"), st.sampled_from(["all", "all", "away", "other days"]), st.just(0)),
        st.tuples(st.just("act"), ACTS, st.integers(0, 9)),
    ),
    min_size=4,
    max_size=14,
)


@settings(max_examples=15)
@given(steps=STEPS)
async def test_what_is_in_force_outweighs_whatever_stores_say(
    steps: list[tuple[str, object, object]],
) -> None:
    await followed(steps)


@pytest.mark.deep
@settings(max_examples=2_000)
@given(steps=STEPS)
async def test_what_is_in_force_outweighs_whatever_stores_say_at_length(
    steps: list[tuple[str, object, object]],
) -> None:
    await followed(steps)


async def followed(steps: list[tuple[str, object, object]]) -> None:
    world = World()
    await world.materialize("all")
    for kind, what, number in steps:
        before, releases = await world.served()
        if kind == "correct":
            world.correct(what, number)  # type: ignore[arg-type]
        elif kind == "act":
            await world.act(what, number)  # type: ignore[arg-type]
            assert (await world.served())[0] == before
        elif what == "all":
            await world.materialize("all")
            truth = {ts: row[4] for ts, row in world.truth.items() if DAYS.start <= ts < DAYS.end}
            assert (await world.served())[0] == truth
        else:
            await world.materialize(str(what))
            assert await world.served() == (before, releases)
    assert (await verify(world.ports, NODE)).is_sound


async def known(world: World) -> Coverage:
    return await coverage(world.ports, NODE, DAYS)


@pytest.mark.parametrize("lost", ["empty", "lose the ledger", "set back"])
@pytest.mark.parametrize("serves", ["all", "away", "other days"])
async def test_what_was_released_as_absent_stays_so_without_its_ledger(lost: str, serves: str) -> None:
    world = World()
    await world.materialize("all")
    released = await known(world)
    assert released.absent and not released.missing
    await world.act(lost, 0)
    assert await known(world) == released
    await world.materialize(serves)
    assert await known(world) == released
    assert len(await world.ports.artifacts.list_releases(NODE)) == 2


@pytest.mark.parametrize("merged", [False, True])
async def test_a_correction_that_was_fetched_after_the_release_is_newer_than_it(merged: bool) -> None:
    """Though a compaction came later, and though the exchange is away when it is to be released."""
    world = World()
    await world.materialize("all")
    world.correct(3, 7.0)
    world.exchange.bars = dict(world.truth)
    await refill(world.ports, NODE, DAYS, DAYS.end)
    world.exchange.clock.time += 60
    if merged:
        await world.act("compact", 0)
    await world.materialize("away")
    assert 7.0 in (await world.served())[0].values()


@pytest.mark.parametrize("merged", [False, True])
@pytest.mark.parametrize("serves", ["away", "other days"])
async def test_a_value_that_came_back_is_not_undone_by_a_store_that_knew_another(
    merged: bool, serves: str
) -> None:
    """The content that is in force was sealed first of all, long before what the older store holds."""
    world = World()
    await world.materialize("all")
    first = next(row[4] for ts, row in world.truth.items() if ts >= DAYS.start)
    world.correct(0, 7.0)
    await world.materialize("all")
    glitch = world.hot.backup()
    world.correct(0, first)
    await world.materialize("all")
    if merged:
        await world.act("compact", 0)
    before = await world.served()
    world.hot.restore(glitch)
    await world.materialize(serves)
    assert await world.served() == before and first in before[0].values()


@pytest.mark.parametrize("merged", [False, True])
async def test_a_denial_from_before_the_release_is_outweighed_by_it(merged: bool) -> None:
    """As an older ledger has it, or that of another machine; one from after the release counts."""
    world = World()
    await world.materialize("all")
    hole = next(gap for gap in (await known(world)).gaps if gap.reason == "no_trades")
    await world.record(hole, DENIED)
    older = world.hot.backup()
    await world.record(hole, "no_trades")
    # Another release puts the day in force anew.
    world.correct(0, 7.0)
    await world.materialize("all")
    released, served = await known(world), await world.served()
    assert not released.missing
    if merged:
        await world.act("compact", 0)
        served = await world.served()
    world.hot.restore(older)
    await world.materialize("away")
    assert await known(world) == released and await world.served() == served
    await world.record(hole, DENIED)
    assert (await known(world)).missing


async def test_a_denial_counts_though_what_was_sealed_before_it_is_released_after_it() -> None:
    """By a rollback, which puts in force what was known long ago."""
    world = World()
    await world.materialize("all")
    snapshot = await world.ports.artifacts.load_snapshot(NODE)
    assert snapshot.release is not None
    first = snapshot.release.as_of
    hole = next(gap for gap in (await known(world)).gaps if gap.reason == "no_trades")
    world.correct(0, 7.0)
    await world.materialize("all")
    await world.record(hole, DENIED)
    assert (await known(world)).missing
    await rollback(world.ports, NODE, "as it was", as_of=first)
    assert (await known(world)).missing


async def test_a_revocation_from_before_the_release_is_outweighed_by_it() -> None:
    world = World()
    await world.materialize("all")
    hole = next(gap for gap in (await known(world)).gaps if gap.reason == "no_trades")
    await world.record(hole, DENIED)
    await world.record(hole, REVOKED)
    older = world.hot.backup()
    await world.record(hole, DECLARED)
    await world.materialize("away")
    released, served = await known(world), await world.served()
    assert released.declared and not released.missing
    world.hot.restore(older)
    await world.materialize("away")
    assert await known(world) == released and await world.served() == served
    await world.record(hole, REVOKED)
    assert (await known(world)).missing


@pytest.mark.parametrize("serves", ["away", "all"])
async def test_a_proof_from_before_a_release_without_it_is_outweighed_until_it_is_found_anew(
    serves: str,
) -> None:
    world = World()
    world.ports = replace(world.ports, policy=replace(POLICY, coverage_ratio_threshold=0.5))
    await world.materialize("all")
    older = world.hot.backup()
    hole = next(gap for gap in (await known(world)).gaps if gap.reason == "no_trades")
    await world.record(hole, DENIED)
    await world.materialize("away")
    released, served = await known(world), await world.served()
    assert released.missing
    world.hot.restore(older)
    assert await known(world) == released
    await world.materialize(serves)
    if serves == "away":
        assert await known(world) == released and await world.served() == served
    else:
        # The exchange was asked, and its witnesses say once more that nobody traded.
        assert not (await known(world)).missing


async def test_a_release_that_was_dated_ahead_outweighs_nothing_that_is_found_out_now() -> None:
    world = World()
    world.ports = replace(world.ports, policy=replace(POLICY, coverage_ratio_threshold=0.5))
    await world.materialize("all")
    hole = next(gap for gap in (await known(world)).gaps if gap.reason == "no_trades")
    await world.record(hole, DENIED)
    now = world.exchange.clock.time
    world.exchange.clock.time = now + 400 * DAY
    await world.materialize("away")
    world.exchange.clock.time = now
    assert (await known(world)).missing
    await world.record(hole, "no_trades")
    assert not (await known(world)).missing
    await world.record(hole, DENIED)
    assert (await known(world)).missing
