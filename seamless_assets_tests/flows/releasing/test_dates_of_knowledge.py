"""What was found out after a release outweighs it, by whichever clock; what was known before it does not."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest
from support.exchanges import Contradicting

from seamless_assets.core.bars.table import empty_bars
from seamless_assets.core.calendar.instant import epoch_micros
from seamless_assets.core.calendar.segment import Segment
from seamless_assets.core.coverage.ledger import CLOCK_TOLERANCE_S, DENIED, Fact, facts_of
from seamless_assets.core.node import NodeId
from seamless_assets.core.reading.context import ComputeContext
from seamless_assets.core.releases.artifact import Manifest
from seamless_assets.core.releases.release import LEAST_STEP_MICROS, Release
from seamless_assets.core.sharing.policy import Policy
from seamless_assets.flows.filling.backfill import refill
from seamless_assets.flows.filling.clocks import recorded_now
from seamless_assets.flows.filling.declare import declare, revoke
from seamless_assets.flows.filling.history import coverage
from seamless_assets.flows.reading.gather import gather_blended
from seamless_assets.flows.reading.read import read_released
from seamless_assets.flows.releasing import compact as compacting
from seamless_assets.flows.releasing.compact import compact
from seamless_assets.flows.releasing.govern import release_by_hand, withdraw
from seamless_assets.flows.releasing.materialize import materialize, publish
from seamless_assets.flows.releasing.verify import verify
from seamless_assets.testing import DAY, START, InMemoryExchange, ManualClock, in_memory_ports, random_walk

NODE = NodeId.parse("ohlcv:binance:BTC/USDT:1h")
FIRST = START + 362 * DAY
DAYS = Segment(FIRST, FIRST + 3 * DAY)
"""The last days of the year 2025."""
HOLE_DAY = "2025-12-30"
GOOD = "2026-01-02T00:00:00.000000Z"
HOLE = Segment(FIRST + 30 * 3_600, FIRST + 36 * 3_600)
POLICY = Policy(
    retry_backoff_ms=10,
    lease_ttl_ms=float("inf"),
    partition_units={"1h": "day"},
    coverage_ratio_threshold=0.5,
)
OFFSETS = (0.0, -1.0, -4.0, -6.0, -60.0, -CLOCK_TOLERANCE_S + 100, 60.0)
"""Seconds by which a clock is ahead of the others."""
FAR_OFFSETS = (-3_600.0, -40.0 * DAY, 3_600.0, 40.0 * DAY)
"""Those that the exchange's clock contradicts."""


class World:
    """A market in which nobody traded for hours, and two machines; the clock of the other one is `off`."""

    def __init__(self, off: float = 0.0, *, is_told: bool = False) -> None:
        self.clock = ManualClock(time=DAYS.end + 3 * DAY)
        bars = random_walk(DAYS.start - 31 * DAY, DAYS.end + 2 * DAY, step=3_600, seed=3)
        self.truth = {ts: row for ts, row in bars.items() if not HOLE.start <= ts < HOLE.end}
        self.exchange = InMemoryExchange(
            dict(self.truth), self.clock, trades=[ts + 60.0 for ts in self.truth]
        )
        self.ports = in_memory_ports(self.exchange, policy=POLICY)
        self._off, self._skew = off, -off if is_told else 0.0

    async def released(self, gap: float = 20.0) -> Release:
        """What the first machine releases, so many seconds before the other one goes on."""
        await materialize(self.ports, NODE, DAYS)
        self.clock.time += gap
        clock = ManualClock(time=self.clock.time + self._off)
        source: Any = Contradicting(self.exchange, self._skew)
        self.other = replace(self.ports, clock=clock, source=source)
        found = (await self.ports.artifacts.load_snapshot(NODE)).release
        assert found is not None
        return found

    async def record(self, reason: str) -> None:
        """The ledger is told of the hole now."""
        self.clock.time += 60
        now = self.clock.time
        fact = Fact(*HOLE, reason, "test", now)
        await self.ports.hot.write_bars(NODE, empty_bars(), [fact], recorded_at=now)
        self.clock.time += 60

    async def missing(self) -> int:
        return (await coverage(self.ports, NODE, DAYS)).missing


