"""Bars in SQLite as blocks: each row holds up to `BLOCK_BARS` bars of a node, column by column.

A block is a few blobs of little-endian numbers, so reading a year is joining some hundred blobs. Its mark
stands in a table of its own: a page that shows an earlier state of the one does not show that of the other.
A block that does not match its mark is as if it were not there. All functions run inside the caller's
transaction.
"""

from __future__ import annotations

import sqlite3
import zlib
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa

from seamless_assets.adapters.sqlite.file import Database
from seamless_assets.core.bars.sorted_sets import distinct, is_ascending, is_in
from seamless_assets.core.bars.stored import possible_rows
from seamless_assets.core.bars.table import BARS_SCHEMA, COLUMNS, between, timestamps
from seamless_assets.core.calendar.segment import Segment
from seamless_assets.core.node import NodeId

BLOCK_BARS = 1024
Blobs = Sequence[bytes]
_TYPES = {"ts": "<i8", **dict.fromkeys(COLUMNS[1:], "<f8")}
_NAMES = ", ".join(COLUMNS)
_COLUMNS = ", ".join(f"{name} BLOB NOT NULL" for name in COLUMNS)
SCHEMA = (
    f"""CREATE TABLE IF NOT EXISTS blocks (
    node INTEGER NOT NULL REFERENCES nodes, block INTEGER NOT NULL, {_COLUMNS}, PRIMARY KEY (node, block)
)""",
    """CREATE TABLE IF NOT EXISTS block_marks (
    node INTEGER NOT NULL REFERENCES nodes, block INTEGER NOT NULL, mark INTEGER NOT NULL,
    PRIMARY KEY (node, block)
) WITHOUT ROWID""",
)


def load_bars(db: Database, node: NodeId, window: Segment) -> pa.Table:
    """Bars that open in `window`, sorted."""
    return between(_table(_load(db, node, window)), *window)


def load_opens(db: Database, node: NodeId, window: Segment) -> np.ndarray:
    """Opens of the bars in `window`, sorted: those that `load_bars` gives."""
    opens = _numbers("ts", [block[0] for block in _load(db, node, window, columns=1)])
    low, high = np.searchsorted(opens, window)
    return opens[low:high]


def put_bars(db: Database, row: int, node: NodeId, bars: pa.Table) -> None:
    """Insert or replace bars (unique opens) of the node with row id `row`."""
    for block, part in _by_block(node, bars):
        _write(db, row, node, block, _merged(_load(db, node, _window(node, block)), part))


def _merged(held: Sequence[Blobs], bars: pa.Table) -> Blobs:
    """The blobs of a block, if it is there, with sorted bars added or in place of those that it has."""
    if not held:
        return _blobs(bars)
    opens = _numbers("ts", [held[0][0]])
    if opens[-1] < timestamps(bars)[0]:
        # What closes comes after all that is there, and nothing of that is taken apart.
        return [before + after for before, after in zip(held[0], _blobs(bars), strict=True)]
    known = _table(held)
    kept = known.filter(pa.array(~is_in(opens, timestamps(bars))))
    return _blobs(pa.concat_tables([kept, bars]).sort_by("ts"))


