"""The hot store on a QuestDB server (9.3 or later).

A bar is kept once for each fencing token that wrote it; a read takes the row of the highest token, so a
stale holder's rows lose whenever they arrive, and the rows beneath are the bar's revisions. A write sends
only bars that are new or changed. Facts are an append-only table beside the bars.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from seamless_assets.adapters.questdb_client import QuestDbAddress, QuestDbClient, literal
from seamless_assets.adapters.questdb_schema import (
    BARS,
    EVICTIONS,
    FACTS,
    SCHEMA_VERSION,
    bars_table,
    migrate,
)
from seamless_assets.core.bars import (
    BARS_SCHEMA,
    COLUMNS,
    REVISIONS_SCHEMA,
    Written,
    changes,
    new_values,
    timestamps,
)
from seamless_assets.core.keep import StoreStatus
from seamless_assets.core.lease import Fence
from seamless_assets.core.ledger import FACTS_SCHEMA, Fact, facts_table
from seamless_assets.core.node import NodeId
from seamless_assets.core.segment import Segment, merge_ranges
from seamless_assets.errors import StaleToken

SHORT_READ_BARS = 5_000
"""Up to here the Postgres wire is faster than a Parquet export."""
_VALUES = ", ".join(COLUMNS[1:])
_ROWS_SCHEMA = BARS_SCHEMA.append(pa.field("token", pa.int64()))
_FACT_COLUMNS = ", ".join(f'"{name}"' for name in FACTS_SCHEMA.names)


class QuestDbHotStore:
    """Hot store on QuestDB; satisfies the flows' `HotStore`."""

    def __init__(self, address: QuestDbAddress) -> None:
        self._client = QuestDbClient(address)
        self._migrating = asyncio.Lock()
        self._is_ready = False

    async def load_bars(self, node: NodeId, window: Segment) -> pa.Table:
        """Bars that open in `window`, sorted by `ts`. Raises `HotStoreError`."""
        await self._ready()
        bars = await self._load_rows(node, window, COLUMNS)
        ts = timestamps(bars)
        if bool((ts[1:] > ts[:-1]).all()):
            return bars
        return _newest(await self._load_rows(node, window, (*COLUMNS, "token"))).drop_columns("token")

    async def load_opens(self, node: NodeId, window: Segment) -> np.ndarray:
        """Opens of the bars in `window`, shape `(rows,)`, sorted. Raises `HotStoreError`."""
        await self._ready()
        opens = timestamps(await self._load_rows(node, window, ("ts",)))
        return np.unique(opens) if bool((opens[1:] == opens[:-1]).any()) else opens

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

        Raises `StaleToken`, `HotStoreError`.
        """
        await self._ready()
        token = fence.token if fence else int(recorded_at * 1_000_000)
        if fence is not None:
            await self._pass_fence(node, fence)
        written, tables = Written(0, 0), []
        if bars.num_rows:
            ts = timestamps(bars)
            held = await self.load_bars(node, Segment(int(ts.min()), int(ts.max()) + 1))
            fresh, revised = changes(held, bars, recorded_at)
            written = Written(fresh.num_rows, revised.num_rows)
            sent = pa.concat_tables([fresh, new_values(revised)])
            if sent.num_rows:
                table = bars_table(node.timeframe)
                await self._client.ingest(table, _bars_frame(node, sent, token, recorded_at))
                tables.append(table)
        if facts:
            await self._client.ingest(FACTS, _facts_frame(node, facts, token))
            tables.append(FACTS)
        if tables:
            await self._client.await_applied(*tables)
        return written

    async def load_facts(self, node: NodeId, window: Segment) -> pa.Table:
        """Facts that touch `window`, oldest first. Raises `HotStoreError`."""
        await self._ready()
        table = await self._client.export(
            f"SELECT {_FACT_COLUMNS} FROM {FACTS} WHERE node = {literal(str(node))} "
            f'AND start < {window.end} AND "end" > {window.start} ORDER BY ts, seq'
        )
        return table.cast(FACTS_SCHEMA).replace_schema_metadata(None)

    async def load_revisions(self, node: NodeId, window: Segment) -> pa.Table:
        """Revised bars that open in `window`, oldest first. Raises `HotStoreError`."""
        await self._ready()
        columns = f"ts, token, recorded_at, {_VALUES}"
        rows = await self._client.export(_query(node, window, columns))
        return _revisions(rows.set_column(0, "ts", pa.array(_seconds(rows.column("ts")))))

    async def evict(self, evictable: Mapping[NodeId, Sequence[Segment]], recorded_at: float) -> int:
        """Drop the partitions whose every bar lies in `evictable`; the bars dropped.

        The server drops whole partitions only, so what shares one with bars that must stay stays too.
        Raises `HotStoreError`.
        """
        await self._ready()
        dropped = 0
        for table in BARS:
            for name, first, last, rows in await self._client.execute(
                f"SELECT name, minTimestamp, maxTimestamp, numRows FROM table_partitions({literal(table)}) "
                "WHERE attached AND numRows > 0"
            ):
                held = await self._held(table, first, last)
                if all(_holds(evictable.get(node, ()), span) for node, span in held.items()):
                    await self._client.ingest(EVICTIONS, _evictions_frame(held, recorded_at))
                    await self._client.execute(f"ALTER TABLE {table} DROP PARTITION LIST {literal(name)}")
                    dropped += int(rows)
        if dropped:
            await self._client.await_applied(EVICTIONS, *BARS)
        return dropped

    async def load_evictions(self, node: NodeId, window: Segment) -> list[Segment]:
        """Ranges of `window` whose bars were evicted, joined. Raises `HotStoreError`."""
        await self._ready()
        rows = await self._client.execute(
            f'SELECT start, "end" FROM {EVICTIONS} WHERE node = {literal(str(node))} '
            f'AND start < {window.end} AND "end" > {window.start}'
        )
        ranges = merge_ranges([Segment(*row) for row in rows], node.timeframe)
        return [window.intersect(found) for found in ranges]

    async def status(self) -> StoreStatus:
        """What an operator wants to know of the server. Raises `HotStoreError`."""
        await self._ready()
        ((build,),) = await self._client.execute("SELECT build()")
        lag = await self._client.execute(
            "SELECT coalesce(sum(sequencerTxn - writerTxn), 0) FROM wal_tables() WHERE name LIKE 'seamless%'"
        )
        began = time.perf_counter()
        await self._client.fetch("SELECT 1", (), ["int64"])
        return StoreStatus(
            kind="QuestDB",
            address=str(self._client.address),
            version=f"{build}, schema {SCHEMA_VERSION}",
            lag=f"{lag[0][0]} writes not applied",
            latency_ms=(time.perf_counter() - began) * 1000,
        )

    async def close(self) -> None:
        """Close every connection."""
        await self._client.close()

    async def _ready(self) -> None:
        if not self._is_ready:
            async with self._migrating:
                if not self._is_ready:
                    await migrate(self._client)
                    self._is_ready = True

    async def _load_rows(self, node: NodeId, window: Segment, columns: Sequence[str]) -> pa.Table:
        """Columns of every row in `window`, `ts` in seconds and ascending; a bar has one for each token."""
        schema = pa.schema([_ROWS_SCHEMA.field(name) for name in columns])
        if not _is_short(node, window):
            table = await self._client.export(_query(node, window, ", ".join(columns)))
            return table.set_column(0, "ts", pa.array(_seconds(table.column("ts")))).cast(schema)
        values = "".join(f", {name}" for name in columns[1:])
        types = ["int64" if name in ("ts", "token") else "float64" for name in columns]
        micros, *rest = await self._client.fetch(
            f"SELECT cast(ts AS LONG){values} FROM {bars_table(node.timeframe)} "
            "WHERE node = %s AND ts >= %s AND ts < %s ORDER BY ts",
            (str(node), _moment(window.start), _moment(window.end)),
            types,
        )
        return pa.table([micros // 1_000_000, *rest], schema)

    async def _held(self, table: str, first: str, last: str) -> dict[NodeId, Segment]:
        """The nodes with bars from `first` to `last` (as the server writes times), and from when to when."""
        rows = await self._client.execute(
            f"SELECT node, cast(min(ts) AS LONG), cast(max(ts) AS LONG) FROM {table} "
            f"WHERE ts >= {literal(first)} AND ts <= {literal(last)}"
        )
        nodes = [(NodeId.parse(name), low // 1_000_000, high // 1_000_000) for name, low, high in rows]
        return {node: Segment(low, node.timeframe.shift(high, 1)) for node, low, high in nodes}

    async def _pass_fence(self, node: NodeId, fence: Fence) -> None:
        newest = await self._newest_token(node, fence.chunk)
        if newest is not None and newest > fence.token:
            raise StaleToken(
                f"{node}: a later holder of [{fence.chunk.start}, {fence.chunk.end}) has written; this "
                "worker's lease ran out, and its bars are dropped",
                token=fence.token,
                newest=newest,
            )

    async def _newest_token(self, node: NodeId, chunk: Segment) -> int | None:
        name = literal(str(node))
        rows = await self._client.execute(
            f"SELECT max(token) FROM {bars_table(node.timeframe)} WHERE node = {name} "
            f"AND ts >= {chunk.start * 1_000_000} AND ts < {chunk.end * 1_000_000} "
            f"UNION ALL SELECT max(token) FROM {FACTS} WHERE node = {name} "
            f'AND start < {chunk.end} AND "end" > {chunk.start}'
        )
        return max((token for (token,) in rows if token is not None), default=None)


def _holds(segments: Sequence[Segment], span: Segment) -> bool:
    return any(segment.start <= span.start and span.end <= segment.end for segment in segments)


def _is_short(node: NodeId, window: Segment) -> bool:
    return (window.end - window.start) // node.timeframe.approximate_seconds <= SHORT_READ_BARS


def _query(node: NodeId, window: Segment, columns: str) -> str:
    return (
        f"SELECT {columns} FROM {bars_table(node.timeframe)} WHERE node = {literal(str(node))} "
        f"AND ts >= {window.start * 1_000_000} AND ts < {window.end * 1_000_000} ORDER BY ts"
    )


def _moment(ts: int) -> datetime:
    return datetime.fromtimestamp(ts, UTC).replace(tzinfo=None)


def _seconds(column: pa.ChunkedArray) -> np.ndarray:
    micros = pc.cast(column, pa.timestamp("us", "UTC")).cast(pa.int64()).to_numpy()
    seconds: np.ndarray = micros // 1_000_000
    return seconds


def _newest(rows: pa.Table) -> pa.Table:
    """For each `ts` the row of the highest token."""
    ts = timestamps(rows)
    order = np.lexsort((rows.column("token").to_numpy(), ts))
    last = np.append(ts[order][1:] != ts[order][:-1], True)
    return rows.take(pa.array(order[last]))


def _revisions(rows: pa.Table) -> pa.Table:
    """Rows that replaced an earlier token's, in the order they were recorded; stale ones are passed over."""
    frame = rows.to_pandas().sort_values(["ts", "token"], kind="stable", ignore_index=True)
    later = frame.groupby("ts")["recorded_at"].transform(lambda told: told[::-1].cummin()[::-1])
    frame = frame[frame["recorded_at"] <= later]
    old = frame.groupby("ts")[list(COLUMNS[1:])].shift()
    replaced = frame.duplicated("ts")
    table = {"ts": frame["ts"][replaced]}
    table |= {f"old_{name}": old[name][replaced] for name in COLUMNS[1:]}
    table |= {f"new_{name}": frame[name][replaced] for name in COLUMNS[1:]}
    table["recorded_at"] = frame["recorded_at"][replaced]
    found = pd.DataFrame(table).sort_values("recorded_at", kind="stable", ignore_index=True)
    return pa.Table.from_pandas(found, REVISIONS_SCHEMA, preserve_index=False).replace_schema_metadata(None)


