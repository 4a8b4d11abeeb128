"""Numbers of metrics in a file: what was changed in it is as if it were not there, and the rest counts on."""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

import pytest

from seamless_assets.adapters.machine import numbers as numbers_file
from seamless_assets.adapters.machine.numbers import OTHER, MachineNumbers, Series
from seamless_assets.core.sharing.events import DamagedState, Event
from seamless_assets.errors import MetricsUnavailable

FIRST: Series = ("seamless_reads_total", ("binance",), "")
SECOND: Series = ("seamless_reads_total", ("okx",), "")
GAUGE: Series = ("seamless_lag_seconds", ("okx",), "")
COUNTED = {FIRST: 3.0, SECOND: 4.0, GAUGE: 1.5}
BY_HAND = """CREATE TABLE numbers (
    metric TEXT NOT NULL, labels TEXT NOT NULL, part TEXT NOT NULL, value REAL NOT NULL,
    PRIMARY KEY (metric, labels, part)
)"""
"""The table as the first version made it."""


async def counted(path: Path) -> dict[Series, float]:
    """What a process tells that opens the file anew."""
    numbers = MachineNumbers(path)
    try:
        return await numbers.load()
    finally:
        await numbers.close()


async def count(path: Path, added: Mapping[Series, float], gauges: Mapping[Series, float]) -> list[Event]:
    """Hand numbers over, as a process does; what it was told of damage."""
    heard: list[Event] = []
    numbers = MachineNumbers(path, heard.append)
    await numbers.add(added, gauges)
    await numbers.close()
    return heard


def changed(path: Path, statement: str) -> None:
    with closing(sqlite3.connect(path)) as db, db:
        db.execute(statement)


async def test_counts_of_all_processes_add_up_and_the_last_gauge_stands(tmp_path: Path) -> None:
    path = tmp_path / "metrics.sqlite"
    await count(path, {FIRST: 1.0, SECOND: 4.0}, {GAUGE: 9.0})
    await count(path, {FIRST: 2.0}, {GAUGE: 1.5})
    assert await counted(path) == COUNTED


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE numbers SET value = value + 1 WHERE labels = '[\"binance\"]'",
        "UPDATE numbers SET value = 'x' WHERE labels = '[\"binance\"]'",
        "UPDATE numbers SET value = 9e999 WHERE labels = '[\"binance\"]'",
        "UPDATE numbers SET labels = '[\"binance' WHERE labels = '[\"binance\"]'",
        "UPDATE numbers SET labels = '5' WHERE labels = '[\"binance\"]'",
        "UPDATE numbers SET labels = '[1]' WHERE labels = '[\"binance\"]'",
        "UPDATE numbers SET labels = CAST(x'ff' AS TEXT) WHERE labels = '[\"binance\"]'",
        "UPDATE numbers SET metric = 'seamless_other_total' WHERE labels = '[\"binance\"]'",
        "UPDATE numbers SET part = '0.5' WHERE labels = '[\"binance\"]'",
        "UPDATE numbers SET mark = NULL WHERE labels = '[\"binance\"]'",
    ],
)
async def test_a_number_that_was_changed_is_as_if_nobody_had_counted(tmp_path: Path, statement: str) -> None:
    path = tmp_path / "metrics.sqlite"
    await count(path, {FIRST: 3.0, SECOND: 4.0}, {GAUGE: 1.5})
    changed(path, statement)
    assert await counted(path) == {SECOND: 4.0, GAUGE: 1.5}
    heard = await count(path, {FIRST: 5.0, SECOND: 1.0}, {})
    assert await counted(path) == {FIRST: 5.0, SECOND: 5.0, GAUGE: 1.5}
    is_met = "value" in statement or "mark" in statement
    assert [type(event) for event in heard] == ([DamagedState] if is_met else [])


async def test_a_file_of_the_first_version_counts_on(tmp_path: Path) -> None:
    path = tmp_path / "metrics.sqlite"
    with closing(sqlite3.connect(path)) as db, db:
        db.execute(BY_HAND)
        rows = [
            *((*FIRST[:1], '["binance"]', "", 3.0), (*SECOND[:1], '["okx"]', "", 3.0)),
            *((*GAUGE[:1], '["okx"]', "", 1.5), ("broken", "[", "", 1.0), ("endless", "[]", "", math.inf)),
        ]
        db.executemany("INSERT INTO numbers VALUES (?, ?, ?, ?)", rows)
        db.execute("PRAGMA user_version = 1")
    await count(path, {SECOND: 1.0}, {})
    assert await counted(path) == COUNTED


async def test_no_spoiled_byte_makes_a_number_that_nobody_counted(tmp_path: Path) -> None:
    path = tmp_path / "metrics.sqlite"
    await count(path, {FIRST: 3.0, SECOND: 4.0}, {GAUGE: 1.5})
    whole = path.read_bytes()
    intact = 0
    for at in range(0, len(whole), len(whole) // 60):
        damaged = bytearray(whole)
        damaged[at] ^= 0x10
        spoiled = tmp_path / f"{at}.sqlite"
        spoiled.write_bytes(damaged)
        try:
            found = await counted(spoiled)
        except MetricsUnavailable:
            continue
        assert found.items() <= COUNTED.items(), at
        intact += found == COUNTED
    assert intact


async def test_a_gauge_of_what_has_ended_is_told_no_more_and_leaves_its_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(numbers_file, "MAX_SERIES", 1)
    now = [1_000.0]
    numbers = MachineNumbers(tmp_path / "metrics.sqlite", lasting={GAUGE[0]: 60.0}, now=lambda: now[0])
    for at, told in ((1_000.0, True), (1_060.0, True), (1_060.5, False), (940.0, True), (939.0, False)):
        now[0] = 1_000.0
        await numbers.add({}, {GAUGE: 1.5, SECOND: 4.0})
        now[0] = at
        assert await numbers.load() == ({GAUGE: 1.5, SECOND: 4.0} if told else {SECOND: 4.0}), at
    other: Series = (GAUGE[0], ("bybit",), "")
    now[0] = 1_000.0
    await numbers.add({}, {other: 2.0})
    assert await numbers.load() == {GAUGE: 1.5, (GAUGE[0], (OTHER,), ""): 2.0, SECOND: 4.0}
    now[0] = 1_061.0
    await numbers.add({}, {other: 3.0})
    assert await numbers.load() == {other: 3.0, SECOND: 4.0}
    await numbers.close()


async def test_a_gauge_of_which_nobody_knows_since_when_has_ended(tmp_path: Path) -> None:
    path = tmp_path / "metrics.sqlite"
    await count(path, {FIRST: 3.0}, {GAUGE: 1.5})
    numbers = MachineNumbers(path, lasting={GAUGE[0]: 60.0})
    assert await numbers.load() == {FIRST: 3.0}
    await numbers.close()
