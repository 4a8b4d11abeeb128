"""Declaring bars absent, from the hole that nothing explains to the release, and back."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from seamless_assets.core.bars.table import timestamps
from seamless_assets.core.calendar.segment import Segment
from seamless_assets.core.coverage.coverage import DECLARED, MISSING, Gap
from seamless_assets.core.node import NodeId
from seamless_assets.core.reading.context import ComputeContext
from seamless_assets.core.sharing.policy import Policy
from seamless_assets.errors import InvalidInput
from seamless_assets.flows.filling.backfill import backfill
from seamless_assets.flows.filling.declare import declarations, declare, revoke
from seamless_assets.flows.filling.history import coverage
from seamless_assets.flows.ports import Ports
from seamless_assets.flows.reading.read import read_released
from seamless_assets.flows.releasing.compact import compact
from seamless_assets.flows.releasing.materialize import MaterializeReport, materialize
from seamless_assets.testing import (
    DAY,
    START,
    InMemoryExchange,
    InMemoryHotStore,
    ManualClock,
    in_memory_ports,
    random_walk,
)

NODE = NodeId.parse("ohlcv:binance:BTC/USDT:1m")
FIRST = START - 3 * DAY
DAYS = Segment(FIRST, START)
"""The last days of a month, so that they can be compacted."""
HOLE = Segment(FIRST + DAY - 3_600, FIRST + DAY + 7_200)
"""Over midnight, so two partitions lack a part of it."""
BARS = (HOLE.end - HOLE.start) // 60
POLICY = Policy(retry_backoff_ms=10, lease_ttl_ms=float("inf"))


class World:
    """An exchange that left a hole behind which nothing tells of: no trades, no coarser series."""

    def __init__(self) -> None:
        self.truth = random_walk(FIRST - DAY, FIRST + 4 * DAY)
        shown = {ts: row for ts, row in self.truth.items() if not HOLE.start <= ts < HOLE.end}
        self.exchange = InMemoryExchange(shown, ManualClock(time=FIRST + 5 * DAY), trades=[])
        self.hot = InMemoryHotStore()
        self.ports: Ports = in_memory_ports(self.exchange, policy=POLICY, hot=self.hot)

    async def materialize(self) -> MaterializeReport:
        self.exchange.clock.time += 60  # type: ignore[attr-defined]
        return await materialize(self.ports, NODE, DAYS)

    async def absent(self) -> dict[str, int]:
        known = await coverage(self.ports, NODE, DAYS)
        return {DECLARED: known.declared, MISSING: known.missing, "absent": known.absent}


async def released(ports: Ports) -> dict[str, list[Gap]]:
    """The gaps that the manifests in force tell as declared, by partition."""
    snapshot = await ports.artifacts.load_snapshot(NODE)
    manifests = [await ports.artifacts.load_manifest(NODE, ref) for ref in snapshot.artifacts]
    return {m.partition: [gap for gap in m.absent if gap.reason == DECLARED] for m in manifests}


async def test_what_is_declared_is_released_named_as_such_and_asked_for_no_more() -> None:
    world = World()
    before = await world.materialize()
    assert [part.released for part in before.partitions] == [False, False, True]
    said = await declare(world.ports, NODE, HOLE, "halted", "ticket 7", "ann@desk")
    assert (said.segment, said.reason, said.note, said.by) == (HOLE, "halted", "ticket 7", "ann@desk")
    assert await world.absent() == {DECLARED: BARS, MISSING: 0, "absent": BARS}
    asked = len(world.exchange.asked)
    report = await backfill(world.ports, NODE, DAYS)
    assert report.fetched == () and len(world.exchange.asked) == asked
    after = await world.materialize()
    assert after.released and (after.coverage.declared, after.coverage.missing) == (BARS, 0)
    assert after.coverage.ratio == 1.0 > after.coverage.held_ratio
    assert await released(world.ports) == {
        "2024-12-29": [Gap(HOLE.start, FIRST + DAY, DECLARED)],
        "2024-12-30": [Gap(FIRST + DAY, HOLE.end, DECLARED)],
        "2024-12-31": [],
    }
    read = await read_released(world.ports, NODE, DAYS, ComputeContext(), columns=None)
    assert [gap for gap in read.metadata.gaps if gap.reason == DECLARED] == [Gap(*HOLE, DECLARED)]
    assert [reason.split(":")[0] for reason in read.metadata.reasons] == ["bars_declared_absent"]
    assert read.metadata.verdict == "PASS"


@pytest.mark.parametrize("is_compacted", [False, True])
async def test_what_was_released_as_declared_outlives_the_ledger(is_compacted: bool) -> None:
    world = World()
    await declare(world.ports, NODE, HOLE, "outage", "", "ann")
    await world.materialize()
    if is_compacted:
        assert (await compact(world.ports, NODE, "month")).after == 1
    fingerprint = (await world.ports.artifacts.load_snapshot(NODE)).dataset_fingerprint
    for number in range(2):
        world.hot.facts.clear()
        assert (await world.absent())[DECLARED] == BARS
        world.ports = replace(world.ports, hot=InMemoryHotStore())
        again = await world.materialize()
        assert again.released and again.coverage.declared == BARS
        assert again.dataset_fingerprint == fingerprint
        # A bar that is corrected makes a new artifact, which says who declared its others absent too.
        ts = FIRST + DAY - 7_200 - number * 60
        row = world.exchange.bars[ts]
        world.exchange.bars[ts] = (*row[:4], row[4] + 1)
        changed = await world.materialize()
        assert changed.released and changed.dataset_fingerprint != fingerprint
        fingerprint = changed.dataset_fingerprint
        snapshot = await world.ports.artifacts.load_snapshot(NODE)
        manifest = await world.ports.artifacts.load_manifest(NODE, snapshot.artifacts[0])
        assert {(one.segment, one.reason, one.by) for one in manifest.declared} == {(HOLE, "outage", "ann")}
    # And it can still be taken back.
    await revoke(world.ports, NODE, HOLE, "", "bob")
    assert await world.absent() == {DECLARED: 0, MISSING: BARS, "absent": 0}


async def test_bars_that_come_win_and_the_declaration_says_so() -> None:
    world = World()
    await declare(world.ports, NODE, HOLE, "outage", "", "ann")
    came = list(range(HOLE.start + 600, HOLE.start + 4_200, 60))
    world.exchange.bars.update({ts: world.truth[ts] for ts in came})
    report = await world.materialize()
    assert report.released and report.coverage.declared == BARS - len(came)
    assert any("came that were declared absent" in problem for problem in report.problems)
    (said,) = await declarations(world.ports, NODE, DAYS)
    assert said.contradicted == len(came) and said.in_force == (HOLE,)
    read = await read_released(world.ports, NODE, DAYS, ComputeContext(), columns=None)
    assert set(came) <= set(timestamps(read.bars).tolist())
    # A worker that knows the bars by their release alone counts them too.
    world.hot.bars.clear()
    (said,) = await declarations(world.ports, NODE, DAYS)
    assert said.contradicted == len(came)
    (left,) = await revoke(world.ports, NODE, Segment(came[0], came[-1] + 60), "they came", "bob")
    assert left.contradicted == 0 and len(left.in_force) == 2
    assert not any("declared" in problem for problem in (await world.materialize()).problems)


async def test_what_is_revoked_is_missing_and_due_at_once() -> None:
    world = World()
    for _ in range(3):
        await world.materialize()
    await declare(world.ports, NODE, HOLE, "other", "who knows", "ann")
    world.exchange.bars = dict(world.truth)
    assert (await backfill(world.ports, NODE, DAYS)).fetched == ()
    part = Segment(HOLE.start, HOLE.start + 1_800)
    await revoke(world.ports, NODE, part, "", "bob")
    assert await world.absent() == {DECLARED: BARS - 30, MISSING: 30, "absent": BARS - 30}
    report = await backfill(world.ports, NODE, DAYS)
    # Pages overlap, so bars beside the part came too.
    (said,) = await declarations(world.ports, NODE, DAYS)
    assert report.fetched == (part,) and report.coverage.missing == 0
    assert report.coverage.declared == BARS - 30 - said.contradicted and 0 < said.contradicted < BARS - 30


async def test_a_proof_that_comes_later_goes_before_what_was_declared() -> None:
    world = World()
    await declare(world.ports, NODE, HOLE, "outage", "", "ann")
    world.exchange.trades = [
        float(ts) for ts in range(FIRST - DAY, FIRST + 4 * DAY, 60) if ts not in range(*HOLE)
    ]
    await world.materialize()
    assert await world.absent() == {DECLARED: 0, MISSING: 0, "absent": BARS}


@pytest.mark.parametrize(
    ("window", "match"),
    [
        (Segment(FIRST, FIRST), "no whole"),
        (Segment(FIRST + 1, FIRST + 60), "no whole"),
        (Segment(FIRST + 5 * DAY - 60, FIRST + 5 * DAY + 60), "not closed"),
        (Segment(FIRST + 9 * DAY, FIRST + 10 * DAY), "not closed"),
    ],
)
@pytest.mark.parametrize("ahead", [0, 40 * DAY], ids=["clocks agree", "our clock is ahead"])
async def test_what_cannot_be_declared_is_refused_and_leaves_nothing(
    window: Segment, match: str, ahead: int
) -> None:
    world = World()
    ours = ManualClock(time=FIRST + 5 * DAY + ahead)
    ports = in_memory_ports(world.exchange, policy=POLICY, hot=world.hot, clock=ours)
    with pytest.raises(InvalidInput, match=match):
        await declare(ports, NODE, window, "halted", "", None)
    with pytest.raises(InvalidInput, match=r"nothing is declared|no whole"):
        await revoke(ports, NODE, window, "", None)
    assert world.hot.facts == {}


async def test_an_exchange_that_is_away_keeps_nobody_from_declaring() -> None:
    world = World()
    world.exchange.is_away = True
    said = await declare(world.ports, NODE, HOLE, "outage", "", None)
    assert said.by == "test" and said.declared_at == world.ports.clock.now()
    assert (await coverage(world.ports, NODE, HOLE)).declared == BARS


async def test_who_declares_is_told_of_what_they_said_whoever_else_declares_meanwhile() -> None:
    world = World()
    await world.materialize()
    parts = [
        Segment(HOLE.start, HOLE.start + 600),
        HOLE,
        Segment(HOLE.start, HOLE.start + 600),
    ]
    said = await asyncio.gather(
        *(declare(world.ports, NODE, part, "halted", f"ticket {n}", "ann") for n, part in enumerate(parts))
    )
    assert [(one.segment, one.note) for one in said] == [(p, f"ticket {n}") for n, p in enumerate(parts)]
