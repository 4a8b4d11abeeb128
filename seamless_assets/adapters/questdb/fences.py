"""What stands in the way of a write, on a server without compare-and-set: other writers, and evictions.

A holder raises its fence and waits until everybody can see it, and only then looks for others. Of two
holders at least one therefore sees the other: the older one steps back, or the newer one sends every bar of
its chunk with its own token, so that nothing the older one still sends can win.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import numpy as np

from seamless_assets.adapters.questdb.client import (
    FIRST_POLL_S,
    LONGEST_POLL_S,
    Patience,
    QuestDbClient,
    literal,
)
from seamless_assets.adapters.questdb.schema import FACTS, FENCES, SWEEPS, bars_table
from seamless_assets.core.calendar.instant import seconds_text
from seamless_assets.core.calendar.segment import Segment
from seamless_assets.core.node import NodeId
from seamless_assets.core.sharing.lease import MAX_TOKEN, Fence, outranked
from seamless_assets.errors import HotStoreError

_LOOK = f"""SELECT
    cast(now() AS LONG), coalesce(newest, 0), coalesce(unfinished, 0), coalesce(raised, 0), coalesce(swept, 0)
FROM (
    SELECT max(token) newest, max(CASE WHEN NOT done AND token < %s THEN token END) unfinished,
        sum(CASE WHEN writer = %s THEN 1 ELSE 0 END) raised
    FROM {FENCES} WHERE node = %s AND start < %s AND "end" > %s AND token <= {MAX_TOKEN}
) CROSS JOIN (
    SELECT cast(max(coalesce(ended, until)) AS LONG) swept
    FROM {SWEEPS} WHERE bars = %s AND start < %s AND "end" > %s AND ts <= now()
)"""
# A sweep that begins in the future was announced by a clock that was wrong, and is over.


@dataclass(frozen=True, slots=True)
class Look:
    """What a writer finds: the server's time (epoch µs), the newest token, the newest one of an older holder
    that has not finished, and when the last sweep ends or ended; 0 where there is none. `is_raised`: whether
    the writer's own fence is among what was seen."""

    now: int
    newest: int
    unfinished: int
    swept: int
    is_raised: bool


class Writer:
    """One write of bars or facts that open in `span`, under a fence or none."""

    def __init__(self, client: QuestDbClient, node: NodeId, span: Segment, fence: Fence | None) -> None:
        self._client, self._node, self._span, self._fence = client, node, span, fence
        self._id = secrets.randbits(62)

    @asynccontextmanager
    async def entered(self) -> AsyncIterator[Look]:
        """What stands in the way, with the fence up for everybody to see while the write goes on.

        A write that fails leaves it up, as its rows may still come. Raises `StaleToken`, `HotStoreError`.
        """
        if self._fence is None:
            yield await self._look()
            return
        start, end = self._fence.chunk
        # By the server's clock, which decides how long it is kept.
        now = await self._client.now()
        row = (
            f'INSERT INTO {FENCES} (ts, node, writer, start, "end", token, done) VALUES '
            f"(cast({now} AS TIMESTAMP), {literal(str(self._node))}, {self._id}, {start}, {end}"
        )
        await self._client.execute(f"{row}, {self._fence.token}, false)")
        await asyncio.sleep(FIRST_POLL_S)
        found = await self._look()
        if not found.is_raised:
            await self._client.await_applied(FENCES)
            found = await self._look()
        if not found.is_raised:
            raise HotStoreError(
                f"{self._client.address} does not keep the fence that was raised in it, of its own time "
                f"{now // 10**6} s; set its clock by NTP, and see whether {FENCES} can be written",
                address=str(self._client.address),
            )
        yield found
        await self._client.execute(f"{row}, {self._fence.token}, true)")

    async def look_again(self) -> Look:
        """What there is once no sweep of the span is under way. Raises as `entered` does."""
        address = self._client.address
        patience, delay = Patience(self._client, address.retry_s + address.timeout_s), FIRST_POLL_S
        while (found := await self._look()).swept > found.now:
            if patience.is_over():
                start, end = map(seconds_text, self._span)
                raise HotStoreError(
                    f"bars of [{start}, {end}) are being evicted from {self._client.address}; write again",
                    address=str(self._client.address),
                )
            await asyncio.sleep(delay)
            delay = min(delay * 2, LONGEST_POLL_S)
        return found

    async def _look(self) -> Look:
        """One question; what it says of fences is of one moment. Raises `StaleToken` for a later holder."""
        token = self._fence.token if self._fence else 0
        fences = self._fence.chunk if self._fence else self._span
        table = bars_table(self._node.timeframe)
        found = await self._client.fetch(
            _LOOK,
            (token, self._id, str(self._node), fences.end, fences.start, table, *reversed(self._span)),
            ["int64"] * 5,
        )
        now, newest, unfinished, raised, swept = (int(value) for (value,) in found)
        self._client.hear_time(now)
        if self._fence is not None and newest > token:
            raise outranked(self._node, self._fence, newest)
        return Look(now, newest, unfinished, swept, bool(raised))


async def newest_tokens(client: QuestDbClient, node: NodeId, ts: np.ndarray) -> np.ndarray:
    """For each open the newest token of a holder of its chunk; 0 where there is none.

    Raises `HotStoreError`.
    """
    tokens = np.zeros(len(ts), dtype=np.int64)
    fences = await client.rows(
        f'SELECT start, "end", max(token) FROM {FENCES} WHERE node = %s AND start <= %s AND "end" > %s '
        f"AND token <= {MAX_TOKEN} "
        'GROUP BY start, "end"',
        (str(node), int(ts.max()), int(ts.min())),
    )
    for start, end, token in fences:
        held = (start <= ts) & (ts < end)
        tokens[held] = np.maximum(tokens[held], token)
    return tokens


async def last_fact(client: QuestDbClient, node: NodeId) -> int:
    """The last number in the node's ledger; 0 where there is none. Raises `HotStoreError`."""
    question = f"SELECT coalesce(max(seq), 0) FROM {FACTS} WHERE node = %s"
    ((last,),) = await client.fetch(question, (str(node),), ["int64"])
    return int(last)
