"""Which partitions of a derived node are due, from release logs alone."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa
import pytest
from dagster import AssetKey, DailyPartitionsDefinition
from support.ports import embedded_ports

from seamless_assets.core.calendar.partition import Partition, PartitionUnit, partition_of_key
from seamless_assets.core.calendar.segment import Segment
from seamless_assets.core.deriving.inputs import DerivationInput
from seamless_assets.core.node import NodeId
from seamless_assets.core.reading.context import ComputeContext
from seamless_assets.defs.derived.due import due_partitions, load_lineage
from seamless_assets.defs.derived.nodes import DerivedNode
from seamless_assets.flows.deriving.publish import publish_derived
from seamless_assets.flows.ports import Ports
from seamless_assets.flows.reading.read import read_released
from seamless_assets.flows.releasing.compact import compact
from seamless_assets.flows.releasing.govern import rollback, withdraw
from seamless_assets.flows.releasing.materialize import materialize
from seamless_assets.testing import DAY, START, InMemoryExchange, ManualClock, bars_table, random_walk

HOURS, OTHER = (NodeId.parse(f"ohlcv:binance:{symbol}/USDT:1h") for symbol in ("BTC", "ETH"))
DERIVED = DerivedNode(
    NodeId.parse("ohlcv:research:BTC/USDT:4h"),
    AssetKey(["four"]),
    DailyPartitionsDefinition("2025-01-01", end_offset=1),
    "day",
    (HOURS, OTHER),
    takes_ranges=True,
)
MONTH = Segment(START, START + 31 * DAY)


@dataclass
class World:
    """Two nodes of hours in months, and four-hour bars of both in days, on a clock of our own."""

    exchange: InMemoryExchange
    clock: ManualClock
    ports: Ports
    look_back: int = 0

    async def at(self, days: float, *nodes: NodeId) -> None:
        """So many days after the start nodes are materialized, both unless told."""
        self.clock.time = START + days * DAY
        for node in nodes or (HOURS, OTHER):
            assert (await materialize(self.ports, node, MONTH)).released

    async def due(self, count: int = 40, derived: DerivedNode = DERIVED) -> list[str]:
        found = await due_partitions(self.ports, derived, await load_lineage(self.ports, derived), count)
        return [part.key for part in found]

    async def derive(self, *keys: str, unit: PartitionUnit = "day") -> None:
        for key in keys:
            part = partition_of_key(DERIVED.node.timeframe, unit, key)
            inputs, until = [], part.window.end
            for node in (HOURS, OTHER):
                snapshot = await self.ports.artifacts.load_snapshot(node)
                assert snapshot.release is not None
                until = min(until, snapshot.artifacts[-1].end)
                window = Segment(max(START, part.window.start - self.look_back), until)
                context = ComputeContext(as_of=snapshot.release.as_of)
                read = await read_released(self.ports, node, window, context, columns=None)
                inputs.append(
                    DerivationInput.of(
                        node,
                        window,
                        read.bars,
                        read.metadata.gaps,
                        conformance_version="v2",
                        as_of=snapshot.release.as_of,
                        dataset_fingerprint=snapshot.release.dataset_fingerprint,
                    )
                )
            report = await publish_derived(self.ports, DERIVED.node, part, until, four_hours(part), inputs)
            assert report.released

    async def correct(self, ts: int) -> None:
        """The exchange corrects an hour, and it is materialized anew."""
        o, h, low, c, v = self.exchange.bars[ts]
        self.exchange.bars[ts] = (o, h * 1.5, low, c, v)
        assert (await materialize(self.ports, HOURS, MONTH)).released


def four_hours(part: Partition) -> pa.Table:
    return bars_table(dict.fromkeys(range(*part.window, 4 * 3600), (1.0, 2.0, 0.5, 1.5, 3.0)))


@pytest.fixture
def world(tmp_path: Path) -> World:
    clock = ManualClock()
    exchange = InMemoryExchange(random_walk(START - DAY, START + 31 * DAY, step=3600), clock)
    return World(exchange, clock, embedded_ports(tmp_path, exchange))


async def test_what_all_inputs_hold_is_due_and_nothing_twice(world: World) -> None:
    assert await world.due() == []
    await world.at(2.5, HOURS)
    assert await world.due() == []
    await world.at(2.5, OTHER)
    assert await world.due() == ["2025-01-01", "2025-01-02", "2025-01-03"]
    assert await world.due(count=2) == ["2025-01-02", "2025-01-03"]
    await world.derive(*await world.due())
    assert await world.due() == []
    # An hour more makes no bar of four; three do, and of the day that is not over alone.
    await world.at(2.5 + 1 / 24)
    assert await world.due() == []
    await world.at(2.5 + 5 / 24)
    assert await world.due() == ["2025-01-03"]


async def test_a_month_that_grows_makes_no_day_due_that_did_not_change(world: World) -> None:
    await world.at(2.5)
    await world.derive(*await world.due())
    await world.at(4.5)
    assert await world.due() == ["2025-01-03", "2025-01-04", "2025-01-05"]
    assert await world.due(count=1) == ["2025-01-05"]


async def test_a_correction_makes_due_what_was_made_of_it_however_old(world: World) -> None:
    world.look_back = DAY
    await world.at(10.5)
    await world.derive(*await world.due())
    await world.correct(START + 3 * DAY + 7200)
    assert await world.due(count=1) == ["2025-01-04", "2025-01-05"]
    await world.derive("2025-01-04", "2025-01-05")
    assert await world.due() == []


async def test_neither_compaction_nor_what_is_out_of_force_makes_anything_due(world: World) -> None:
    await world.at(33)
    await world.derive("2025-01-04", "2025-01-05")
    due = await world.due()
    assert not {"2025-01-04", "2025-01-05"} & set(due)
    for node, unit in ((HOURS, "year"), (DERIVED.node, "month")):
        await compact(world.ports, node, unit)
    assert await world.due() == due
    await world.correct(START + 3 * DAY + 7200)
    assert (await world.due(count=1))[:1] == ["2025-01-04"]
    await withdraw(world.ports, HOURS, "2025-01", "doubtful")
    assert await world.due() == []


async def test_what_a_person_pinned_is_left_alone(world: World) -> None:
    await world.at(10.5)
    await world.derive("2025-01-04", "2025-01-05")
    await withdraw(world.ports, DERIVED.node, "2025-01-04", "doubtful")
    assert "2025-01-04" not in await world.due()
    await world.correct(START + 3 * DAY + 7200)
    assert not {"2025-01-04", "2025-01-05"} & set(await world.due())
    await rollback(world.ports, HOURS, "the correction was none", to=1)
    assert await world.due(count=1) == ["2025-01-11"]


async def test_what_was_derived_in_partitions_of_another_unit_is_due_in_those_of_today(world: World) -> None:
    await world.at(10.5)
    await world.derive("2025-01-04")
    await world.correct(START + 3 * DAY + 7200)
    assert await world.due(derived=replace(DERIVED, unit="month")) == ["2025-01"]


async def test_what_was_derived_of_a_month_is_due_by_its_days(world: World) -> None:
    await world.at(4.5)
    await world.derive("2025-01", unit="month")
    assert await world.due() == []
    await world.correct(START + 3 * DAY + 7200)
    assert await world.due() == [f"2025-01-0{day}" for day in range(1, 6)]
