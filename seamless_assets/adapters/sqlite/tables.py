"""The tables of the embedded hot store: facts, revisions, evictions and fences of nodes, all of them marked.

All functions run inside the caller's transaction. A row that was spoiled is as if it were not there.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import pyarrow as pa

from seamless_assets.adapters.sqlite import blocks
from seamless_assets.adapters.sqlite.file import Database
from seamless_assets.adapters.sqlite.marks import MarkedTable, Row
from seamless_assets.core.bars.table import REVISIONS_SCHEMA, table_of
from seamless_assets.core.calendar.segment import Segment
from seamless_assets.core.coverage.ledger import FACTS_SCHEMA, Fact, facts_table, possible_fact
from seamless_assets.core.node import NodeId
from seamless_assets.core.sharing.lease import Fence, outranked
from seamless_assets.errors import InvalidNodeId

SCHEMA_VERSION = 2
_FACTS = MarkedTable(
    "facts",
    {
        "node": int,
        "start": int,
        "end": int,
        "reason": str,
        "evidence": str,
        "recorded_at": float,
        "attempts": int,
        "next_try": float,
    },
)
_REVISIONS = MarkedTable(
    "revisions", {"node": int, "ts": int, **dict.fromkeys(REVISIONS_SCHEMA.names[1:], float)}
)
_EVICTIONS = MarkedTable("evictions", {"node": int, "start": int, "end": int, "recorded_at": float})
_FENCES = MarkedTable("fences", {"node": int, "start": int, "end": int, "token": int})
MARKED = (_FACTS, _REVISIONS, _EVICTIONS, _FENCES)
SCHEMA = (
    "CREATE TABLE IF NOT EXISTS nodes (id INTEGER PRIMARY KEY, node_id TEXT NOT NULL UNIQUE)",
    *blocks.SCHEMA,
    """CREATE TABLE IF NOT EXISTS facts (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, node INTEGER NOT NULL REFERENCES nodes,
    start INTEGER NOT NULL, "end" INTEGER NOT NULL, reason TEXT NOT NULL, evidence TEXT NOT NULL,
    recorded_at REAL NOT NULL, attempts INTEGER NOT NULL, next_try REAL, mark INTEGER
)""",
    'CREATE INDEX IF NOT EXISTS facts_by_window ON facts (node, start, "end")',
    """CREATE TABLE IF NOT EXISTS revisions (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, node INTEGER NOT NULL REFERENCES nodes, ts INTEGER NOT NULL,
    old_open REAL, old_high REAL, old_low REAL, old_close REAL, old_volume REAL,
    new_open REAL, new_high REAL, new_low REAL, new_close REAL, new_volume REAL,
    recorded_at REAL NOT NULL, mark INTEGER
)""",
    "CREATE INDEX IF NOT EXISTS revisions_by_open ON revisions (node, ts)",
    """CREATE TABLE IF NOT EXISTS fences (
    node INTEGER NOT NULL REFERENCES nodes, start INTEGER NOT NULL, "end" INTEGER NOT NULL,
    token INTEGER NOT NULL, mark INTEGER, PRIMARY KEY (node, start, "end")
) WITHOUT ROWID""",
    """CREATE TABLE IF NOT EXISTS evictions (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, node INTEGER NOT NULL REFERENCES nodes,
    start INTEGER NOT NULL, "end" INTEGER NOT NULL, recorded_at REAL NOT NULL, mark INTEGER
)""",
)
_TOUCHING = 'WHERE node = (SELECT id FROM nodes WHERE node_id = ?) AND start < ? AND "end" > ? ORDER BY seq'


def row_of(db: Database, node: NodeId) -> int:
    """The row id of a node, new where it has none."""
    db.execute("INSERT OR IGNORE INTO nodes (node_id) VALUES (?)", (str(node),))
    (row,) = db.execute("SELECT id FROM nodes WHERE node_id = ?", (str(node),)).fetchone()
    return int(row)


def load_facts(db: Database, node: NodeId, window: Segment) -> pa.Table:
    """Facts that touch `window`, in the order they were recorded."""
    rows = _rows(db, _FACTS, node, _TOUCHING, (window.end, window.start))
    return table_of((row for row in rows if row[0] < window.end and row[1] > window.start), FACTS_SCHEMA)


def put_facts(db: Database, row: int, node: NodeId, facts: Sequence[Fact]) -> None:
    """Append facts to the node's ledger."""
    if facts:
        _append(db, _FACTS, row, node, facts_table(facts))


