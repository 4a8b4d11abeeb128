"""The canonical shape of bars: one Arrow schema that every room passes on."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from seamless_assets.core.bars.sorted_sets import require_ascending

COLUMNS = ("ts", "open", "high", "low", "close", "volume")
PRICES = ("open", "high", "low", "close")
BARS_SCHEMA = pa.schema([("ts", pa.int64()), *((name, pa.float64()) for name in COLUMNS[1:])])


REVISIONS_SCHEMA = pa.schema(
    [
        ("ts", pa.int64()),
        *((f"{when}_{name}", pa.float64()) for when in ("old", "new") for name in COLUMNS[1:]),
        ("recorded_at", pa.float64()),
    ]
)
"""A closed bar whose values an exchange changed: its open, both values, when it was seen (epoch s)."""


@dataclass(frozen=True, slots=True)
class Written:
    """What a write changed: bars that are new, and bars whose values were replaced."""

    added: int
    revised: int


def empty_table(schema: pa.Schema) -> pa.Table:
    """A table without rows."""
    # Arrow's own `empty_table` imports pandas.
    return pa.Table.from_batches([], schema)


def empty_bars() -> pa.Table:
    """A table of no bars with the canonical schema."""
    return empty_table(BARS_SCHEMA)


def table_of(rows: Iterable[Sequence[Any]], schema: pa.Schema) -> pa.Table:
    """Rows as a table of `schema`, in their order."""
    columns = list(zip(*rows, strict=True))
    if not columns:
        return empty_table(schema)
    return pa.table([pa.array(c, f.type) for c, f in zip(columns, schema, strict=True)], schema)


def timestamps(bars: pa.Table) -> np.ndarray:
    """The `ts` column as int64 epoch seconds, shape `(rows,)`."""
    return whole_numbers(bars.column("ts"))


def whole_numbers(column: pa.ChunkedArray) -> np.ndarray:
    """A column of int64 without nulls as an array; one that is in one piece is not copied."""
    # Arrow's own `to_numpy` imports pandas, which readers of Arrow tables do without.
    chunks = [np.from_dlpack(chunk) for chunk in column.chunks]
    return chunks[0] if len(chunks) == 1 else np.concatenate([np.empty(0, np.int64), *chunks])


def between(bars: pa.Table, start: int, end: int) -> pa.Table:
    """The bars of a table sorted by `ts` that open in `[start, end)`; nothing is copied.

    Raises `AssertionError` where the table is not sorted or repeats an open: see `within`.
    """
    opens = require_ascending(timestamps(bars), "bars")
    low, high = (int(at) for at in np.searchsorted(opens, (start, end)))
    return bars.slice(low, max(0, high - low))


def within(rows: pa.Table, start: int, end: int) -> pa.Table:
    """The rows whose `ts` lies in `[start, end)`, in whatever order they came and however often."""
    ts = timestamps(rows)
    is_inside = (ts >= start) & (ts < end)
    return rows if is_inside.all() else rows.filter(pa.array(is_inside))


def stack(tables: list[pa.Table]) -> pa.Table:
    """The rows of several tables, one table after the other."""
    return pa.concat_tables(tables) if tables else empty_bars()


def join(tables: list[pa.Table]) -> pa.Table:
    """Bars of several tables as one, sorted by `ts`.

    Raises `AssertionError` where tables repeat an open, in themselves or one of another: see `stack`.
    """
    joined = stack(tables).sort_by("ts").combine_chunks()
    require_ascending(timestamps(joined), "joined bars")
    return joined


def changes(held: pa.Table, bars: pa.Table, recorded_at: float) -> tuple[pa.Table, pa.Table]:
    """What `bars` brings that `held` lacks: bars that are new, and revisions (`REVISIONS_SCHEMA`).

    Both tables are bars with unique opens, `held` sorted by `ts`. A bar held with equal values is neither.
    """
    ts, known = timestamps(bars), require_ascending(timestamps(held), "held bars")
    at = np.searchsorted(known, ts)
    is_held = at < len(known)
    is_held[is_held] = known[at[is_held]] == ts[is_held]
    old, new = held.take(pa.array(at[is_held])), bars.filter(pa.array(is_held))
    differs = np.zeros(new.num_rows, dtype=bool)
    for name in COLUMNS[1:]:
        before, after = (np.asarray(table.column(name)) for table in (old, new))
        differs |= (before != after) & ~(np.isnan(before) & np.isnan(after))
    old, new = (table.filter(pa.array(differs)) for table in (old, new))
    values = [column for table in (old, new) for column in table.columns[1:]]
    seen = pa.array(np.full(new.num_rows, recorded_at))
    return bars.filter(pa.array(~is_held)), pa.table([new.column("ts"), *values, seen], REVISIONS_SCHEMA)


def new_values(revisions: pa.Table) -> pa.Table:
    """The bars that revisions (`REVISIONS_SCHEMA`) left behind."""
    columns = ["ts", *(f"new_{name}" for name in COLUMNS[1:])]
    return revisions.select(columns).rename_columns(list(COLUMNS)).cast(BARS_SCHEMA)
