"""Damage to our own files: what is read back is as it was written, or as if it were not there."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
from collections.abc import Awaitable, Callable, Iterator
from contextlib import closing
from itertools import islice
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow as pa
import pytest
from adapters.conftest import table

from seamless_assets.adapters.machine.budget import MachineBudget
from seamless_assets.adapters.machine.leases import MachineLeases
from seamless_assets.adapters.sqlite.store import SqliteHotStore
from seamless_assets.core.bars.table import COLUMNS, empty_bars
from seamless_assets.core.calendar.segment import Segment
from seamless_assets.core.coverage.ledger import Fact
from seamless_assets.core.node import NodeId
from seamless_assets.core.sharing.events import DamagedState, Event
from seamless_assets.core.sharing.lease import Fence
from seamless_assets.core.sharing.retention import Evictable, digest_of
from seamless_assets.core.sharing.token_bucket import LONGEST_COOL_DOWN_S, Budget
from seamless_assets.errors import HotStoreError, LeaseLost, StaleToken
from seamless_assets.testing import START, random_walk

NODE = NodeId.parse("ohlcv:binance:BTC/USDT:1m")
OTHER = NodeId.parse("ohlcv:binance:ETH/USDT:1m")
WINDOW = Segment(START, START + 72_000)
CHUNK = Segment(START, START + 6_000)
BUDGET = Budget(tokens_per_interval=10, interval_ms=1_000, burst=4)
SAMPLED = 120
SPOILED = [
    *[("bars", f"UPDATE blocks SET {name} = spoil({name})") for name in COLUMNS],
    ("bars", "UPDATE blocks SET block = block + 50"),
    ("bars", "UPDATE block_marks SET mark = mark + 1"),
    ("facts", "UPDATE facts SET start = start - 60"),
    ("facts", 'UPDATE facts SET "end" = "end" + 60'),
    ("facts", "UPDATE facts SET reason = 'no_trades'"),
    ("facts", "UPDATE facts SET next_try = 1924992000"),
    ("facts", "UPDATE facts SET attempts = 'x'"),
    ("facts", "UPDATE facts SET evidence = CAST(x'ff' AS TEXT)"),
    ("facts", "UPDATE facts SET node = 3 - node"),
    ("revisions", "UPDATE revisions SET ts = ts + 60"),
    ("revisions", "UPDATE revisions SET new_close = 1e9"),
    ("evictions", "UPDATE evictions SET start = start - 86400"),
]


async def fill(path: Path) -> None:
    """A small store with something of everything."""
    store = SqliteHotStore(path)
    for node in (NODE, OTHER):
        bars = random_walk(*WINDOW, seed=len(str(node)))
        await store.write_bars(node, table(bars), facts(), recorded_at=1.0, fence=Fence(CHUNK, 1_000_000))
        for ts in range(START, START + 600, 60):
            bars[ts] = tuple(value / 2 for value in bars[ts])
        await store.write_bars(node, table(bars), [], recorded_at=2.0, fence=Fence(CHUNK, 2_000_000))
        part = Segment(WINDOW.end - 3_600, WINDOW.end)
        gone = Evictable(part, digest_of(await store.load_bars(node, part)))
        assert await store.evict({node: [gone]}, 3.0) == 60
    await store.close()


def facts() -> list[Fact]:
    return [
        Fact(START - 120, START - 60, "missing", "not sent", 1.0, 1, 61.0),
        Fact(START - 60, START, "pre_listing", "listed then", 1.0),
    ]


Stored = dict[str, list[tuple[Any, ...]]]


async def everything(store: SqliteHotStore) -> Stored:
    """All that a store tells of both nodes, as rows."""
    stored: Stored = {}
    wide = Segment(START - 86_400 * 400, START + 86_400 * 400)
    for node in (NODE, OTHER):
        bars = await store.load_bars(node, wide)
        assert (await store.load_opens(node, wide)).tolist() == bars["ts"].to_pylist()
        stored[f"{node} bars"] = rows_of(bars)
        stored[f"{node} facts"] = rows_of(await store.load_facts(node, wide))
        stored[f"{node} revisions"] = rows_of(await store.load_revisions(node, wide))
        stored[f"{node} evictions"] = list(await store.load_evictions(node, wide))
    return stored


def rows_of(found: pa.Table) -> list[tuple[Any, ...]]:
    return list(zip(*(column.to_pylist() for column in found.columns), strict=True))


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Stored]:
    """A whole store, and all that it tells."""
    path = tmp_path_factory.mktemp("sound") / "hot.sqlite"

    async def made() -> Stored:
        await fill(path)
        store = SqliteHotStore(path)
        stored = await everything(store)
        await store.close()
        return stored

    return path, asyncio.run(made())


def changed(path: Path, folder: Path, statement: str) -> Path:
    """A copy of a store in `folder` after a statement that no program of ours would run."""
    spoiled = folder / path.name
    shutil.copy(path, spoiled)
    with closing(sqlite3.connect(spoiled)) as db, db:
        db.create_function("spoil", 1, lambda blob: bytes([blob[0] ^ 1]) + blob[1:])
        db.execute(statement)
    return spoiled


@pytest.mark.parametrize(("kind", "statement"), SPOILED)
async def test_a_value_that_was_changed_is_as_if_it_were_not_there(
    sound: tuple[Path, Stored], tmp_path: Path, kind: str, statement: str
) -> None:
    heard: list[Event] = []
    store = SqliteHotStore(changed(sound[0], tmp_path, statement), heard.append)
    stored = await everything(store)
    assert stored == {what: [] if what.endswith(kind) else rows for what, rows in sound[1].items()}
    assert heard and all(isinstance(event, DamagedState) for event in heard)
    assert "backfill" in (await store.status()).warning
    again = table(random_walk(*CHUNK, seed=3))
    await store.write_bars(NODE, again, [], recorded_at=5.0, fence=Fence(CHUNK, 9_000_000))
    assert await store.load_bars(NODE, CHUNK) == again
    await store.close()


@pytest.mark.parametrize("token", ["token + 1000000000", "'x'", "9223372036854775807"])
async def test_a_fence_that_was_changed_stops_nobody(
    sound: tuple[Path, Stored], tmp_path: Path, token: str
) -> None:
    store = SqliteHotStore(changed(sound[0], tmp_path, f"UPDATE OR IGNORE fences SET token = {token}"))
    await store.write_bars(
        NODE, table(random_walk(*CHUNK)), [], recorded_at=4.0, fence=Fence(CHUNK, 3_000_000)
    )
    with pytest.raises(StaleToken):
        await store.write_bars(NODE, empty_bars(), [], recorded_at=5.0, fence=Fence(CHUNK, 2_000_000))
    await store.close()


async def judge_hot(path: Path, true: Stored) -> None:
    store = SqliteHotStore(path)
    try:
        stored = await everything(store)
        for what, rows in stored.items():
            assert set(rows) <= set(true[what]), what
        fresh = table(random_walk(*CHUNK, seed=3))
        written = await store.write_bars(NODE, fresh, facts(), recorded_at=9.0, fence=Fence(CHUNK, 3_000_000))
        assert written.added + written.revised == fresh.num_rows
        assert await store.load_bars(NODE, CHUNK) == fresh
        await store.status()
    except HotStoreError as error:
        if "move it away" not in str(error):
            raise
    finally:
        await store.close()


async def judge_leases(path: Path, _: Any) -> None:
    heard: list[Any] = []
    leases = MachineLeases(path, heard.append)
    first = await leases.claim("new", "w", 60.0)
    assert first is not None and await leases.claim("new", "another", 60.0) is None
    assert (await leases.renew(first, 60.0)).token == first.token
    for key in ("held", "given back"):
        lease = await leases.claim(key, "another", 60.0)
        assert lease is None or lease.holder == "another"
    assert all(lease.key in ("held", "given back", "new") for lease in await leases.held())
    try:
        await leases.complete(first)
    except LeaseLost:
        # Damage that is met late begins the file anew, without what is held; that is said.
        assert any(isinstance(event, DamagedState) for event in heard)
    await leases.tally()
    await leases.close()


async def judge_budget(path: Path, _: Any) -> None:
    budget = MachineBudget(path)
    for key in ("used", "banned", "new"):
        place = await budget.take(key, BUDGET, 1.0)
        assert 0.0 <= place.wait <= LONGEST_COOL_DOWN_S + 10.0
        await budget.give_back(key, BUDGET, place)
        await budget.cool_down(key, BUDGET, 1.0)
    await budget.close()


async def fill_leases(path: Path) -> None:
    leases = MachineLeases(path)
    await leases.claim("held", "w", 3600.0)
    done = await leases.claim("given back", "w", 3600.0)
    assert done
    await leases.complete(done)
    await leases.close()


async def fill_budget(path: Path) -> None:
    budget = MachineBudget(path)
    await budget.take("used", BUDGET, 3.0)
    await budget.cool_down("banned", BUDGET, 60.0)
    await budget.close()


def flips(payload: bytes, luck: int) -> Iterator[tuple[int, int]]:
    """Every byte with one of its bits and with all of them, in an order that luck decides."""
    places = [(at, bits) for at in range(len(payload)) for bits in (1 << (at + luck) % 8, 255)]
    Random(luck).shuffle(places)
    # The header decides how all else is read.
    header = [(at, bits) for at, bits in places if at < 100]
    return iter([*header[: SAMPLED // 4], *places])


Judge = Callable[[Path, Any], Awaitable[None]]


async def try_flips(path: Path, part: str, judge: Judge, true: Any, most: int | None, folder: Path) -> int:
    """Judge copies of a file with one byte of its `part` (`-wal` or none) spoiled; how many there were."""
    payloads = {suffix: read_if_there(f"{path}{suffix}") for suffix in ("", "-wal")}
    tried = 0
    for at, bits in islice(flips(payloads[part], len(payloads[part])), most):
        changed = bytearray(payloads[part])
        changed[at] ^= bits
        with TemporaryDirectory(dir=folder) as place:
            for suffix, payload in {**payloads, part: bytes(changed)}.items():
                write_if_any(f"{place}/{path.name}{suffix}", payload)
            try:
                await judge(folder / place / path.name, true)
            except Exception as error:
                raise AssertionError(f"byte {at} of {path.name}{part} with bits {bits:#x} turned") from error
        tried += 1
    return tried


def read_if_there(path: str) -> bytes:
    return Path(path).read_bytes() if Path(path).exists() else b""


def write_if_any(path: str, payload: bytes) -> None:
    if payload:
        Path(path).write_bytes(payload)


async def made_small(kind: str, folder: Path, sound: tuple[Path, Stored]) -> tuple[Path, Judge]:
    if kind == "hot":
        return sound[0], judge_hot
    path = folder / f"{kind}.sqlite"
    await (fill_leases if kind == "leases" else fill_budget)(path)
    return path, judge_leases if kind == "leases" else judge_budget


@pytest.mark.parametrize("kind", ["hot", "leases", "budget"])
async def test_no_spoiled_byte_makes_a_wrong_answer(
    kind: str, sound: tuple[Path, Stored], tmp_path: Path
) -> None:
    path, judge = await made_small(kind, tmp_path, sound)
    most = SAMPLED if kind == "hot" else SAMPLED // 2
    assert await try_flips(path, "", judge, sound[1], most, tmp_path) == most


@pytest.mark.deep
@pytest.mark.timeout(7_200)
@pytest.mark.parametrize("kind", ["hot", "leases", "budget"])
async def test_no_spoiled_byte_of_any_makes_a_wrong_answer(
    kind: str, sound: tuple[Path, Stored], tmp_path: Path
) -> None:
    path, judge = await made_small(kind, tmp_path, sound)
    assert await try_flips(path, "", judge, sound[1], None, tmp_path) == 2 * path.stat().st_size


async def test_a_spoiled_byte_of_the_log_before_a_checkpoint_makes_no_wrong_answer(tmp_path: Path) -> None:
    path = tmp_path / "open" / "hot.sqlite"
    await fill(path)
    store = SqliteHotStore(path)
    bars = table(random_walk(*CHUNK, seed=3))
    true = await everything(store)
    await store.write_bars(NODE, bars, [], recorded_at=9.0, fence=Fence(CHUNK, 3_000_000))
    for what, rows in (await everything(store)).items():
        true[what] = [*true[what], *rows]
    copied = tmp_path / "copied.sqlite"
    for part in ("", "-wal"):
        shutil.copy(f"{path}{part}", f"{copied}{part}")
    await store.close()
    assert await try_flips(copied, "-wal", judge_hot, true, SAMPLED // 4, tmp_path) == SAMPLED // 4
