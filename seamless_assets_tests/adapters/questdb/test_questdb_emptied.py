"""A server that was emptied, or whose tables somebody changed: never written to as if it were ours."""

from __future__ import annotations

import asyncio
import json
import shutil
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from adapters.conftest import address, table
from aiohttp import web
from conftest import require_questdb
from support.services import QuestDbServer, free_port

from seamless_assets.adapters.questdb.address import QuestDbAddress
from seamless_assets.adapters.questdb.client import QuestDbClient, _AwayError
from seamless_assets.adapters.questdb.schema import FACTS, FENCES, SWEEPS, TABLES, check_tables
from seamless_assets.adapters.questdb.store import QuestDbHotStore
from seamless_assets.core.bars.table import Written, empty_bars
from seamless_assets.core.calendar.segment import Segment
from seamless_assets.core.coverage.ledger import Fact, facts_of
from seamless_assets.core.node import NodeId
from seamless_assets.core.sharing.lease import Fence
from seamless_assets.errors import HotStoreError
from seamless_assets.testing import DAY, START, random_walk

FINE = "seamless_bars_fine"
WINDOW = Segment(START, START + 3_600)
FACT = Fact(START + 3_600, START + 3_660, "no_trades", "bars on both sides", 1.0)
FENCE = Fence(Segment(START, START + 54_000), 1_000_000)
BARS = random_walk(*WINDOW)


class EmptiedServer:
    """A server whose folder can be taken away under those who use it."""

    def __init__(self, folder: Path) -> None:
        self.server, self._folder = QuestDbServer(require_questdb(), folder), folder
        self.server.start()

    def empty(self) -> None:
        self.server.kill()
        shutil.rmtree(self._folder)
        self.server.start()


@pytest.fixture(scope="module")
def emptied(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmptiedServer]:
    server = EmptiedServer(tmp_path_factory.mktemp("emptied") / "questdb")
    yield server
    server.server.kill()


@pytest.fixture
async def store(emptied: EmptiedServer) -> AsyncIterator[QuestDbHotStore]:
    """A store in use for a while, on tables that are as they are made."""
    client = QuestDbClient(address(emptied.server))
    for made in TABLES:
        await client.execute(f"DROP TABLE IF EXISTS {made.name}")
    await client.close()
    store = QuestDbHotStore(address(emptied.server))
    other = NodeId.parse("ohlcv:binance:OLD/USDT:1m")
    await store.write_bars(other, table(BARS), [FACT], recorded_at=1.0, fence=FENCE)
    yield store
    await store.close()


@pytest.mark.parametrize("sent", ["bars", "facts", "second part"])
async def test_what_is_sent_again_makes_no_table(
    emptied: EmptiedServer,
    store: QuestDbHotStore,
    node: NodeId,
    monkeypatch: pytest.MonkeyPatch,
    sent: str,
) -> None:
    send, calls = store._client._send, dict[str, int]()
    monkeypatch.setattr("seamless_assets.adapters.questdb.client.ROWS_PER_REQUEST", 25)

    async def send_or_lose(name: str, rows: Any) -> None:
        calls[name] = calls.get(name, 0) + 1
        at = {"bars": (FINE, 1), "facts": (FACTS, 1), "second part": (FINE, 2)}[sent]
        if (name, calls[name]) == at:
            await asyncio.to_thread(emptied.empty)
            raise _AwayError("the connection broke")
        await send(name, rows)

    monkeypatch.setattr(store._client, "_send", send_or_lose)
    written = await store.write_bars(node, table(BARS), [FACT], recorded_at=2.0, fence=FENCE)
    assert written == Written(60, 0)
    assert await store.load_bars(node, WINDOW) == table(BARS)
    assert facts_of(await store.load_facts(node, Segment(START, START + DAY))) == [FACT]
    await check_tables(store._client)


async def test_a_living_session_makes_its_tables_again(
    emptied: EmptiedServer, store: QuestDbHotStore, node: NodeId
) -> None:
    await asyncio.to_thread(emptied.empty)
    assert await store.load_bars(node, WINDOW) == empty_bars()
    await store.write_bars(node, table(BARS), [], recorded_at=2.0, fence=FENCE)
    assert await store.load_bars(node, WINDOW) == table(BARS)
    assert (await store.status()).warning == ""


@pytest.mark.parametrize("stuck", [FINE, FACTS])
async def test_a_look_finds_a_table_that_applies_no_writes(
    store: QuestDbHotStore, monkeypatch: pytest.MonkeyPatch, stuck: str
) -> None:
    """As after a full disk: the server takes writes and goes on, and a read never sees them."""
    progress = store._client._progress

    async def suspended(tables: Any) -> list[list[Any]]:
        return [
            [name, True, written, written + 1, "no space"]
            if name == stuck
            else [name, is_held, done, written, why]
            for name, is_held, done, written, why in await progress(tables)
        ]

    monkeypatch.setattr(store._client, "_progress", suspended)
    with pytest.raises(HotStoreError, match=f"apply writes to {stuck}: no space; make room"):
        await store.status()


