"""Eviction on a server that drops whole partitions only, without losing what is written meanwhile.

A sweep is announced and seen by everybody before its partition is looked at; a writer looks for sweeps after
its rows are in (`questdb_fences`). So either the sweep sees the rows, or the writer sees the sweep, waits for
its end and sends again what went with the partition.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import NamedTuple

from seamless_assets.adapters.questdb.client import QuestDbClient, literal
from seamless_assets.adapters.questdb.schema import PARTITIONS, SWEEPS
from seamless_assets.core.calendar.segment import Segment
from seamless_assets.core.node import NodeId
from seamless_assets.errors import HotStoreError

PATIENCE = 4
"""A sweep is over after so many times the longest request, whether its end was reported or not."""


@dataclass(frozen=True, slots=True)
class Sweep:
    """One partition on its way out: the table, the time it spans, and the statement's view of both."""

    table: str
    partition: str
    span: Segment
    begun: int
    until: int
    give_up: float


class Held(NamedTuple):
    """From a node's first bar to its last, and the rows they are stored in.

    Every change of a bar is a row more, so what is held has not changed as long as this has not.
    """

    span: Segment
    rows: int


async def partitions(client: QuestDbClient, table: str) -> list[tuple[str, Segment]]:
    """Name and time span of each partition that holds rows. Raises `HotStoreError`."""
    rows = await client.execute(
        f"SELECT name, cast(minTimestamp AS LONG) FROM table_partitions({literal(table)}) "
        "WHERE attached AND numRows > 0"
    )
    unit = PARTITIONS[table]
    opens = [(name, unit.floor(first // 1_000_000)) for name, first in rows]
    return [(name, Segment(start, unit.shift(start, 1))) for name, start in opens]


async def begin(client: QuestDbClient, table: str, partition: str, span: Segment) -> Sweep:
    """Announce a sweep, and return once every writer can see it. Raises `HotStoreError`."""
    give_up = time.monotonic() + (PATIENCE - 1) * client.address.timeout_s
    ((now,),) = await client.execute("SELECT cast(now() AS LONG) FROM long_sequence(1)")
    until = now + int(PATIENCE * client.address.timeout_s * 1_000_000)
    sweep = Sweep(table, partition, span, now, until, give_up)
    await _tell(client, sweep, "null")
    await client.await_applied(SWEEPS)
    return sweep


async def drop(client: QuestDbClient, sweep: Sweep) -> None:
    """Drop the partition. Raises `HotStoreError`, also where the sweep has taken too long to be safe.

    Asked once: a statement that is asked again could drop what writers have sent in between.
    """
    if time.monotonic() > sweep.give_up:
        raise HotStoreError(
            f"looking at partition {sweep.partition} of {sweep.table} took too long, so it stays; evict "
            "again, or raise seamless.hot_store.timeout_ms",
            partition=sweep.partition,
        )
    name = literal(sweep.partition)
    await client.execute_once(f"ALTER TABLE {sweep.table} DROP PARTITION LIST {name}")
    await client.await_applied(sweep.table)


async def end(client: QuestDbClient, sweep: Sweep) -> None:
    """Say that it is over. Raises `HotStoreError`."""
    await _tell(client, sweep, "now()")


async def held_in(client: QuestDbClient, table: str, span: Segment) -> dict[NodeId, Held]:
    """What each node with bars in `span` holds there. Raises `HotStoreError`."""
    rows = await client.execute(
        f"SELECT node, cast(min(ts) AS LONG), cast(max(ts) AS LONG), count() FROM {table} "
        f"WHERE ts >= {span.start * 1_000_000} AND ts < {span.end * 1_000_000}"
    )
    held = {}
    for name, low, high, count in rows:
        node = NodeId.parse(name)
        held[node] = Held(Segment(low // 1_000_000, node.timeframe.shift(high // 1_000_000, 1)), count)
    return held


async def _tell(client: QuestDbClient, sweep: Sweep, ended: str) -> None:
    await client.execute(
        f"INSERT INTO {SWEEPS} VALUES (cast({sweep.begun} AS TIMESTAMP), {literal(sweep.table)}, "
        f"{sweep.span.start}, {sweep.span.end}, cast({sweep.until} AS TIMESTAMP), {ended})"
    )