def load_revisions(db: Database, node: NodeId, window: Segment) -> pa.Table:
    """Revised bars that open in `window`, in the order they were recorded."""
    where = "WHERE node = (SELECT id FROM nodes WHERE node_id = ?) AND ts >= ? AND ts < ? ORDER BY seq"
    rows = _rows(db, _REVISIONS, node, where, window)
    return table_of((row for row in rows if window.start <= row[0] < window.end), REVISIONS_SCHEMA)


def put_revisions(db: Database, row: int, node: NodeId, revised: pa.Table) -> None:
    """Append what bars held before they changed."""
    _append(db, _REVISIONS, row, node, revised)


def load_evictions(db: Database, node: NodeId, window: Segment) -> list[Segment]:
    """Ranges that touch `window` and whose bars were evicted, in the order that happened."""
    rows = _rows(db, _EVICTIONS, node, _TOUCHING, (window.end, window.start))
    return [Segment(start, end) for start, end, _ in rows]


def put_eviction(db: Database, row: int, node: NodeId, segment: Segment, recorded_at: float) -> None:
    """Remember that the bars of a range were evicted."""
    _EVICTIONS.put(db, [(row, *segment, recorded_at)], str(node))


def pass_fence(db: Database, row: int, node: NodeId, fence: Fence) -> None:
    """Take note of the writer's token. Raises `StaleToken` where a later holder has left a higher one."""
    chunk = fence.chunk
    where = 'WHERE node = (SELECT id FROM nodes WHERE node_id = ?) AND start < ? AND "end" > ?'
    fences = _rows(db, _FENCES, node, where, (chunk.end, chunk.start))
    newest = max(
        (token for start, end, token in fences if start < chunk.end and end > chunk.start), default=0
    )
    if newest > fence.token:
        raise outranked(node, fence, newest)
    _FENCES.put(db, [(row, *chunk, fence.token)], str(node))


class Look(NamedTuple):
    """What a look at all nodes finds: how many things are not as they were written, by what they are, and
    the latest instant (epoch seconds) that one of the others is dated with."""

    spoiled: dict[str, int]
    newest: float


def look_at_rows(db: Database) -> Look:
    """Look at every block and every row."""
    spoiled, newest = {"blocks": blocks.damaged_blocks(db), **dict.fromkeys(_DATED, 0)}, 0.0
    for node_row, node in db.execute("SELECT id, node_id FROM nodes").fetchall():
        for table in MARKED:
            rows, lost = table.rows(db, "WHERE node = ?", (node_row,), node)
            spoiled[table.name] += lost
            newest = max(newest, *map(_DATED[table.name], rows), 0.0)
    return Look(spoiled, newest)


def add_marks(db: Database) -> None:
    """Bring a file of the first version, which had no marks, to this one; what cannot be gets none."""
    unmarked = [table for table in MARKED if not table.has_marks(db)]
    for table in unmarked:
        table.add_column(db)
    for row, name in db.execute("SELECT id, node_id FROM nodes").fetchall():
        try:
            node = NodeId.parse(name)
        except InvalidNodeId:
            continue
        if unmarked:
            blocks.mark_blocks(db, row, node)
        for table in unmarked:
            table.mark(db, "WHERE node = ?", (row,), name, _CAN_BE[table.name])


def _rows(
    db: Database, table: MarkedTable, node: NodeId, where: str, values: Sequence[int]
) -> list[tuple[Any, ...]]:
    """The sound rows about a node, without the column that says so."""
    rows, spoiled = table.rows(db, where, (str(node), *values), str(node))
    if spoiled:
        db.damage.append(f"{spoiled} {table.name} of {node}")
    return [row[1:] for row in rows]


def _append(db: Database, table: MarkedTable, row: int, node: NodeId, rows: pa.Table) -> None:
    columns = (column.to_pylist() for column in rows.columns)
    table.put(db, zip([row] * rows.num_rows, *columns, strict=True), str(node))


def _is_range(start: int, end: int) -> bool:
    return -(10**11) < start < end < 10**12


_CAN_BE: dict[str, Callable[[Row], bool]] = {
    "facts": lambda row: possible_fact(*row[1:]),
    "revisions": lambda row: _is_range(row[1], row[1] + 1) and math.isfinite(row[-1]),
    "evictions": lambda row: _is_range(*row[1:3]),
    "fences": lambda row: _is_range(*row[1:3]) and row[3] > 0,
}
"""What a row of each table must be to be believed without a mark."""
_DATED: dict[str, Callable[[Row], float]] = {
    "facts": lambda row: float(row[5]),
    "revisions": lambda row: float(row[-1]),
    "evictions": lambda row: float(row[-1]),
    # A token is the microsecond of its claim.
    "fences": lambda row: row[-1] / 1_000_000,
}
"""When a row of each table was written."""
