"""Derived bars are sealed and released like those of an exchange, with what they were made of."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pytest
from support.ports import embedded_ports

from seamless_assets.core.calendar.partition import partition_of_key
from seamless_assets.core.calendar.segment import Segment
from seamless_assets.core.deriving.inputs import DerivationInput
from seamless_assets.core.node import NodeId
from seamless_assets.core.reading.context import ComputeContext
from seamless_assets.core.releases.artifact import Manifest
from seamless_assets.errors import InvalidFrame, InvalidInput, ReleaseOutdated
from seamless_assets.flows.deriving.publish import publish_derived
from seamless_assets.flows.ports import Ports
from seamless_assets.flows.reading.read import read_released
from seamless_assets.flows.releasing.govern import withdraw
from seamless_assets.flows.releasing.materialize import PartitionReport, materialize
from seamless_assets.flows.releasing.verify import verify
from seamless_assets.testing import DAY, START, InMemoryExchange, ManualClock, bars_table, random_walk

MINUTES = NodeId.parse("ohlcv:binance:BTC/USDT:1m")
HOURS = NodeId.parse("ohlcv:research:BTC/USDT:1h")
FIRST_DAY = Segment(START, START + DAY)


@dataclass
class World:
    """An exchange, and ports over stores of a folder."""

    exchange: InMemoryExchange
    ports: Ports

    async def derive(
        self, day: Segment = FIRST_DAY, until: int | None = None, as_of: str | None = None
    ) -> PartitionReport:
        """Hours of what is released of a day's minutes, or was at `as_of`."""
        when = as_of or (await self.ports.artifacts.list_releases(MINUTES))[-1].as_of
        read = await read_released(self.ports, MINUTES, day, ComputeContext(as_of=when), columns=None)
        known = read.metadata
        made = DerivationInput.of(
            MINUTES,
            day,
            read.bars,
            known.gaps,
            conformance_version="v2",
            as_of=str(known.as_of),
            dataset_fingerprint=str(known.dataset_fingerprint),
        )
        partition = partition_of_key(HOURS.timeframe, "month", "2025-01")
        return await publish_derived(
            self.ports, HOURS, partition, until or day.end, hours_of(read.bars), [made]
        )

    async def manifest(self) -> Manifest:
        """The manifest of what is in force of the hours."""
        (ref,) = (await self.ports.artifacts.load_snapshot(HOURS)).artifacts
        return await self.ports.artifacts.load_manifest(HOURS, ref)

    async def correct(self, ts: int) -> None:
        """The exchange corrects a bar, and it is materialized anew."""
        o, h, low, c, v = self.exchange.bars[ts]
        self.exchange.bars[ts] = (o, h * 1.5, low, c, v)
        assert (await materialize(self.ports, MINUTES, FIRST_DAY)).released


def hours_of(minutes: pa.Table) -> pa.Table:
    hours: dict[int, tuple[float, ...]] = {}
    for ts, o, h, low, c, v in zip(*(column.to_pylist() for column in minutes.columns), strict=True):
        hour = ts // 3600 * 3600
        first = hours.get(hour, (o, h, low, c, 0.0))
        hours[hour] = (first[0], max(first[1], h), min(first[2], low), c, first[4] + v)
    return bars_table(hours)


@pytest.fixture
async def world(tmp_path: Path) -> World:
    """A day of minutes is released."""
    exchange = InMemoryExchange(random_walk(START - DAY, START + 3 * DAY), ManualClock())
    made = World(exchange, embedded_ports(tmp_path, exchange))
    assert (await materialize(made.ports, MINUTES, FIRST_DAY)).released
    return made


async def test_what_is_derived_is_released_with_the_fingerprints_of_its_inputs(world: World) -> None:
    report = await world.derive()
    assert report.released and report.coverage.present == 24 and not report.problems
    (minutes,) = await world.ports.artifacts.list_releases(MINUTES)
    (hours,) = await world.ports.artifacts.list_releases(HOURS)
    assert hours.as_of >= minutes.as_of and hours.reason == "derived"
    (made,) = (await world.manifest()).inputs
    assert (made.node_id, made.start, made.end, made.rows) == (str(MINUTES), *FIRST_DAY, 1440)
    assert made.fingerprint == minutes.added[0].fingerprint
    assert (made.as_of, made.dataset_fingerprint) == (minutes.as_of, minutes.dataset_fingerprint)
    read = await read_released(world.ports, HOURS, FIRST_DAY, ComputeContext(as_of=hours.as_of), columns=None)
    assert read.bars.num_rows == 24 and read.metadata.verdict == "PASS"
    assert (await verify(world.ports, HOURS)).is_sound