@pytest.mark.parametrize("gone", [made.name for made in TABLES])
async def test_a_table_that_was_dropped_is_made_again(
    store: QuestDbHotStore, node: NodeId, gone: str
) -> None:
    await store._client.execute(f"DROP TABLE {gone}")
    calls: list[Callable[[], Any]] = [
        lambda: store.write_bars(node, table(BARS), [FACT], recorded_at=2.0, fence=FENCE),
        lambda: store.load_facts(node, WINDOW),
        lambda: store.load_revisions(node, WINDOW),
        lambda: store.load_evictions(node, WINDOW),
        lambda: store.evict({}, 3.0),
    ]
    for call in calls:
        await call()
    fresh = QuestDbHotStore(store._client.address)
    assert await fresh.load_bars(node, WINDOW) == table(BARS)
    await check_tables(store._client)
    await fresh.close()


async def test_a_table_that_another_process_made_anew_is_written_to(
    store: QuestDbHotStore, node: NodeId
) -> None:
    await store.write_bars(node, table(BARS), [], recorded_at=1.0, fence=FENCE)
    await store._client.execute(f"DROP TABLE {FINE}")
    other = QuestDbHotStore(store._client.address)
    assert await other.load_bars(node, WINDOW) == empty_bars()
    later = table(random_walk(*WINDOW, seed=4))
    assert await store.write_bars(node, later, [], recorded_at=2.0, fence=FENCE) == Written(60, 0)
    assert await other.load_bars(node, WINDOW) == later
    await other.close()


BY_ROWS = (
    f"CREATE TABLE {FINE} (timestamp TIMESTAMP, node SYMBOL, token LONG, recorded_at DOUBLE, open DOUBLE, "
    "high DOUBLE, low DOUBLE, close DOUBLE, volume DOUBLE) TIMESTAMP(timestamp) PARTITION BY DAY WAL"
)
FOREIGN = {
    "made by rows": (BY_ROWS, "is timestamp, not ts.*by DAY, not WEEK.*column ts is not there.*keys.*none"),
    "no dedup": (f"ALTER TABLE {FINE} DEDUP DISABLE", "the keys of its rows are none"),
    "other keys": (f"ALTER TABLE {FINE} DEDUP ENABLE UPSERT KEYS(ts, node)", "its rows are node, ts"),
    "no column": (f"ALTER TABLE {FINE} DROP COLUMN volume", "column volume is not there"),
    "other type": (f"ALTER TABLE {FINE} ALTER COLUMN volume TYPE FLOAT", "volume is FLOAT, not DOUBLE"),
}


@pytest.mark.parametrize("how", list(FOREIGN))
async def test_a_table_that_is_not_as_it_is_made_is_reported_before_it_is_written_to(
    store: QuestDbHotStore, node: NodeId, how: str
) -> None:
    statement, message = FOREIGN[how]
    client = QuestDbClient(store._client.address)
    if statement.startswith("CREATE"):
        await client.execute(f"DROP TABLE {FINE}")
    await client.execute(statement)
    await client.await_applied(FINE)
    fresh = QuestDbHotStore(client.address)
    for call in (
        fresh.write_bars(node, table(BARS), [], recorded_at=1.0, fence=FENCE),
        fresh.load_bars(node, WINDOW),
        fresh.status(),
        store.status(),
    ):
        with pytest.raises(HotStoreError, match=rf"{FINE}.*{message}.*RENAME TABLE.*seamless backfill"):
            await call
    ((rows,),) = await client.execute(f"SELECT count() FROM {FINE} WHERE node = '{node}'")
    assert rows == 0
    await client.execute(f"RENAME TABLE {FINE} TO '{FINE}_{node.symbol[:6]}'")
    await fresh.write_bars(node, table(BARS), [], recorded_at=2.0, fence=FENCE)
    assert await fresh.load_bars(node, WINDOW) == table(BARS)
    await fresh.close()
    await client.close()


async def test_rows_that_cannot_be_bars_are_as_if_they_were_not_there(
    store: QuestDbHotStore, node: NodeId
) -> None:
    await store.write_bars(node, table(BARS), [FACT], recorded_at=2.0, fence=FENCE)
    micros = START * 1_000_000
    for ts, price in (
        (micros + 500_000, "1.0"),
        (micros + 7_000_000, "1.0"),
        (micros + 7_200_000_000, "null"),
        (micros, "null"),
    ):
        await store._client.execute(
            f"INSERT INTO {FINE} (ts, node, token, recorded_at, open, high, low, close, volume, version) "
            f"VALUES (cast({ts} AS TIMESTAMP), '{node}', 9000000, 9.0, {price}, 1.0, 1.0, 1.0, 1.0, 1)"
        )
    await store._client.execute(
        f'INSERT INTO {FACTS} (ts, node, token, seq, start, "end", reason, recorded_at, attempts) VALUES '
        f"(0, '{node}', 1, 1, {START + 60}, {START}, 'no_trades', 1.0, 1), "
        f"(0, '{node}', 1, 2, null, {START + 60}, 'no_trades', 1.0, 1), "
        f"(0, '{node}', 1, 3, {START}, {START + 60}, null, 1.0, 1)"
    )
    await store._client.await_applied(FINE, FACTS)
    for wide in (Segment(START, START + DAY), Segment(START, START + 30 * DAY)):
        assert await store.load_bars(node, wide) == table(BARS)
        assert (await store.load_opens(node, wide)).tolist() == sorted(BARS)
        assert facts_of(await store.load_facts(node, wide)) == [FACT]