def _bars_frame(node: NodeId, bars: pa.Table, token: int, recorded_at: float) -> pd.DataFrame:
    frame: pd.DataFrame = bars.to_pandas()
    frame["ts"] = _stamps(frame["ts"] * 1_000_000)
    frame.insert(1, "node", _symbol(str(node), len(frame)))
    frame.insert(2, "token", np.int64(token))
    frame.insert(3, "recorded_at", float(recorded_at))
    return frame


def _facts_frame(node: NodeId, facts: Sequence[Fact], token: int) -> pd.DataFrame:
    frame: pd.DataFrame = facts_table(facts).to_pandas()
    frame["reason"] = _symbols(frame["reason"])
    frame.insert(0, "ts", _stamps((frame["recorded_at"] * 1_000_000).astype("int64")))
    frame.insert(1, "node", _symbol(str(node), len(frame)))
    frame.insert(2, "token", np.int64(token))
    frame.insert(3, "seq", np.arange(len(frame)))
    return frame


def _evictions_frame(held: Mapping[NodeId, Segment], recorded_at: float) -> pd.DataFrame:
    frame = pd.DataFrame({"start": [span.start for span in held.values()]}, dtype="int64")
    frame["end"] = [span.end for span in held.values()]
    frame.insert(0, "ts", _stamps(np.full(len(frame), int(recorded_at * 1_000_000))))
    frame.insert(1, "node", _symbols([str(node) for node in held]))
    return frame


def _stamps(micros: np.ndarray | pd.Series[int]) -> np.ndarray:
    return np.asarray(micros, dtype="int64").astype("datetime64[us]")


def _symbol(name: str, rows: int) -> pd.Series[Any]:
    one = pd.CategoricalDtype([name])
    return pd.Series(pd.Categorical.from_codes(np.zeros(rows, dtype=np.int8), dtype=one))


def _symbols(names: Sequence[str] | pd.Series[str]) -> pd.Series[Any]:
    return pd.Series(list(names), dtype="category")