async def test_the_same_bars_of_the_same_inputs_change_nothing(world: World) -> None:
    first = await world.derive()
    await materialize(world.ports, MINUTES, Segment(START + DAY, START + 2 * DAY))
    again = await world.derive()
    assert again.released and again.as_of == first.as_of
    assert len(await world.ports.artifacts.list_releases(HOURS)) == 1


async def test_an_input_that_changed_is_recorded_even_where_the_bars_are_the_same(world: World) -> None:
    first = await world.derive()
    before = await world.manifest()
    ts = START + 90
    o, h, low, c, v = world.exchange.bars[ts // 60 * 60]
    # A close inside the hour is no part of the hour's bar.
    world.exchange.bars[ts // 60 * 60] = (o, h, low, (c + low) / 2, v)
    assert (await materialize(world.ports, MINUTES, FIRST_DAY)).released
    second = await world.derive()
    after = await world.manifest()
    assert second.released and second.as_of > first.as_of
    assert after.dataset_fingerprint == before.dataset_fingerprint
    assert after.inputs[0].content != before.inputs[0].content
    log = await world.ports.artifacts.list_releases(HOURS)
    assert log[-1].dataset_fingerprint == log[0].dataset_fingerprint and log[-1].revisions == ()
    assert (await verify(world.ports, HOURS)).is_sound


async def test_a_correction_of_an_input_is_a_revision_and_nothing_older_takes_its_place(world: World) -> None:
    old = (await world.ports.artifacts.list_releases(MINUTES))[0].as_of
    await world.derive()
    await world.correct(START + 600)
    assert (await world.derive()).released
    log = await world.ports.artifacts.list_releases(HOURS)
    assert [(r.changed, r.examples) for r in log[-1].revisions] == [(1, (START,))]
    with pytest.raises(ReleaseOutdated, match="derive it anew"):
        await world.derive(as_of=old)
    assert await world.ports.artifacts.list_releases(HOURS) == log


async def test_a_running_partition_grows_and_a_bar_that_is_not_over_is_left_out(world: World) -> None:
    early = await world.derive(Segment(START, START + 5 * 3600 + 1800), START + 5 * 3600 + 1800)
    assert early.released and early.coverage.expected == 5
    assert (await world.manifest()).end == START + 5 * 3600
    assert (await world.derive()).coverage.expected == 24
    nothing = await world.derive(Segment(START, START + 1800), START + 1800)
    assert not nothing.released and not nothing.is_settled


async def test_a_bar_that_its_maker_left_out_is_missing_and_blocks(world: World) -> None:
    report = await world.derive(until=START + 2 * DAY)
    assert not report.released and report.sealed is not None
    assert (report.coverage.present, report.coverage.missing) == (24, 24)
    assert "24 of 48 bars are missing without proof" in report.problems[0]
    assert await world.ports.artifacts.list_releases(HOURS) == []


async def test_frames_that_are_no_bars_are_refused_or_blocked(world: World) -> None:
    partition = partition_of_key(HOURS.timeframe, "month", "2025-01")
    await world.derive()
    log, (of,) = await world.ports.artifacts.list_releases(HOURS), (await world.manifest()).inputs
    inputs = [DerivationInput(of, ())]
    bars = hours_of(bars_table({START: (1.0, 2.0, 0.5, 1.5, 3.0)}))
    extra = bars.append_column("mean", pa.array([1.0]))
    with pytest.raises(InvalidFrame, match="the frame holds mean too"):
        await publish_derived(world.ports, HOURS, partition, START + 3600, extra, inputs)
    broken = bars_table({START: (1.0, 0.1, 0.5, 1.5, 3.0)})
    lacking = bars.drop_columns("close")
    for frame, named in ((broken, "ohlc_inconsistent"), (lacking, "missing_column")):
        report = await publish_derived(world.ports, HOURS, partition, START + 3600, frame, inputs)
        assert not report.released and named in report.problems[0]
    with pytest.raises(InvalidInput, match="made of no node"):
        await publish_derived(world.ports, HOURS, partition, START + 3600, bars, [])
    assert await world.ports.artifacts.list_releases(HOURS) == log


async def test_what_was_withdrawn_waits_for_a_release_by_hand(world: World) -> None:
    await world.derive()
    await withdraw(world.ports, HOURS, "2025-01", "doubtful")
    report = await world.derive()
    assert not report.released and "waits for a release by hand" in report.problems[0]
