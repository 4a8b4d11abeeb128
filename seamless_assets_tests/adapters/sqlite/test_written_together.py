"""Writes of many callers in one transaction: all or none of them are told, and each fails alone."""

from __future__ import annotations

import asyncio
import signal
import sqlite3
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from adapters.sqlite.test_sqlite import table

from seamless_assets.adapters.sqlite import blocks
from seamless_assets.adapters.sqlite import store as stores
from seamless_assets.adapters.sqlite.store import SqliteHotStore
from seamless_assets.core.bars.table import Written, empty_bars
from seamless_assets.core.calendar.segment import Segment
from seamless_assets.core.node import NodeId
from seamless_assets.core.sharing.lease import Fence
from seamless_assets.errors import HotStoreError, StaleToken
from seamless_assets.testing import START, random_walk

NODES = [NodeId.parse(f"ohlcv:binance:C{number}/USDT:1m") for number in range(5)]
BARS, HOUR = random_walk(START, START + 120), Segment(START, START + 3600)
TESTS = str(Path(__file__).parents[2])


class Transactions:
    """Counts the transactions of stores; the first one waits for `gate` before it begins."""

    def __init__(self) -> None:
        self.count, self.gate, self.begun = 0, Event(), asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._begin: Callable[[Any], Any] = stores.transaction

    @contextmanager
    def begin(self, db: Any) -> Iterator[None]:
        self.count += 1
        if self.count == 1:
            self._loop.call_soon_threadsafe(self.begun.set)
            self.gate.wait()
        with self._begin(db):
            yield


@pytest.fixture
async def transactions(monkeypatch: pytest.MonkeyPatch) -> Transactions:
    counted = Transactions()
    monkeypatch.setattr(stores, "transaction", counted.begin)
    return counted


def write(store: SqliteHotStore, node: NodeId, token: int = 2) -> asyncio.Task[Written]:
    fence = Fence(HOUR, token)
    return asyncio.create_task(store.write_bars(node, table(BARS), [], recorded_at=1.0, fence=fence))


async def opens_of(store: SqliteHotStore) -> list[int]:
    return [len(await store.load_opens(node, HOUR)) for node in NODES]


async def asked_meanwhile(store: SqliteHotStore, transactions: Transactions) -> list[asyncio.Task[Written]]:
    """A write of each node: all but the first are asked for while that is at work."""
    first = write(store, NODES[0])
    await transactions.begun.wait()
    rest = [write(store, node, token=1 if node == NODES[2] else 2) for node in NODES[1:]]
    await asyncio.sleep(0)
    return [first, *rest]


async def test_who_is_refused_by_a_fence_keeps_nothing_from_the_others(
    tmp_path: Path, transactions: Transactions
) -> None:
    path = tmp_path / "hot.sqlite"
    other = SqliteHotStore(path)
    transactions.gate.set()
    await other.write_bars(NODES[2], empty_bars(), [], recorded_at=1.0, fence=Fence(HOUR, 2))
    transactions.gate.clear()
    transactions.count = 0
    transactions.begun.clear()
    store = SqliteHotStore(path)
    asked = await asked_meanwhile(store, transactions)
    transactions.gate.set()
    outcomes = await asyncio.gather(*asked, return_exceptions=True)
    assert transactions.count == 2, "the first one, and all that came meanwhile"
    assert isinstance(outcomes.pop(2), StaleToken) and outcomes == [Written(2, 0)] * 4
    assert await opens_of(store) == [2, 2, 0, 2, 2]
    for opened in (store, other):
        await opened.close()


async def test_what_breaks_the_transaction_fails_alone(
    tmp_path: Path, transactions: Transactions, monkeypatch: pytest.MonkeyPatch
) -> None:
    put = blocks.put_bars

    def broken(db: Any, row: int, node: NodeId, bars: Any) -> None:
        put(db, row, node, bars)
        if node == NODES[3]:
            raise sqlite3.OperationalError("disk I/O error")

    monkeypatch.setattr(blocks, "put_bars", broken)
    store = SqliteHotStore(tmp_path / "hot.sqlite")
    asked = await asked_meanwhile(store, transactions)
    transactions.gate.set()
    outcomes = await asyncio.gather(*asked, return_exceptions=True)
    assert isinstance(outcomes.pop(3), HotStoreError) and outcomes == [Written(2, 0)] * 4
    assert await opens_of(store) == [2, 2, 2, 0, 2]
    await store.close()


