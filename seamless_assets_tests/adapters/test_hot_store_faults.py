"""Hot stores under fault: SIGKILL, outages, a full disk, two holders at once, many processes."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from adapters.conftest import OpenStore, address, table
from conftest import require_questdb
from support.services import QuestDbServer

from seamless_assets.adapters.questdb.address import QuestDbAddress
from seamless_assets.adapters.questdb.client import ROWS_PER_REQUEST, literal
from seamless_assets.adapters.questdb.store import QuestDbHotStore
from seamless_assets.adapters.sqlite.store import SqliteHotStore
from seamless_assets.core.bars.table import Written
from seamless_assets.core.calendar.segment import Segment
from seamless_assets.core.coverage.ledger import Fact
from seamless_assets.core.node import NodeId
from seamless_assets.errors import HotStoreError
from seamless_assets.testing import DAY, START, random_walk

NODE = NodeId.parse("ohlcv:binance:BTC/USDT:1m")
KILLS = 10
TESTS = str(Path(__file__).resolve().parent.parent)
BATCH = 60


@asynccontextmanager
async def opened(place: QuestDbAddress) -> AsyncIterator[QuestDbHotStore]:
    store = QuestDbHotStore(place)
    try:
        yield store
    finally:
        await store.close()


def batch(number: int) -> dict[int, tuple[float, ...]]:
    start = START + number * BATCH * 60
    return random_walk(start, start + BATCH * 60, seed=number)


@pytest.mark.long
async def test_ten_kills_in_the_middle_lose_nothing_acknowledged(own_questdb: QuestDbServer) -> None:
    acknowledged: dict[int, tuple[float, ...]] = {}
    progress = asyncio.Condition()
    async with opened(address(own_questdb)) as store:

        async def write() -> None:
            number = 0
            while True:
                bars = batch(number)
                await store.write_bars(NODE, table(bars), [], recorded_at=float(number + 1))
                async with progress:
                    acknowledged.update(bars)
                    progress.notify_all()
                number += 1

        async def read() -> None:
            while True:
                known = dict(acknowledged)
                seen = await store.load_bars(NODE, Segment(START, START + 30 * DAY))
                found = {row["ts"]: tuple(row.values())[1:] for row in seen.to_pylist()}
                assert {ts: found.get(ts) for ts in known} == known

        tasks = [asyncio.create_task(work()) for work in (write, read)]
        for _ in range(KILLS):
            enough = len(acknowledged) + 3 * BATCH
            async with progress:
                await progress.wait_for(lambda enough=enough: len(acknowledged) >= enough)  # type: ignore[misc]
            own_questdb.kill()
            await asyncio.to_thread(own_questdb.start)
        for task in tasks:
            assert not task.done(), task.result()
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
        seen = await store.load_bars(NODE, Segment(START, START + 30 * DAY))
    found = {row["ts"]: tuple(row.values())[1:] for row in seen.to_pylist()}
    assert {ts: found.get(ts) for ts in acknowledged} == acknowledged


async def test_a_kill_between_the_parts_of_a_large_write_loses_none_of_them(
    own_questdb: QuestDbServer,
) -> None:
    many = table(dict.fromkeys(range(START, START + 200 * DAY, 60), (1.0,) * 5))
    async with opened(address(own_questdb)) as store:
        await store.load_bars(NODE, Segment(START, START + DAY))
        send, sent = store._client._send, 0
        starting: list[asyncio.Task[None]] = []

        async def send_or_be_cut_off(name: str, rows: Any) -> None:
            nonlocal sent
            sent += 1
            if sent == 2:
                own_questdb.kill()
                starting.append(asyncio.create_task(asyncio.to_thread(own_questdb.start)))
            await send(name, rows)

        store._client._send = send_or_be_cut_off  # type: ignore[method-assign]
        assert await store.write_bars(NODE, many, [], recorded_at=1.0) == Written(many.num_rows, 0)
        await starting[0]
        assert sent > many.num_rows // ROWS_PER_REQUEST + 1
        assert await store.load_bars(NODE, Segment(START, START + 365 * DAY)) == many


async def test_an_outage_is_waited_out_and_a_long_one_is_an_error(own_questdb: QuestDbServer) -> None:
    bars = batch(0)
    async with opened(address(own_questdb)) as patient, opened(address(own_questdb, retry_s=0.0)) as hasty:
        await patient.write_bars(NODE, table(bars), [], recorded_at=1.0)
        await hasty.load_bars(NODE, Segment(START, START + DAY))
        own_questdb.kill()
        waiting = asyncio.create_task(patient.write_bars(NODE, table(batch(1)), [], recorded_at=2.0))
        for call in (
            hasty.load_bars(NODE, Segment(START, START + DAY)),
            hasty.load_bars(NODE, Segment(START, START + 30 * DAY)),
            hasty.write_bars(NODE, table(bars), [], recorded_at=3.0),
        ):
            with pytest.raises(HotStoreError, match=r"does not answer.*retry_ms"):
                await call
        await asyncio.to_thread(own_questdb.start)
        assert await waiting == Written(BATCH, 0)
        assert (await patient.load_bars(NODE, Segment(START, START + DAY))).num_rows == 2 * BATCH


FILLER = (
    "import asyncio, resource, sys; from pathlib import Path; sys.path[:0] = [sys.argv[2]]\n"
    "from adapters.test_hot_store_faults import NODE, batch, table, SqliteHotStore, HotStoreError\n"
    "resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, 400_000))\n"
    "async def main():\n"
    "    store = SqliteHotStore(Path(sys.argv[1]))\n"
    "    for number in range(1000):\n"
    "        try: await store.write_bars(NODE, table(batch(number)), [], recorded_at=1.0)\n"
    "        except HotStoreError as error: print(number, error); return\n"
    "asyncio.run(main())\n"
)


async def test_a_full_disk_is_a_typed_error_and_loses_nothing(tmp_path: Path) -> None:
    path = tmp_path / "hot.sqlite"
    filling = await asyncio.create_subprocess_exec(
        sys.executable, "-c", FILLER, str(path), TESTS, stdout=asyncio.subprocess.PIPE
    )
    printed = (await filling.communicate())[0].decode()
    count = int(printed.split()[0])
    assert count > 3 and "the disk has room" in printed
    store = SqliteHotStore(path)
    read = await store.load_bars(NODE, Segment(START, START + 60 * DAY))
    assert read.num_rows == count * BATCH
    assert await store.write_bars(NODE, table(batch(count)), [], recorded_at=2.0) == Written(BATCH, 0)
    await store.close()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 800 MB; only root can make one."""
    if os.geteuid() != 0:
        pytest.skip("only root can mount a small disk")
    folder = tmp_path / "small"
    folder.mkdir()
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=800m", "tmpfs", folder], check=False)
    if made.returncode:
        pytest.skip("this machine does not let root mount a small disk")
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


