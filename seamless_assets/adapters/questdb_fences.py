"""Fences on a server without compare-and-set: who has written, who is writing, and who must be outranked.

A holder raises its fence and waits until everybody can see it, and only then looks for others. Of two
holders at least one therefore sees the other: the older one steps back, or the newer one sends every bar of
its chunk with its own token, so that nothing the older one still sends can win.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from seamless_assets.adapters.questdb_client import QuestDbClient, literal
from seamless_assets.adapters.questdb_schema import FACTS, FENCES
from seamless_assets.core.lease import Fence
from seamless_assets.core.node import NodeId
from seamless_assets.core.segment import Segment


@dataclass(frozen=True, slots=True)
class Look:
    """What a writer finds: the server's time (epoch µs), the newest token, the newest one of an older holder
    that has not finished, and the last number in the node's ledger; 0 where there is none."""

    now: int
    newest: int
    unfinished: int
    last_fact: int


async def look(client: QuestDbClient, node: NodeId, span: Segment, token: int) -> Look:
    """What stands in the way of a write to `span` with `token`. Raises `HotStoreError`."""
    name = literal(str(node))
    touching = f'FROM {FENCES} WHERE node = {name} AND start < {span.end} AND "end" > {span.start}'
    rows = await client.execute(
        "SELECT 'now' what, cast(now() AS LONG) value FROM long_sequence(1) "
        f"UNION ALL SELECT 'newest', max(token) {touching} "
        f"UNION ALL SELECT 'unfinished', max(token) {touching} AND NOT done AND token < {token} "
        f"UNION ALL SELECT 'last', max(seq) FROM {FACTS} WHERE node = {name}"
    )
    found = {what: int(value or 0) for what, value in rows}
    return Look(found["now"], found["newest"], found["unfinished"], found["last"])


@asynccontextmanager
async def raised(client: QuestDbClient, node: NodeId, fence: Fence | None) -> AsyncIterator[None]:
    """Hold a fence up for everybody to see while a write goes on; nothing for None.

    A write that fails leaves it up, as its rows may still come. Raises `HotStoreError`.
    """
    if fence is None:
        yield
        return
    start, end = fence.chunk
    key = f"cast({int(time.time() * 1_000_000)} AS TIMESTAMP), {literal(str(node))}, {secrets.randbits(62)}"
    row = f'INSERT INTO {FENCES} (ts, node, writer, start, "end", token, done) VALUES ({key}, {start}, {end}'
    await client.execute(f"{row}, {fence.token}, false)")
    await client.await_applied(FENCES)
    yield
    await client.execute(f"{row}, {fence.token}, true)")