async def trades_are_found(world: World) -> bool:
    """The exchange shows trades in the hole."""
    await world.released()
    assert await world.missing() == 0
    world.exchange.trades = sorted([*(world.exchange.trades or []), *map(float, range(*HOLE, 600))])
    await refill(world.other, NODE, HOLE, DAYS.end)
    return await world.missing() == 6


async def what_was_declared_is_revoked(world: World) -> bool:
    world.exchange.trades = []
    await declare(world.ports, NODE, HOLE, "outage", "", "ann")
    await world.released()
    assert (await coverage(world.ports, NODE, DAYS)).declared == 6
    await revoke(world.other, NODE, HOLE, "", "bob")
    return await world.missing() == 6


async def bars_are_corrected(world: World) -> bool:
    """The exchange gives a bar another volume, and is away when that is to be released."""
    await world.released()
    ts = HOLE.end
    world.exchange.bars[ts] = (*world.truth[ts][:4], 777.0)
    await refill(world.other, NODE, Segment(ts, ts + 3_600), DAYS.end)
    await publish(world.ports, NODE, DAYS)
    await release_by_hand(world.ports, NODE, "corrected")
    bars = (await read_released(world.ports, NODE, DAYS, ComputeContext(), columns=None)).bars
    return 777.0 in bars.column("volume").to_pylist()


FOUND = (trades_are_found, what_was_declared_is_revoked, bars_are_corrected)


@pytest.mark.parametrize("off", OFFSETS)
@pytest.mark.parametrize("found", FOUND, ids=lambda found: found.__name__)
async def test_what_is_found_out_after_a_release_is_newer_than_it_by_any_clock(
    found: Callable[[World], Awaitable[bool]], off: float
) -> None:
    assert await found(World(off))


@pytest.mark.parametrize("off", FAR_OFFSETS)
@pytest.mark.parametrize("found", FOUND, ids=lambda found: found.__name__)
async def test_a_clock_that_the_exchange_contradicts_dates_nothing(
    found: Callable[[World], Awaitable[bool]], off: float
) -> None:
    assert await found(World(off, is_told=True))


@pytest.mark.parametrize("ahead", [0.0, 1.0, CLOCK_TOLERANCE_S - 1, CLOCK_TOLERANCE_S + 1, 400.0 * DAY])
async def test_a_release_that_lies_too_far_ahead_moves_no_date(ahead: float) -> None:
    world = World()
    as_of = epoch_micros((await world.released(gap=0.0)).as_of, "as_of") / 1e6
    own = as_of - ahead
    world.other.clock.time = own  # type: ignore[attr-defined]
    at = await recorded_now(world.other, NODE)
    is_moved = ahead < CLOCK_TOLERANCE_S
    assert as_of < at <= as_of + LEAST_STEP_MICROS / 1e6 if is_moved else at == own


async def test_what_is_found_out_by_a_slow_clock_keeps_its_order_and_goes_before_the_next_release() -> None:
    world = World(off=-500.0)
    release = await world.released(gap=0.0)
    as_of, found = epoch_micros(release.as_of, "as_of") / 1e6, list[float]()
    for _ in range(540):
        found.append(await recorded_now(world.other, NODE))
        world.other.clock.time += 1.0  # type: ignore[attr-defined]
    assert found == sorted(set(found)) and as_of < found[0]
    slow = [at for at, own in zip(found, range(-500, 0), strict=False) if own < 0]
    assert slow[-1] <= as_of + LEAST_STEP_MICROS / 1e6


async def test_looks_in_vain_are_dated_by_our_own_clock() -> None:
    world = World(off=-60.0)
    await world.released()
    world.exchange.bars = {ts: row for ts, row in world.truth.items() if ts < HOLE.end}
    await refill(world.other, NODE, Segment(HOLE.end, HOLE.end + DAY), HOLE.end + DAY)
    facts = facts_of(await world.ports.hot.load_facts(NODE, Segment(FIRST, FIRST + 5 * DAY)))
    own = world.other.clock.now()
    assert all(abs(fact.recorded_at - own) < 30 for fact in facts if fact.reason == "missing")


