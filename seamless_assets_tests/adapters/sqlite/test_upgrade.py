"""Files of the first release, which had no marks: what can be is taken over, what cannot is not there."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from adapters.conftest import table

from seamless_assets.adapters.machine.budget import MachineBudget
from seamless_assets.adapters.machine.leases import MachineLeases
from seamless_assets.adapters.sqlite.store import SqliteHotStore
from seamless_assets.core.bars.table import COLUMNS, empty_bars
from seamless_assets.core.calendar.segment import Segment
from seamless_assets.core.coverage.ledger import Fact, facts_of
from seamless_assets.core.node import NodeId
from seamless_assets.core.sharing.lease import Fence
from seamless_assets.core.sharing.token_bucket import Budget
from seamless_assets.errors import StaleToken
from seamless_assets.testing import START, random_walk

NODE = NodeId.parse("ohlcv:binance:BTC/USDT:1m")
WINDOW = Segment(START, START + 600)
HOT = f"""
CREATE TABLE nodes (id INTEGER PRIMARY KEY, node_id TEXT NOT NULL UNIQUE);
CREATE TABLE blocks (
    node INTEGER NOT NULL, block INTEGER NOT NULL, {", ".join(f"{name} BLOB NOT NULL" for name in COLUMNS)},
    PRIMARY KEY (node, block));
CREATE TABLE facts (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, node INTEGER NOT NULL, start INTEGER NOT NULL,
    "end" INTEGER NOT NULL, reason TEXT NOT NULL, evidence TEXT NOT NULL, recorded_at REAL NOT NULL,
    attempts INTEGER NOT NULL, next_try REAL);
CREATE TABLE revisions (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, node INTEGER NOT NULL, ts INTEGER NOT NULL,
    old_open REAL, old_high REAL, old_low REAL, old_close REAL, old_volume REAL,
    new_open REAL, new_high REAL, new_low REAL, new_close REAL, new_volume REAL, recorded_at REAL NOT NULL);
CREATE TABLE fences (
    node INTEGER NOT NULL, start INTEGER NOT NULL, "end" INTEGER NOT NULL, token INTEGER NOT NULL,
    PRIMARY KEY (node, start, "end")) WITHOUT ROWID;
CREATE TABLE evictions (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, node INTEGER NOT NULL, start INTEGER NOT NULL,
    "end" INTEGER NOT NULL, recorded_at REAL NOT NULL);
INSERT INTO nodes VALUES (1, '{NODE}'), (2, 'spoiled');
INSERT INTO facts (node, start, "end", reason, evidence, recorded_at, attempts, next_try) VALUES
    (1, {START}, {START + 60}, 'no_trades', 'both sides', 1.0, 1, NULL),
    (1, {START + 60}, {START}, 'no_trades', 'it ends before it starts', 1.0, 1, NULL),
    (1, {START}, {START + 60}, 'missing', 'not sent', 'soon', 1, NULL);
INSERT INTO revisions VALUES (1, 1, {START}, 1, 1, 1, 1, NULL, 2, 2, 2, 2, 2, 5.0);
INSERT INTO fences VALUES (1, {WINDOW.start}, {WINDOW.end}, 7000000);
INSERT INTO evictions VALUES (1, 1, {START - 600}, {START}, 5.0);
PRAGMA user_version = 1;
"""
SPOILED = {
    "sound": lambda blobs: blobs,
    "unsorted": lambda blobs: [blob[-8:] + blob[8:-8] + blob[:8] for blob in blobs],
    "off the grid": lambda blobs: [bytes([blobs[0][0] ^ 1]) + blobs[0][1:], *blobs[1:]],
    "elsewhere": lambda blobs: [(np.frombuffer(blobs[0], "<i8") + 86_400_000).tobytes(), *blobs[1:]],
    "no price": lambda blobs: [blobs[0], np.full(10, np.nan).tobytes(), *blobs[2:]],
    "shorter": lambda blobs: [blobs[0], blobs[1][:-8], *blobs[2:]],
    "torn": lambda blobs: [blob[:-3] for blob in blobs],
    "no blob": lambda blobs: ["x", *blobs[1:]],
}


@pytest.mark.parametrize("how", list(SPOILED))
async def test_a_hot_store_of_the_first_release_is_taken_over(tmp_path: Path, how: str) -> None:
    bars = table(random_walk(*WINDOW))
    blobs = [np.asarray(bars.column(name)).tobytes() for name in COLUMNS]
    with closing(sqlite3.connect(tmp_path / "hot.sqlite")) as db, db:
        db.executescript(HOT)
        db.execute(
            "INSERT INTO blocks VALUES (1, ?, ?, ?, ?, ?, ?, ?)", (START // 61_440, *SPOILED[how](blobs))
        )
    store = SqliteHotStore(tmp_path / "hot.sqlite")
    assert await store.load_bars(NODE, WINDOW) == (bars if how == "sound" else empty_bars())
    known = facts_of(await store.load_facts(NODE, WINDOW))
    assert known == [Fact(START, START + 60, "no_trades", "both sides", 1.0)]
    assert (await store.load_revisions(NODE, WINDOW))["new_close"].to_pylist() == [2.0]
    assert await store.load_evictions(NODE, Segment(START - 900, START)) == [Segment(START - 600, START)]
    with pytest.raises(StaleToken):
        await store.write_bars(NODE, bars, [], recorded_at=6.0, fence=Fence(WINDOW, 6_000_000))
    await store.write_bars(NODE, bars, [], recorded_at=6.0, fence=Fence(WINDOW, 8_000_000))
    assert await store.load_bars(NODE, WINDOW) == bars
    await store.close()


async def test_leases_and_budgets_of_the_first_release_are_taken_over(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "leases.sqlite")) as db, db:
        db.executescript(
            "CREATE TABLE leases (key TEXT PRIMARY KEY, token INTEGER NOT NULL, holder TEXT,"
            " until REAL NOT NULL, ttl REAL NOT NULL);"
            "CREATE TABLE tally (outcome TEXT PRIMARY KEY, count INTEGER NOT NULL);"
            "INSERT INTO leases VALUES ('k', 5, 'w', unixepoch('now') + 60, 60), ('free', 9, NULL, 1.0, 60);"
            "INSERT INTO tally VALUES ('completed', 3); PRAGMA user_version = 2;"
        )
    leases = MachineLeases(tmp_path / "leases.sqlite")
    assert [(lease.key, lease.token) for lease in await leases.held()] == [("k", 5)]
    assert await leases.claim("k", "another", 60.0) is None and (await leases.tally()).completed == 3
    await leases.close()
    with closing(sqlite3.connect(tmp_path / "budget.sqlite")) as db, db:
        db.executescript(
            "CREATE TABLE rate_buckets (key TEXT PRIMARY KEY, tokens REAL NOT NULL, at REAL NOT NULL,"
            " born REAL NOT NULL, queued INTEGER NOT NULL, cool_until REAL NOT NULL, paused REAL NOT NULL);"
            "INSERT INTO rate_buckets VALUES ('k', 1, unixepoch('now'), 1.0, 4, unixepoch('now') + 60, 0.0);"
            "PRAGMA user_version = 2;"
        )
    budget = MachineBudget(tmp_path / "budget.sqlite")
    place = await budget.take("k", Budget(1, 1_000, 4), 1.0)
    assert place.number == 5 and 50 < place.wait < 70
    await budget.close()
