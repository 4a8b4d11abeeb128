"""How often a QuestDB server is asked by one write: each call is paid by every node in every minute."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from adapters.conftest import address, table
from adapters.test_hot_store_faults import opened
from support.services import QuestDbServer

from seamless_assets.adapters.questdb.store import QuestDbHotStore
from seamless_assets.core.bars.table import Written
from seamless_assets.core.calendar.segment import Segment
from seamless_assets.core.coverage.ledger import Fact
from seamless_assets.core.node import NodeId
from seamless_assets.core.sharing.lease import Fence
from seamless_assets.testing import DAY, START, random_walk

FENCE = Fence(Segment(START, START + DAY), 1_736_000_000_000_000)
BARS = random_walk(START, START + 120)
FACT = Fact(START + 120, START + 180, "no_trades", "bars on both sides", 1.0)


def kind(asked: str) -> str:
    """What a statement is there for; rows are sent with the name of their table."""
    words = {
        "INSERT": "fence",
        "wal_tables": "applied",
        "swept": "look",
        "max(ts)": "held",
        "seq": "last fact",
    }
    return next((name for word, name in words.items() if word in asked), "bars" if " " in asked else "rows")


def listened_to(store: QuestDbHotStore) -> list[str]:
    """The calls that the store makes from here on; asking again whether rows are applied counts once."""
    calls: list[str] = []
    client = store._client

    def heard(call: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        async def say(sql: str, *arguments: Any) -> Any:
            said = kind(sql)
            if (said, calls[-1:]) != ("applied", ["applied"]):
                calls.append(said)
            return await call(sql, *arguments)

        return say

    for method in ("execute", "fetch", "export", "ingest"):
        setattr(client, method, heard(getattr(client, method)))
    return calls


@pytest.mark.parametrize(
    ("bars", "facts", "expected"),
    [
        (BARS, [], ["fence", "look", "bars", "rows", "applied", "look", "fence"]),
        ({}, [FACT], ["fence", "look", "last fact", "rows", "applied", "look", "fence"]),
        ({}, [], ["fence", "look", "fence"]),
    ],
    ids=["bars", "facts", "nothing"],
)
async def test_a_small_write_under_a_lease_is_seven_calls(
    questdb_server: QuestDbServer,
    node: NodeId,
    bars: dict[int, tuple[float, ...]],
    facts: list[Fact],
    expected: list[str],
) -> None:
    async with opened(address(questdb_server)) as store:
        await store.load_bars(node, FENCE.chunk)
        calls, brought = listened_to(store), table(bars) if bars else table(BARS).slice(0, 0)
        assert await store.write_bars(node, brought, facts, recorded_at=1.0, fence=FENCE) == Written(
            len(bars), 0
        )
        # A server that is slow to show the fence is asked again.
        assert calls in (expected, [*expected[:2], "applied", "look", *expected[2:]])


async def test_a_write_that_brings_nothing_new_sends_nothing(
    questdb_server: QuestDbServer, node: NodeId
) -> None:
    async with opened(address(questdb_server)) as store:
        await store.write_bars(node, table(BARS), [], recorded_at=1.0)
        calls = listened_to(store)
        assert await store.write_bars(node, table(BARS), [], recorded_at=2.0) == Written(0, 0)
        assert calls == ["look", "bars"]


async def test_a_long_write_reads_only_what_is_held_already(
    questdb_server: QuestDbServer, node: NodeId
) -> None:
    long = random_walk(START, START + 6 * DAY)
    async with opened(address(questdb_server)) as store:
        await store.load_bars(node, FENCE.chunk)
        calls = listened_to(store)
        assert await store.write_bars(node, table(long), [], recorded_at=1.0) == Written(len(long), 0)
        assert calls == ["look", "held", "rows", "applied", "look"]
        calls.clear()
        assert await store.write_bars(node, table(long), [], recorded_at=2.0) == Written(0, 0)
        assert calls == ["look", "held", "bars"]
