"""The hot store on a QuestDB server (9.3 or later).

Every version of a bar is a row of its own, keyed by the fencing token that wrote it; a read takes the row of
the highest token, so a stale holder's rows lose whenever they arrive, and the rows beneath are the bar's
revisions. A write sends only bars that are new or changed. Facts are an append-only table beside the bars.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from functools import wraps
from typing import Any, Concatenate, ParamSpec, TypeVar

import numpy as np
import pyarrow as pa

from seamless_assets.adapters.questdb import sweeps
from seamless_assets.adapters.questdb.address import QuestDbAddress
from seamless_assets.adapters.questdb.client import ExportUnavailable, QuestDbClient, TableMissing, literal
from seamless_assets.adapters.questdb.fences import Look, Writer, last_fact, newest_tokens
from seamless_assets.adapters.questdb.rows import (
    ORDER,
    ROWS_SCHEMA,
    bars_frame,
    evictions_frame,
    facts_frame,
    in_force,
    micros_of,
    possible,
    replaced_tokens,
    revisions_of,
    sent_rows,
)
from seamless_assets.adapters.questdb.schema import (
    BARS,
    EVICTIONS,
    FACTS,
    FENCES,
    SCHEMA_VERSION,
    TABLES,
    bars_table,
    check_tables,
    migrate,
    write_version,
)
from seamless_assets.core.bars.sorted_sets import distinct
from seamless_assets.core.bars.table import COLUMNS, PRICES, Written, empty_table, table_of, timestamps
from seamless_assets.core.calendar.instant import CLOCKS_DIFFER_S
from seamless_assets.core.calendar.segment import Segment, merge_ranges
from seamless_assets.core.coverage.ledger import FACTS_SCHEMA, Fact, possible_fact
from seamless_assets.core.node import NodeId
from seamless_assets.core.sharing.health import StoreStatus, dated_ahead
from seamless_assets.core.sharing.lease import Fence, outranked
from seamless_assets.core.sharing.retention import Evictable, digest_of

SHORT_READ_BARS = 5_000
"""Up to here the Postgres wire is faster than a Parquet export."""
_ROW_COLUMNS = (*COLUMNS, *ORDER)
# Rows of the first schema version have no version of their own.
_SELECTED = {name: name for name in _ROW_COLUMNS} | {"version": "coalesce(version, 0) version"}
# A row without a price is none, whoever wrote it.
_KNOWN_PRICES = "".join(f" AND {name} IS NOT NULL" for name in PRICES)
_FACT_COLUMNS = ", ".join(f'"{name}"' for name in FACTS_SCHEMA.names)


P = ParamSpec("P")
T = TypeVar("T")
Method = Callable[Concatenate["QuestDbHotStore", P], Coroutine[Any, Any, T]]


def on_our_tables(method: Method[P, T]) -> Method[P, T]:
    """A method that finds its tables made; where they are gone meanwhile it makes them, and starts anew."""

    @wraps(method)
    async def on_them(store: QuestDbHotStore, /, *args: P.args, **kwargs: P.kwargs) -> T:
        await store.make_ready()
        try:
            return await method(store, *args, **kwargs)
        except TableMissing:
            await store.make_ready(anew=True)
            return await method(store, *args, **kwargs)

    return on_them


class QuestDbHotStore:
    """Hot store on QuestDB; satisfies the flows' `HotStore`."""

    def __init__(self, address: QuestDbAddress) -> None:
        self._client = QuestDbClient(address)
        self._migrating = asyncio.Lock()
        self._made = 0

    @on_our_tables
    async def load_bars(self, node: NodeId, window: Segment) -> pa.Table:
        """Bars that open in `window`, sorted by `ts`. Raises `HotStoreError`."""
        bars = await self._load_rows(node, window, COLUMNS)
        ts = timestamps(bars)
        if bool((ts[1:] > ts[:-1]).all()):
            return bars
        return (await self._load_in_force(node, window)).select(COLUMNS)

    @on_our_tables
    async def load_opens(self, node: NodeId, window: Segment) -> np.ndarray:
        """Opens of the bars in `window`, shape `(rows,)`, sorted. Raises `HotStoreError`."""
        opens = timestamps(await self._load_rows(node, window, ("ts",)))
        return distinct(opens)

    @on_our_tables
    async def write_bars(
        self,
        node: NodeId,
        bars: pa.Table,
        facts: Sequence[Fact],
        *,
        recorded_at: float,
        fence: Fence | None = None,
    ) -> Written:
        """Upsert what is new or changed, append facts, and return once reads see both.

        Without a fence each bar borrows the token of the newest holder of its chunk. Raises `StaleToken`,
        `HotStoreError`.
        """
        span = _span_of(bars, facts)
        if fence is None and span.is_empty:
            return Written(0, 0)
        writer = Writer(self._client, node, span, fence)
        async with writer.entered() as found:
            written, sent = await self._send_bars(node, bars, recorded_at, fence, found)
            if facts:
                token = fence.token if fence else found.newest
                frame = facts_frame(node, facts, token, await last_fact(self._client, node))
                await self._client.ingest(FACTS, frame)
            await self._client.await_applied(*sent, *([FACTS] if facts else []))
            again = await writer.look_again() if sent or facts else found
            if fence is not None and not again.is_raised:
                raise TableMissing(f"{self._client.address} was emptied while bars of {node} were written")
            while sent and again.swept >= found.now:
                found = again
                _, sent = await self._send_bars(node, bars, recorded_at, fence, found)
                await self._client.await_applied(*sent)
                again = await writer.look_again()
        return written

    @on_our_tables
    async def load_facts(self, node: NodeId, window: Segment) -> pa.Table:
        """Facts that touch `window`, oldest first. Raises `HotStoreError`."""
        # Numbers of the first schema version start anew with each write.
        rows = await self._client.rows(
            f"SELECT {_FACT_COLUMNS} FROM {FACTS} WHERE node = %s AND start < {window.end} "
            f'AND "end" > {window.start} ORDER BY greatest(seq, cast(ts AS LONG)), seq',
            (str(node),),
        )
        return table_of((row for row in rows if possible_fact(*row)), FACTS_SCHEMA)

    @on_our_tables
    async def load_revisions(self, node: NodeId, window: Segment) -> pa.Table:
        """Revised bars that open in `window`, oldest first. Raises `HotStoreError`."""
        selected = ", ".join(_SELECTED[name].replace("version", "b.version", 1) for name in _ROW_COLUMNS[1:])
        table, inside = bars_table(node.timeframe), "node = %s AND {0}ts >= %s AND {0}ts < %s"
        micros, *rest = await self._client.fetch(
            f"SELECT cast(b.ts AS LONG), {selected} FROM {table} b JOIN (SELECT DISTINCT ts FROM {table} "
            f"WHERE {inside.format('')} AND version != 1) r ON b.ts = r.ts WHERE b.{inside.format('b.')}",
            _bound(node, window) * 2,
            _types(ROWS_SCHEMA),
        )
        return revisions_of(pa.table([micros // 1_000_000, *rest], ROWS_SCHEMA))

    @on_our_tables
    async def evict(self, evictable: Mapping[NodeId, Sequence[Evictable]], recorded_at: float) -> int:
        """Drop the partitions whose every bar lies in `evictable` and is still the same; the bars dropped.

        The server drops whole partitions only, so what shares one with bars that must stay stays too.
        Raises `HotStoreError`.
        """
        dropped = 0
        joined = {n: merge_ranges([part.segment for part in p], n.timeframe) for n, p in evictable.items()}
        for table in BARS:
            for partition, span in await sweeps.partitions(self._client, table):
                if all(span.intersect(part).is_empty for ranges in joined.values() for part in ranges):
                    continue
                held = await sweeps.held_in(self._client, table, span)
                if not _hold_all(joined, held) or not (rows := await self._unchanged(evictable, held)):
                    continue
                sweep = await sweeps.begin(self._client, table, partition, span)
                if await sweeps.held_in(self._client, table, span) == held:
                    gone = {node: there.span for node, there in held.items()}
                    await self._client.ingest(EVICTIONS, evictions_frame(gone, recorded_at))
                    await self._client.await_applied(EVICTIONS)
                    await sweeps.drop(self._client, sweep)
                    dropped += rows
                await sweeps.end(self._client, sweep)
        return dropped

    @on_our_tables
    async def load_evictions(self, node: NodeId, window: Segment) -> list[Segment]:
        """Ranges of `window` whose bars were evicted, joined. Raises `HotStoreError`."""
        rows = await self._client.rows(
            f'SELECT start, "end" FROM {EVICTIONS} WHERE node = %s '
            f'AND start < {window.end} AND "end" > {window.start}',
            (str(node),),
        )
        ranges = merge_ranges([Segment(*row) for row in rows], node.timeframe)
        return [window.intersect(found) for found in ranges]

    def change_mark(self) -> None:
        """None: the server has to be asked."""

    @on_our_tables
    async def status(self) -> StoreStatus:
        """What an operator wants to know of the server, which was written to. Raises `HotStoreError`."""
        await check_tables(self._client)
        await write_version(self._client)
        # A table that takes writes and applies none, as after a full disk, would hold up the work.
        await self._client.await_applied(*(table.name for table in TABLES))
        ((build,),) = await self._client.execute("SELECT build()")
        lag = await self._client.execute(
            "SELECT coalesce(sum(sequencerTxn - writerTxn), 0) FROM wal_tables() WHERE name LIKE 'seamless%'"
        )
        began = time.perf_counter()
        await self._client.rows("SELECT 1", ())
        return StoreStatus(
            kind="QuestDB",
            address=str(self._client.address),
            version=f"{_version(build)}, schema {SCHEMA_VERSION}",
            lag=f"{lag[0][0]} writes not applied",
            latency_ms=(time.perf_counter() - began) * 1000,
            warning="; ".join(filter(None, await self._wrong_clocks())),
        )

    async def close(self) -> None:
        """Close every connection."""
        await self._client.close()

    async def _wrong_clocks(self) -> tuple[str, str]:
        """What the server's clock, and what is dated in its tables, say of a clock that is or was wrong."""
        ((now, token, recorded_at),) = await self._client.execute(
            f"SELECT cast(now() AS LONG), token, at FROM (SELECT max(token) token FROM {FENCES}) "
            f"CROSS JOIN (SELECT max(recorded_at) at FROM {FACTS})"
        )
        skew = now / 1_000_000 - time.time()
        skew_warning = (
            f"its clock is {skew:+.0f} s from ours; set both by NTP" if abs(skew) > CLOCKS_DIFFER_S else ""
        )
        return skew_warning, dated_ahead(max((token or 0) / 1_000_000, recorded_at or 0.0), time.time())

    async def make_ready(self, anew: bool = False) -> None:
        """Make or check the tables before their first use, or once more. Raises `HotStoreError`."""
        number = self._made
        if self._made and not anew:
            return
        async with self._migrating:
            if self._made == number:
                self._client.forget_tables()
                await migrate(self._client)
                self._made += 1

    async def _send_bars(
        self, node: NodeId, bars: pa.Table, recorded_at: float, fence: Fence | None, found: Look
    ) -> tuple[Written, list[str]]:
        """Send what is new or changed; what that was, and the table that was written to, if any."""
        if not bars.num_rows:
            return Written(0, 0), []
        held = await self._load_in_force(node, _span_of(bars, ()))
        written, rows = sent_rows(held, bars, recorded_at, found.unfinished)
        if not rows.num_rows:
            return written, []
        tokens = replaced_tokens(held, rows)
        if fence is not None:
            newest = int(tokens.max())
            if newest > fence.token:
                raise outranked(node, fence, newest)
            tokens = np.full(rows.num_rows, fence.token, dtype=np.int64)
        elif found.newest:
            tokens = np.maximum(tokens, await newest_tokens(self._client, node, timestamps(rows)))
        table = bars_table(node.timeframe)
        await self._client.ingest(table, bars_frame(node, rows, tokens, recorded_at))
        return written, [table]

    async def _load_in_force(self, node: NodeId, window: Segment) -> pa.Table:
        if not _is_short(node, window):
            window = await self._held_in(node, window)
        return in_force(await self._load_rows(node, window, _ROW_COLUMNS))

    async def _held_in(self, node: NodeId, window: Segment) -> Segment:
        """From the first bar held in `window` to the last; empty for none."""
        ((low, high),) = await self._client.execute(
            f"SELECT cast(min(ts) AS LONG), cast(max(ts) AS LONG) {_inside(node, window)}"
        )
        return Segment(0, 0) if low is None else Segment(low // 1_000_000, high // 1_000_000 + 1)

    async def _load_rows(self, node: NodeId, window: Segment, columns: Sequence[str]) -> pa.Table:
        """Columns of every row in `window`, `ts` in seconds and ascending; a bar has one for each version."""
        schema = pa.schema([ROWS_SCHEMA.field(name) for name in columns])
        if window.is_empty:
            return empty_table(schema)
        if not _is_short(node, window):
            selected = ", ".join(_SELECTED[name] for name in columns)
            with suppress(ExportUnavailable):
                table = await self._client.export(f"SELECT {selected} {_inside(node, window)} ORDER BY ts")
                return possible(micros_of(table), table, node.timeframe, window, schema)
        selected = "".join(f", {_SELECTED[name]}" for name in columns[1:])
        micros, *rest = await self._client.fetch(
            f"SELECT cast(ts AS LONG){selected} FROM {bars_table(node.timeframe)} "
            f"WHERE node = %s AND ts >= %s AND ts < %s {_KNOWN_PRICES} ORDER BY ts",
            _bound(node, window),
            _types(schema),
        )
        return possible(micros, pa.table([micros, *rest], schema), node.timeframe, window, schema)

    async def _unchanged(
        self, evictable: Mapping[NodeId, Sequence[Evictable]], held: Mapping[NodeId, sweeps.Held]
    ) -> int:
        """How many bars the nodes hold in their spans; 0 where one of them is not what it was."""
        rows = 0
        for node, (span, _) in held.items():
            for part in evictable[node]:
                if part.segment.intersect(span).is_empty:
                    continue
                bars = await self.load_bars(node, part.segment)
                if digest_of(bars) != part.digest:
                    return 0
                rows += bars.num_rows
        return rows


def _version(build: str) -> str:
    """The version that a server's `build()` names."""
    return build.partition("QuestDB ")[2].partition(",")[0] or build


def _hold_all(ranges: Mapping[NodeId, Sequence[Segment]], held: Mapping[NodeId, sweeps.Held]) -> bool:
    """Whether each node's span lies in one of its ranges."""
    return all(
        any(whole.start <= span.start and span.end <= whole.end for whole in ranges.get(node, ()))
        for node, (span, _) in held.items()
    )


def _span_of(bars: pa.Table, facts: Iterable[Fact]) -> Segment:
    """From the first open or start of a fact to the last open or end of one; empty for nothing."""
    ts = timestamps(bars)
    bounds = [(int(ts.min()), int(ts.max()) + 1)] if len(ts) else []
    bounds += [(fact.start, fact.end) for fact in facts]
    if not bounds:
        return Segment(0, 0)
    return Segment(min(start for start, _ in bounds), max(end for _, end in bounds))


def _is_short(node: NodeId, window: Segment) -> bool:
    return (window.end - window.start) // node.timeframe.approximate_seconds <= SHORT_READ_BARS


def _inside(node: NodeId, window: Segment) -> str:
    return (
        f"FROM {bars_table(node.timeframe)} WHERE node = {literal(str(node))} "
        f"AND ts >= {window.start * 1_000_000} AND ts < {window.end * 1_000_000}{_KNOWN_PRICES}"
    )


def _bound(node: NodeId, window: Segment) -> tuple[str, datetime, datetime]:
    """Node, start and end as the wire binds them."""
    start, end = (datetime.fromtimestamp(ts, UTC).replace(tzinfo=None) for ts in window)
    return str(node), start, end


def _types(schema: pa.Schema) -> list[str]:
    """The columns' types as numpy names them."""
    return ["int64" if pa.types.is_integer(kind) else "float64" for kind in schema.types]