async def test_who_is_cancelled_has_written_and_so_have_the_others(
    tmp_path: Path, transactions: Transactions
) -> None:
    store = SqliteHotStore(tmp_path / "hot.sqlite")
    asked = await asked_meanwhile(store, transactions)
    asked[1].cancel()
    await asyncio.sleep(0)
    assert not asked[1].done(), "nobody leaves a write that is under way"
    transactions.gate.set()
    outcomes = await asyncio.gather(*asked, return_exceptions=True)
    assert isinstance(outcomes.pop(1), asyncio.CancelledError) and outcomes == [Written(2, 0)] * 4
    assert await opens_of(store) == [2] * 5
    await store.close()


async def test_a_file_that_others_lock_is_waited_for_once(
    tmp_path: Path, transactions: Transactions, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = SqliteHotStore(tmp_path / "hot.sqlite")
    transactions.gate.set()
    await write(store, NODES[0])
    waited = []

    @contextmanager
    def locked(_: Any) -> Iterator[None]:
        waited.append(transactions.count)
        if len(waited) == 1:
            transactions.gate.wait()
        error = sqlite3.OperationalError("database is locked")
        error.sqlite_errorcode = sqlite3.SQLITE_BUSY
        raise error
        yield

    monkeypatch.setattr(stores, "transaction", locked)
    transactions.gate.clear()
    asked = [write(store, node) for node in NODES]
    await asyncio.sleep(0)
    transactions.gate.set()
    outcomes = await asyncio.gather(*asked, return_exceptions=True)
    assert all(isinstance(outcome, HotStoreError) for outcome in outcomes) and len(waited) <= 2
    assert len(set(map(id, outcomes))) == len(NODES)
    assert all("is locked; check that" in str(outcome) and outcome.__cause__ for outcome in outcomes)
    await store.close()


async def test_a_read_waits_once_for_a_file_that_others_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate, waited = Event(), list[NodeId]()

    def locked(_: Any, node: NodeId, __: Segment) -> None:
        waited.append(node)
        gate.wait()
        error = sqlite3.OperationalError("database is locked")
        error.sqlite_errorcode = sqlite3.SQLITE_BUSY
        raise error

    monkeypatch.setattr(blocks, "load_opens", locked)
    store = SqliteHotStore(tmp_path / "hot.sqlite")
    asked = [asyncio.create_task(store.load_opens(node, HOUR)) for node in NODES]
    await asyncio.sleep(0)
    gate.set()
    outcomes = await asyncio.gather(*asked, return_exceptions=True)
    assert all(isinstance(outcome, HotStoreError) for outcome in outcomes) and len(waited) <= 2
    assert len(set(map(id, outcomes))) == len(NODES)
    assert all("is locked; check that" in str(outcome) and outcome.__cause__ for outcome in outcomes)
    await store.close()


KILLED = """
import asyncio, os, signal, sys
from contextlib import contextmanager
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from adapters.sqlite import test_written_together as tests

begin = tests.stores.transaction
killed = []

@contextmanager
def killed_before_commit(db):
    with begin(db):
        yield
        if killed:
            os.kill(os.getpid(), signal.SIGKILL)
        killed.append(True)

tests.stores.transaction = killed_before_commit

async def main():
    store = tests.SqliteHotStore(Path(sys.argv[1]))
    async def told(node):
        await tests.write(store, node)
        print(node, flush=True)
    await told(tests.NODES[0])
    await asyncio.gather(*map(told, tests.NODES[1:]))

asyncio.run(main())
"""


async def test_nothing_is_told_of_what_a_kill_before_the_commit_undoes(tmp_path: Path) -> None:
    path = tmp_path / "hot.sqlite"
    killed = await asyncio.create_subprocess_exec(
        sys.executable, "-c", KILLED, str(path), TESTS, stdout=asyncio.subprocess.PIPE
    )
    told = (await killed.communicate())[0].decode().split()
    assert killed.returncode == -signal.SIGKILL and told == [str(NODES[0])]
    store = SqliteHotStore(path)
    assert await opens_of(store) == [2, 0, 0, 0, 0]
    assert [await write(store, node) for node in NODES[1:]] == [Written(2, 0)] * 4
    await store.close()