@pytest.mark.parametrize("days", [40, 3_650, -40, -3_650])
async def test_a_clock_that_was_wrong_once_stops_no_write(
    store: QuestDbHotStore, node: NodeId, monkeypatch: pytest.MonkeyPatch, days: int
) -> None:
    # As a server's clock, or an earlier release by its own, may have left them.
    client, ts = store._client, (await store._client.now()) + days * DAY * 1_000_000
    await client.execute(
        f"INSERT INTO {FENCES} VALUES (cast({ts} AS TIMESTAMP), '{node}', {START}, {START + DAY}, 5, 1, true)"
    )
    await client.execute(
        f"INSERT INTO {SWEEPS} VALUES (cast({ts} AS TIMESTAMP), '{FINE}', {START}, {START + DAY}, "
        f"cast({ts + 10**9} AS TIMESTAMP), null)"
    )
    await client.await_applied(FENCES, SWEEPS)
    monkeypatch.setattr("time.time", lambda: ts / 1_000_000)
    for recorded_at, seed in ((1.0, 1), (ts / 1_000_000, 2)):
        bars = table(random_walk(*WINDOW, seed=seed))
        async with asyncio.timeout(20):
            await store.write_bars(node, bars, [], recorded_at=recorded_at, fence=FENCE)
        assert await store.load_bars(node, WINDOW) == bars


async def test_an_outage_longer_than_one_request_may_take_is_waited_out(
    emptied: EmptiedServer, store: QuestDbHotStore, node: NodeId, monkeypatch: pytest.MonkeyPatch
) -> None:
    patient = QuestDbHotStore(address(emptied.server, timeout_s=30.0, retry_s=300.0))
    await patient.load_bars(node, WINDOW)
    progress, is_down, leapt = patient._client._progress, False, 0.0
    clock = SimpleNamespace(monotonic=lambda: time.monotonic() + leapt)
    monkeypatch.setattr("seamless_assets.adapters.questdb.client.time", clock)

    async def down(tables: Any) -> Any:
        nonlocal is_down, leapt
        if FINE in tables and not is_down:
            is_down, leapt = True, 60.0
            emptied.server.kill()
            starting = asyncio.create_task(asyncio.to_thread(emptied.server.start))
            rows = await progress(tables)
            await starting
            return [
                [name, suspended, 0, written, sequenced] for name, suspended, _, written, sequenced in rows
            ]
        return await progress(tables)

    monkeypatch.setattr(patient._client, "_progress", down)
    await patient.write_bars(node, table(BARS), [], recorded_at=1.0, fence=FENCE)
    assert is_down and await patient.load_bars(node, WINDOW) == table(BARS)
    await patient.close()


@asynccontextmanager
async def served(answer: Callable[[], web.Response], retry_s: float) -> AsyncIterator[QuestDbHotStore]:
    """A store on a server that gives this answer to all over HTTP."""

    async def handle(_: web.Request) -> web.Response:
        return answer()

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handle)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    store = QuestDbHotStore(QuestDbAddress("127.0.0.1", runner.addresses[0][1], free_port(), retry_s=retry_s))
    try:
        yield store
    finally:
        await store.close()
        await runner.cleanup()


@pytest.mark.parametrize("body", ["<html>Sign in</html>", "[1, 2]", '{"dataset": ', ""])
async def test_who_does_not_answer_as_a_server_does_is_reported(node: NodeId, body: str) -> None:
    async with served(lambda: web.Response(text=body), retry_s=0.0) as store:
        with pytest.raises(HotStoreError, match=r"as QuestDB does.*seamless\.hot_store\.dsn"):
            await store.load_bars(node, WINDOW)
        with pytest.raises(HotStoreError, match="as QuestDB does"):
            await store._client.export("SELECT 1")


async def test_a_server_that_exports_no_more_is_read_in_another_way(
    store: QuestDbHotStore, node: NodeId, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that was killed as it made the table of its exports refuses them for good."""
    window = Segment(START, START + 10 * DAY)
    await store.write_bars(node, table(random_walk(*window, seed=3)), [], recorded_at=1.0)
    exported = await store.load_bars(node, window)
    said = "cannot create system table sys.copy_export_log: [27] Could not create table, name is reserved"
    refused = json.dumps({"query": "SELECT", "error": said}).encode()
    asked: list[str] = []

    def download(*question: Any) -> tuple[int, bytes]:
        asked.append(question[2])
        return 400, refused

    monkeypatch.setattr("seamless_assets.adapters.questdb.client.download", download)
    found = await store.load_bars(node, window)
    assert asked == ["exp"] and found.num_rows == 14_400
    assert found.schema == exported.schema and found.equals(exported)