def drop_bars(db: Database, row: int, node: NodeId, window: Segment) -> int:
    """Remove the bars that open in `window`; how many there were."""
    doomed = load_opens(db, node, window)
    for block in distinct(doomed // _span(node)).tolist():
        held = load_bars(db, node, _window(node, block))
        ts = timestamps(held)
        kept = held.filter(pa.array((ts < window.start) | (ts >= window.end)))
        _write(db, row, node, block, _blobs(kept))
    return len(doomed)


def damaged_blocks(db: Database) -> int:
    """How many blocks do not match their marks or are gone, of all nodes."""
    rows = db.execute(
        f"SELECT node_id, block, mark, {_NAMES} FROM blocks JOIN nodes ON id = node "
        "LEFT JOIN block_marks USING (node, block)"
    )
    spoiled = sum(not _is_sound(node, block, mark, blobs) for node, block, mark, *blobs in rows)
    ((gone,),) = db.execute(
        "SELECT count(*) FROM block_marks LEFT JOIN blocks USING (node, block) WHERE ts IS NULL"
    )
    return spoiled + int(gone)


def mark_blocks(db: Database, row: int, node: NodeId) -> None:
    """Give the blocks of a file that had no marks theirs, as far as their bars can be."""
    rows = db.execute(f"SELECT block, {_NAMES} FROM blocks WHERE node = ?", (row,)).fetchall()
    for block, *blobs in rows:
        if _can_be(node, block, blobs):
            _put_mark(db, row, node, block, blobs)


def _load(db: Database, node: NodeId, window: Segment, columns: int = len(COLUMNS)) -> list[Blobs]:
    """The first `columns` of each sound block that touches `window`, ascending."""
    span = _span(node)
    first, last = window.start // span, (window.end - 1) // span
    rows = db.execute(
        f"SELECT block, mark, {_NAMES} FROM block_marks LEFT JOIN blocks USING (node, block) "
        "WHERE node = (SELECT id FROM nodes WHERE node_id = ?) AND block BETWEEN ? AND ?",
        (str(node), first, last),
    )
    sound = {}
    for block, mark, *blobs in rows:
        if _is_sound(str(node), block, mark, blobs):
            sound[block] = blobs[:columns]
        else:
            db.damage.append(f"block {block} of {node}")
    return [sound[block] for block in sorted(sound) if first <= block <= last]


def _is_sound(node: str, block: Any, mark: Any, blobs: Sequence[Any]) -> bool:
    return all(isinstance(blob, bytes) for blob in blobs) and mark == _mark(node, block, blobs)


def _can_be(node: NodeId, block: int, blobs: Sequence[Any]) -> bool:
    """Whether blobs are columns of one length, of bars that may stand in the block."""
    lengths = {len(blob) for blob in blobs if isinstance(blob, bytes)}
    if len(lengths) != 1 or lengths.pop() % 8 or not all(isinstance(blob, bytes) for blob in blobs):
        return False
    columns = [_numbers(name, [blob]) for name, blob in zip(COLUMNS, blobs, strict=True)]
    bars = pa.table([pa.array(column) for column in columns], BARS_SCHEMA)
    return bool(possible_rows(bars, node.timeframe, _window(node, block)).all()) and all(
        earlier < later for earlier, later in pairwise(columns[0].tolist())
    )


def _mark(node: str, block: int, blobs: Blobs) -> int:
    mark = zlib.crc32(f"{node} {block} {[len(blob) for blob in blobs]}".encode())
    for blob in blobs:
        mark = zlib.crc32(blob, mark)
    return mark


def _put_mark(db: sqlite3.Connection, row: int, node: NodeId, block: int, blobs: Blobs) -> None:
    mark = _mark(str(node), block, blobs)
    db.execute("INSERT OR REPLACE INTO block_marks (node, block, mark) VALUES (?, ?, ?)", (row, block, mark))


def _numbers(name: str, blobs: Blobs) -> np.ndarray:
    return np.frombuffer(b"".join(blobs), dtype=_TYPES[name])


def _table(blocks: Sequence[Blobs]) -> pa.Table:
    columns = (_numbers(name, [block[at] for block in blocks]) for at, name in enumerate(COLUMNS))
    return pa.table([pa.array(column) for column in columns], BARS_SCHEMA)


def _blobs(bars: pa.Table) -> Blobs:
    return [np.asarray(bars.column(name)).astype(_TYPES[name]).tobytes() for name in COLUMNS]


def _write(db: sqlite3.Connection, row: int, node: NodeId, block: int, blobs: Blobs) -> None:
    """Keep a block; one of no bars is removed."""
    if not blobs[0]:
        for table in ("blocks", "block_marks"):
            db.execute(f"DELETE FROM {table} WHERE node = ? AND block = ?", (row, block))
        return
    marks = ", ".join("?" * (2 + len(blobs)))
    db.execute(
        f"INSERT OR REPLACE INTO blocks (node, block, {_NAMES}) VALUES ({marks})", (row, block, *blobs)
    )
    _put_mark(db, row, node, block, blobs)


def _by_block(node: NodeId, bars: pa.Table) -> Iterator[tuple[int, pa.Table]]:
    if not is_ascending(timestamps(bars)):
        bars = bars.sort_by("ts")
    blocks = timestamps(bars) // _span(node)
    edges = np.flatnonzero(np.append(True, blocks[1:] != blocks[:-1]))
    for start, end in zip(edges, np.append(edges[1:], len(blocks)), strict=True):
        yield int(blocks[start]), bars.slice(start, end - start)


def _span(node: NodeId) -> int:
    return BLOCK_BARS * node.timeframe.approximate_seconds


def _window(node: NodeId, block: int) -> Segment:
    return Segment(block * _span(node), (block + 1) * _span(node))
