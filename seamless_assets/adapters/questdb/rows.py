"""Rows of QuestDB's tables from bars and facts, and back.

A bar has a row for each of its versions. The row in force is that of the highest token, within it of the
highest version, within that the one recorded last; `ORDER` says so. Pure: no server is asked here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from seamless_assets.core.bars.stored import possible_opens
from seamless_assets.core.bars.table import (
    BARS_SCHEMA,
    COLUMNS,
    REVISIONS_SCHEMA,
    Written,
    changes,
    new_values,
    timestamps,
)
from seamless_assets.core.calendar.segment import Segment
from seamless_assets.core.calendar.timeframe import Timeframe
from seamless_assets.core.coverage.ledger import Fact, facts_table
from seamless_assets.core.node import NodeId

ORDER = ("token", "version", "recorded_at")
ROWS_SCHEMA = pa.schema(
    [
        *BARS_SCHEMA,
        pa.field("token", pa.int64()),
        pa.field("version", pa.int64()),
        pa.field("recorded_at", pa.float64()),
    ]
)


def in_force(rows: pa.Table) -> pa.Table:
    """For each `ts` of rows (`ROWS_SCHEMA`) the one in force, sorted by `ts`."""
    ts = timestamps(rows)
    if bool((ts[1:] > ts[:-1]).all()):
        return rows
    order = np.lexsort((*(rows.column(name).to_numpy() for name in reversed(ORDER)), ts))
    last = np.append(ts[order][1:] != ts[order][:-1], True)
    return rows.take(pa.array(order[last]))


def sent_rows(held: pa.Table, bars: pa.Table, recorded_at: float, outrank: int) -> tuple[Written, pa.Table]:
    """What a write of `bars` over rows in force changes, and the rows to send: bars and their `version`.

    A bar that is held with equal values is sent again only where a row of a token below `outrank` holds it,
    so that nothing such a token still sends can win.
    """
    if held.num_rows == 0:
        return Written(bars.num_rows, 0), _versioned(bars, np.ones(bars.num_rows, dtype=np.int64))
    fresh, revised = changes(held.select(COLUMNS), bars, recorded_at)
    known = timestamps(held)
    again = (held.column("token").to_numpy() < outrank) & _among(known, timestamps(bars))
    again &= ~_among(known, timestamps(revised))
    changed = pa.concat_tables([new_values(revised), held.filter(pa.array(again)).select(COLUMNS)])
    before = held.column("version").to_numpy()[np.searchsorted(known, timestamps(changed))]
    versions = np.concatenate([np.ones(fresh.num_rows, dtype=np.int64), before + 1])
    rows = _versioned(pa.concat_tables([fresh, changed]), versions)
    return Written(fresh.num_rows, revised.num_rows), rows


def replaced_tokens(held: pa.Table, rows: pa.Table) -> np.ndarray:
    """For each of `rows` the token of the held row that it is to replace; 0 where it replaces none."""
    known, ts = timestamps(held), timestamps(rows)
    if not len(known):
        return np.zeros(len(ts), dtype=np.int64)
    at = np.minimum(np.searchsorted(known, ts), len(known) - 1)
    return np.where(known[at] == ts, held.column("token").to_numpy()[at], 0)


def _among(known: np.ndarray, ts: np.ndarray) -> np.ndarray:
    """Which of the sorted `known` are in `ts`, as a mask."""
    mask = np.zeros(len(known), dtype=bool)
    if len(known):
        at = np.minimum(np.searchsorted(known, ts), len(known) - 1)
        mask[at[known[at] == ts]] = True
    return mask


def revisions_of(rows: pa.Table) -> pa.Table:
    """Revisions (`REVISIONS_SCHEMA`) that rows (`ROWS_SCHEMA`) tell of, in the order they were recorded.

    A row that a later lease had overtaken before it came was never in force and is passed over.
    """
    frame = rows.to_pandas().sort_values(["ts", *ORDER], kind="stable", ignore_index=True)
    frame = frame[_was_in_force(frame)]
    old = frame.groupby("ts")[list(COLUMNS[1:])].shift()
    new = frame[list(COLUMNS[1:])]
    differs = ((old != new) & ~(old.isna() & new.isna())).any(axis=1)
    replaced = frame.duplicated("ts") & differs
    table = {"ts": frame["ts"][replaced]}
    table |= {f"old_{name}": old[name][replaced] for name in COLUMNS[1:]}
    table |= {f"new_{name}": new[name][replaced] for name in COLUMNS[1:]}
    table["recorded_at"] = frame["recorded_at"][replaced]
    found = pd.DataFrame(table).sort_values("recorded_at", kind="stable", ignore_index=True)
    return pa.Table.from_pandas(found, REVISIONS_SCHEMA, preserve_index=False).replace_schema_metadata(None)


def _was_in_force(frame: pd.DataFrame) -> pd.Series[bool]:
    """Rows of `frame` (sorted by `ts` and `ORDER`) whose place in time is before every row above them."""
    place = frame.groupby(["version", "recorded_at"]).ngroup()
    earliest_above = place[::-1].groupby(frame["ts"][::-1]).cummin()[::-1]
    kept: pd.Series[bool] = place <= earliest_above
    return kept


def bars_frame(node: NodeId, rows: pa.Table, tokens: np.ndarray, recorded_at: float) -> pd.DataFrame:
    """Rows of a table of bars, from bars with a `version`, and the token of each."""
    columns = {name: rows.column(name).to_numpy() for name in rows.column_names}
    size = rows.num_rows
    fixed = {"token": tokens, "recorded_at": np.full(size, float(recorded_at))}
    stamps = _stamps(columns.pop("ts") * 1_000_000)
    return pd.DataFrame({"ts": stamps, "node": _symbol(str(node), size), **fixed, **columns}, copy=False)


def facts_frame(node: NodeId, facts: Sequence[Fact], token: int, last: int) -> pd.DataFrame:
    """Rows of the table of facts; `last` is the highest `seq` that the node has."""
    frame: pd.DataFrame = facts_table(facts).to_pandas()
    stamps = (frame["recorded_at"] * 1_000_000).astype("int64")
    first = max(last + 1, int(stamps.max()))
    frame["reason"] = frame["reason"].astype("category")
    frame.insert(0, "ts", _stamps(stamps))
    frame.insert(1, "node", _symbol(str(node), len(frame)))
    frame.insert(2, "token", np.int64(token))
    frame.insert(3, "seq", np.arange(first, first + len(frame)))
    return frame


def evictions_frame(gone: Mapping[NodeId, Segment], recorded_at: float) -> pd.DataFrame:
    """Rows of the table of evictions."""
    frame = pd.DataFrame({"start": [span.start for span in gone.values()]}, dtype="int64")
    frame["end"] = [span.end for span in gone.values()]
    frame.insert(0, "ts", _stamps(np.full(len(frame), int(recorded_at * 1_000_000))))
    frame.insert(1, "node", pd.Series([str(node) for node in gone], dtype="category"))
    return frame


def micros_of(rows: pa.Table) -> np.ndarray:
    """The column `ts` of rows as epoch microseconds, int64."""
    micros: np.ndarray = pc.cast(rows.column("ts"), pa.timestamp("us", "UTC")).cast(pa.int64()).to_numpy()
    return micros


def possible(
    micros: np.ndarray, rows: pa.Table, timeframe: Timeframe, window: Segment, schema: pa.Schema
) -> pa.Table:
    """Those of `rows` that may be in the store, with `ts` in seconds and as `schema`."""
    seconds = micros // 1_000_000
    mask = seconds * 1_000_000 == micros
    mask &= possible_opens(seconds, timeframe, window)
    timed = rows.set_column(0, "ts", pa.array(seconds)).cast(schema)
    return timed if mask.all() else timed.filter(pa.array(mask))


def _versioned(bars: pa.Table, versions: np.ndarray) -> pa.Table:
    return bars.append_column("version", pa.array(versions))


def _stamps(micros: np.ndarray | pd.Series[int]) -> np.ndarray:
    return np.asarray(micros, dtype="int64").astype("datetime64[us]")


def _symbol(name: str, rows: int) -> pd.Series[Any]:
    one = pd.CategoricalDtype([name])
    return pd.Series(pd.Categorical.from_codes(np.zeros(rows, dtype=np.int8), dtype=one))