async def test_a_full_disk_of_a_server_heals_once_there_is_room(small_disk: Path) -> None:
    server = QuestDbServer(require_questdb(), small_disk / "questdb")
    server.start()
    try:
        async with opened(address(server, retry_s=1.0, timeout_s=10.0)) as store:
            await store.write_bars(NODE, table(batch(0)), [], recorded_at=1.0)
            filler = small_disk / "filler"
            fill(filler)
            many = table(dict.fromkeys(range(START + 30 * DAY, START + 330 * DAY, 60), (1.0,) * 5))
            with pytest.raises(HotStoreError):
                await store.write_bars(NODE, many, [], recorded_at=2.0)
            filler.unlink()
            await store.write_bars(NODE, many, [], recorded_at=3.0)
            year = Segment(START, START + 365 * DAY)
            assert await store.load_bars(NODE, year) == pa.concat_tables([table(batch(0)), many])
    finally:
        server.kill()


def fill(path: Path) -> None:
    """Write until the disk is full."""
    with path.open("wb", buffering=0) as file, suppress(OSError):
        while file.write(bytes(2**20)):
            pass


WRITER = """
import asyncio, sys
sys.path[:0] = [sys.argv[1]]
from adapters.test_hot_store_faults import NODE, QuestDbAddress, QuestDbHotStore, batch, table
async def main():
    store = QuestDbHotStore(QuestDbAddress("127.0.0.1", int(sys.argv[2]), int(sys.argv[3])))
    for number in range(int(sys.argv[4]), 40, 4):
        await store.write_bars(NODE, table(batch(number)), [], recorded_at=1.0)
    await store.close()
asyncio.run(main())
"""


async def test_many_processes_start_on_an_empty_server_and_lose_nothing(own_questdb: QuestDbServer) -> None:
    ports = [str(own_questdb.http_port), str(own_questdb.pg_port)]
    writers = [
        await asyncio.create_subprocess_exec(sys.executable, "-c", WRITER, TESTS, *ports, str(number))
        for number in range(4)
    ]
    assert [await writer.wait() for writer in writers] == [0] * 4
    expected = {ts: row for number in range(40) for ts, row in batch(number).items()}
    async with opened(address(own_questdb)) as store:
        assert await store.load_bars(NODE, Segment(START, START + 30 * DAY)) == table(expected)


def test_a_literal_holds_whatever_it_is_given() -> None:
    assert literal("a'b''c") == "'a''b''''c'"
    for bad in ("a\0b", "a\nb", "a\x1bb"):
        with pytest.raises(HotStoreError, match="control characters"):
            literal(bad)


async def test_an_address_shows_no_secret() -> None:
    place = QuestDbAddress("quest", user="u", password="hidden", token="hidden", pg_password="hidden")
    assert "hidden" not in repr(place) + str(place)


async def test_facts_alone_are_written_to_either_store(open_store: OpenStore, node: NodeId) -> None:
    store = open_store()
    fact = Fact(START, START + 60, "no_trades", "bars on both sides", 1.0)
    assert await store.write_bars(node, table(batch(1)).slice(0, 0), [fact], recorded_at=1.0) == Written(0, 0)
