"""Bars in SQLite as blocks: each row holds up to `BLOCK_BARS` bars of a node, column by column.

A block is a few blobs of little-endian numbers, so reading a year is joining some hundred blobs, and the
opens alone can be read without the prices. All functions run inside the caller's transaction.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from seamless_assets.core.bars.sorted_sets import distinct, is_in
from seamless_assets.core.bars.table import BARS_SCHEMA, COLUMNS, between, timestamps
from seamless_assets.core.calendar.segment import Segment
from seamless_assets.core.node import NodeId

BLOCK_BARS = 1024
_TYPES = {"ts": "<i8", **dict.fromkeys(COLUMNS[1:], "<f8")}
_NAMES = ", ".join(COLUMNS)
_COLUMNS = ", ".join(f"{name} BLOB NOT NULL" for name in COLUMNS)
SCHEMA = (
    f"""CREATE TABLE IF NOT EXISTS blocks (
    node INTEGER NOT NULL REFERENCES nodes, block INTEGER NOT NULL, {_COLUMNS}, PRIMARY KEY (node, block)
)""",
)


def load_bars(db: sqlite3.Connection, node: NodeId, window: Segment) -> pa.Table:
    """Bars that open in `window`, sorted."""
    columns = _load(db, node, window, _NAMES)
    arrays = [_joined(column, name) for column, name in zip(columns, COLUMNS, strict=True)]
    return between(pa.table([pa.array(array) for array in arrays], BARS_SCHEMA), *window)


def load_opens(db: sqlite3.Connection, node: NodeId, window: Segment) -> np.ndarray:
    """Opens of the bars in `window`, sorted."""
    (column,) = _load(db, node, window, "ts")
    opens = _joined(column, "ts")
    low, high = np.searchsorted(opens, window)
    return opens[low:high]


def put_bars(db: sqlite3.Connection, row: int, node: NodeId, bars: pa.Table) -> None:
    """Insert or replace bars (unique opens) of the node with row id `row`."""
    for block, part in _by_block(node, bars):
        held = load_bars(db, node, _window(node, block))
        kept = held.filter(pa.array(~is_in(timestamps(held), timestamps(part))))
        _write(db, row, block, pa.concat_tables([kept, part]).sort_by("ts"))


def drop_bars(db: sqlite3.Connection, row: int, node: NodeId, window: Segment) -> int:
    """Remove the bars that open in `window`; how many there were."""
    doomed = load_opens(db, node, window)
    for block in distinct(doomed // _span(node)).tolist():
        held = load_bars(db, node, _window(node, block))
        ts = timestamps(held)
        kept = held.filter(pa.array((ts < window.start) | (ts >= window.end)))
        _write(db, row, block, kept)
    return len(doomed)


def _load(db: sqlite3.Connection, node: NodeId, window: Segment, names: str) -> list[tuple[bytes, ...]]:
    span = _span(node)
    rows = db.execute(
        f"SELECT {names} FROM blocks WHERE node = (SELECT id FROM nodes WHERE node_id = ?) "
        "AND block BETWEEN ? AND ? ORDER BY block",
        (str(node), window.start // span, window.end // span),
    ).fetchall()
    return list(zip(*rows, strict=True)) or [()] * (names.count(",") + 1)


def _joined(blobs: tuple[bytes, ...], name: str) -> np.ndarray:
    return np.frombuffer(b"".join(blobs), dtype=_TYPES[name])


def _write(db: sqlite3.Connection, row: int, block: int, bars: pa.Table) -> None:
    if bars.num_rows == 0:
        db.execute("DELETE FROM blocks WHERE node = ? AND block = ?", (row, block))
        return
    blobs = [np.asarray(bars.column(name)).astype(_TYPES[name]).tobytes() for name in COLUMNS]
    marks = ", ".join("?" * (2 + len(blobs)))
    db.execute(
        f"INSERT OR REPLACE INTO blocks (node, block, {_NAMES}) VALUES ({marks})", (row, block, *blobs)
    )


def _by_block(node: NodeId, bars: pa.Table) -> Iterator[tuple[int, pa.Table]]:
    bars = bars.sort_by("ts")
    blocks = timestamps(bars) // _span(node)
    edges = np.flatnonzero(np.append(True, blocks[1:] != blocks[:-1]))
    for start, end in zip(edges, np.append(edges[1:], len(blocks)), strict=True):
        yield int(blocks[start]), bars.slice(start, end - start)


def _span(node: NodeId) -> int:
    return BLOCK_BARS * node.timeframe.approximate_seconds


def _window(node: NodeId, block: int) -> Segment:
    return Segment(block * _span(node), (block + 1) * _span(node))