@pytest.mark.parametrize("merged", [0, 1, 2])
@pytest.mark.parametrize("is_old", [False, True], ids=["", "merged by an earlier version"])
@pytest.mark.parametrize("first", ["sealed", "denied"])
async def test_a_denial_counts_where_it_came_after_the_sealing_however_often_that_was_merged(
    merged: int, is_old: bool, first: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was sealed waits for a person, who releases it after the denial."""
    if is_old:
        monkeypatch.setattr(compacting, "sealed_record", lambda _: {})
    world = World()
    await world.released()
    if merged == 2:
        # The last of November too, so that months are left to be merged into a year.
        await materialize(world.ports, NODE, Segment(DAYS.end - 32 * DAY, DAYS.end))
    await withdraw(world.ports, NODE, HOLE_DAY, "to be seen")
    if first == "denied":
        await world.record(DENIED)
        older = world.ports.hot
        await world.record("no_trades")
        # Another content, so that it is sealed anew.
        world.exchange.bars[DAYS.start] = (*world.truth[DAYS.start][:4], 777.0)
        world.exchange.bars[HOLE.end] = (*world.truth[HOLE.end][:4], 777.0)
        await materialize(world.ports, NODE, DAYS)
        _forget_last_fact(older)
    else:
        await world.record(DENIED)
    await release_by_hand(world.ports, NODE, "seen")
    expected = 6 if first == "sealed" else 0
    assert await world.missing() == expected
    for unit, left in (("month", merged), ("year", 1))[:merged]:
        world.clock.time += 60
        assert (await compact(world.ports, NODE, unit)).after == left  # type: ignore[arg-type]
        assert await world.missing() == expected
    assert (await verify(world.ports, NODE)).is_sound


def _forget_last_fact(hot: object) -> None:
    hot.facts[NODE].pop()  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "said",
    [
        None,
        5,
        "x",
        [],
        [{"start": 1}],
        [{"start": 0, "end": 9, "as_of": "zzzz"}],
        [{"start": "a"}],
        {"a": 1},
        [{"start": DAYS.end, "end": DAYS.start, "as_of": GOOD}],
        [{"start": DAYS.start, "end": DAYS.end - DAY, "as_of": GOOD}],
        [{"start": start, "end": start + DAY, "as_of": GOOD} for start in (DAYS.end - DAY, DAYS.start)],
    ],
    ids=json.dumps,
)
async def test_hostile_dates_in_a_merged_manifest_are_as_if_they_were_not_there(
    said: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compacting, "sealed_record", lambda _: {"sealed": said})
    world = World()
    await world.released()
    await compact(world.ports, NODE, "month")
    await world.record(DENIED)
    assert await world.missing() == 6
    snapshot = await world.ports.artifacts.load_snapshot(NODE)
    manifest: Manifest = await world.ports.artifacts.load_manifest(NODE, snapshot.artifacts[0])
    assert manifest.sealed == ()


@pytest.mark.parametrize("is_bound", [False, True], ids=["newest", "bound before it"])
@pytest.mark.parametrize("reason", ["no_trades", "outage", "halted"])
async def test_a_live_read_takes_no_proof_that_a_later_release_outweighs(reason: str, is_bound: bool) -> None:
    """The ledger is set back to before the release, which has the bars as missing."""
    world = World()
    await materialize(world.ports, NODE, Segment(FIRST, FIRST + DAY))
    bound = await world.ports.artifacts.load_snapshot(NODE)
    await world.record(reason)
    older = list(world.ports.hot.facts[NODE])  # type: ignore[attr-defined]
    await world.record(DENIED)
    world.exchange.is_away = True
    await materialize(world.ports, NODE, DAYS)
    world.exchange.is_away = False
    await refill(world.ports, NODE, Segment(HOLE.end, DAYS.end), DAYS.end)
    world.ports.hot.facts[NODE] = older  # type: ignore[attr-defined]
    snapshot = bound if is_bound else await world.ports.artifacts.load_snapshot(NODE)
    known = await coverage(world.ports, NODE, DAYS)
    seen = await gather_blended(world.ports, NODE, DAYS, snapshot, None)
    assert seen.coverage.gaps == known.gaps
