"""What every lease store promises: this machine's and the cluster's."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from adapters.conftest import table
from support import workers
from support.services import Coordinator, RedisServer
from support.workers import leases_at

from seamless_assets.adapters.http.leases import HttpLeases
from seamless_assets.adapters.machine.clock import SystemClock
from seamless_assets.adapters.machine.leases import MachineLeases
from seamless_assets.adapters.redis.leases import RedisLeases
from seamless_assets.adapters.sqlite.store import SqliteHotStore
from seamless_assets.core.calendar.segment import Segment
from seamless_assets.core.node import NodeId
from seamless_assets.core.sharing.lease import Fence, Lease
from seamless_assets.errors import LeaseLost, LeaseStoreUnavailable, StaleToken
from seamless_assets.testing import START, InMemoryLeaseStore, random_walk

LONG, SHORT = 60.0, 0.3
NODE = NodeId.parse("ohlcv:binance:BTC/USDT:1m")
OpenLeases = Callable[[], Any]
BETWEEN_PROCESSES = pytest.mark.parametrize("place", ["machine", "redis", "http"], indirect=True)


@pytest.fixture(params=["memory", "machine", "redis", "http"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where a store of the test lies."""
    if request.param == "memory":
        return "memory"
    if request.param == "machine":
        return str(tmp_path / "leases.sqlite")
    name = {"redis": "redis_server", "http": "lease_coordinator"}[request.param]
    server: RedisServer | Coordinator = request.getfixturevalue(name)
    return server.url


@pytest.fixture
async def open_leases(place: str) -> AsyncIterator[OpenLeases]:
    """Opens the store anew, as another process would; closed with the test."""
    opened: list[Any] = []
    in_memory = InMemoryLeaseStore(SystemClock())

    def build() -> Any:
        opened.append(in_memory if place == "memory" else leases_at(place))
        return opened[-1]

    yield build
    for store in opened:
        await store.close()


@pytest.fixture
def key() -> str:
    return f"ohlcv:binance:BTC'/USDT:USDT:1m@{uuid4()}"


async def test_one_of_many_gets_the_lease(open_leases: OpenLeases, key: str) -> None:
    stores = [open_leases() for _ in range(8)]
    before = time.time()
    claims = await asyncio.gather(
        *(store.claim(key, f"w{number}", LONG) for number, store in enumerate(stores))
    )
    (lease,) = [claim for claim in claims if claim is not None]
    assert lease.key == key and before + LONG - 1 <= lease.until <= time.time() + LONG + 1
    assert lease.token >= int((before - 1) * 1_000_000)
    assert lease in await stores[0].held()


async def test_tokens_only_grow(open_leases: OpenLeases, key: str) -> None:
    store, tokens = open_leases(), []
    for number in range(20):
        lease = await store.claim(key, f"w{number}", LONG)
        tokens.append(lease.token)
        await (store.complete(lease) if number % 2 else store.fail(lease, "no luck"))
    assert tokens == sorted(set(tokens))


async def test_a_lost_answer_can_be_asked_for_again(open_leases: OpenLeases, key: str) -> None:
    store = open_leases()
    lease = await store.claim(key, "w", LONG)
    again = await open_leases().claim(key, "w", 2 * LONG)
    assert again.token == lease.token and again.until > lease.until + LONG / 2
    assert await store.claim(key, "another", LONG) is None


async def test_a_renewed_lease_lives_on(open_leases: OpenLeases, key: str) -> None:
    store = open_leases()
    lease = await store.claim(key, "w", SHORT)
    renewed = await open_leases().renew(lease, LONG)
    assert (renewed.token, renewed.holder) == (lease.token, "w") and renewed.until > lease.until
    await asyncio.sleep(1.2 * SHORT)
    assert await store.claim(key, "another", LONG) is None
    await store.complete(renewed)


async def test_a_token_can_be_raised_by_its_holder_alone(open_leases: OpenLeases, key: str) -> None:
    store = open_leases()
    lease = await store.claim(key, "w", LONG)
    newer = lease.token + 40 * 86_400 * 1_000_000
    raised = await open_leases().renew(lease, LONG, newer)
    assert raised.token == newer + 1 and raised.holder == "w" and raised.until >= lease.until
    for late in (store.renew(lease, LONG), store.renew(lease, LONG, newer), store.complete(lease)):
        with pytest.raises(LeaseLost):
            await late
    assert (await store.renew(raised, LONG, lease.token)).token == raised.token
    await store.complete(raised)
    assert (await store.claim(key, "another", LONG)).token > raised.token


async def test_a_lease_that_ran_out_is_lost_and_free(open_leases: OpenLeases, key: str) -> None:
    store = open_leases()
    lease = await store.claim(key, "w", SHORT)
    await asyncio.sleep(1.2 * SHORT)
    for lost in (store.renew(lease, LONG), store.complete(lease), store.fail(lease, "late")):
        with pytest.raises(LeaseLost, match="ran out"):
            await lost
    taken = await store.claim(key, "another", LONG)
    assert taken.token > lease.token
    for lost in (store.renew(lease, LONG), store.complete(lease), store.fail(lease, "late")):
        with pytest.raises(LeaseLost, match="another holds it now"):
            await lost
    assert taken in await store.held()


async def test_what_a_former_holder_still_writes_is_refused(
    open_leases: OpenLeases, key: str, tmp_path: Path
) -> None:
    store, hot = open_leases(), SqliteHotStore(tmp_path / "hot.sqlite")
    chunk, bars = Segment(START, START + 600), table(random_walk(START, START + 600))
    former = await store.claim(key, "w", SHORT)
    await asyncio.sleep(1.2 * SHORT)
    later = await store.claim(key, "another", LONG)
    fresh = table(random_walk(START, START + 600, seed=8))
    await hot.write_bars(NODE, fresh, [], recorded_at=1.0, fence=Fence(chunk, later.token))
    with pytest.raises(StaleToken):
        await hot.write_bars(NODE, bars, [], recorded_at=2.0, fence=Fence(chunk, former.token))
    assert await hot.load_bars(NODE, chunk) == fresh
    await hot.close()


async def test_tokens_of_this_machine_and_of_a_coordinator_can_be_compared(
    open_leases: OpenLeases, key: str, tmp_path: Path
) -> None:
    ours, theirs = MachineLeases(tmp_path / "ours.sqlite"), open_leases()
    tokens = []
    for store in (ours, theirs, ours, theirs):
        lease = await store.claim(key, "w", LONG)
        tokens.append(lease.token)
        await store.complete(lease)
    assert tokens == sorted(set(tokens))
    await ours.close()


@pytest.mark.parametrize("given_back", ["complete", "fail"])
async def test_a_lease_given_back_is_free_at_once(open_leases: OpenLeases, key: str, given_back: str) -> None:
    store = open_leases()
    lease = await store.claim(key, "w", LONG)
    await (store.complete(lease) if given_back == "complete" else store.fail(lease, "no"))
    assert key not in [held.key for held in await store.held()]
    with pytest.raises(LeaseLost):
        await store.complete(lease)
    assert (await open_leases().claim(key, "another", LONG)).token > lease.token


async def test_an_unknown_lease_is_lost(open_leases: OpenLeases, key: str) -> None:
    with pytest.raises(LeaseLost):
        await open_leases().renew(Lease(key, 1, "w", time.time() + LONG), LONG)


@BETWEEN_PROCESSES
async def test_the_lease_of_a_killed_process_is_free_when_its_time_is_up(
    open_leases: OpenLeases, key: str, place: str
) -> None:
    ttl = 1.0
    store = open_leases()
    doomed = await workers.start("claim", place, key, ttl)
    assert doomed.stdout is not None
    token = int(await doomed.stdout.readline())
    doomed.kill()
    await doomed.wait()
    async with asyncio.timeout(5 * ttl):
        while (lease := await store.claim(key, "next", LONG)) is None:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    assert lease.token > token


@BETWEEN_PROCESSES
async def test_processes_that_start_at_once_never_hold_it_together(
    place: str, key: str, tmp_path: Path
) -> None:
    started = await workers.start("turns", place, key, 3, 20, tmp_path / "held")
    printed, _ = await started.communicate()
    assert started.returncode == 0
    tokens = [int(token) for token in printed.decode().split()]
    assert len(set(tokens)) == len(tokens) == 60


async def test_calls_at_once_do_not_spoil_each_other(open_leases: OpenLeases, key: str) -> None:
    store = open_leases()
    lease = await store.claim(key, "w", LONG)
    stale = Lease(key, lease.token - 1, "w", lease.until)
    calls = [store.renew(one, LONG) for one in (lease, stale) * 10]
    outcomes = await asyncio.gather(*calls, store.claim(f"{key}+", "w", LONG), return_exceptions=True)
    assert [isinstance(answer, Lease) for answer in outcomes] == [True, False] * 10 + [True]
    assert all(isinstance(answer, LeaseLost) for answer in outcomes[1:20:2])


async def test_a_cancelled_call_breaks_nothing(open_leases: OpenLeases, key: str) -> None:
    store = open_leases()
    for number in range(30):
        call = asyncio.create_task(store.claim(f"{key}{number}", "w", LONG))
        await asyncio.sleep(0)
        for _ in range(number % 5):
            await asyncio.sleep(0.000_3)
        call.cancel()
        with suppress(asyncio.CancelledError):
            await call
    assert await store.claim(key, "w", LONG) is not None


async def test_a_clock_set_back_holds_no_key_for_ever(
    tmp_path: Path, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = MachineLeases(tmp_path / "leases.sqlite")
    lease = await store.claim(key, "w", LONG)
    assert lease
    real = time.time()
    monkeypatch.setattr("seamless_assets.adapters.machine.leases.time.time", lambda: real - 7 * 86_400)
    taken = await store.claim(key, "another", LONG)
    assert taken is not None and taken.token > lease.token
    await store.close()


async def test_old_leases_are_forgotten_and_counted(
    tmp_path: Path, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = MachineLeases(tmp_path / "leases.sqlite")
    await store.claim("crashed", "w", LONG)
    lease = await store.claim("done", "w", LONG)
    assert lease
    await store.complete(lease)
    real = time.time()
    monkeypatch.setattr("seamless_assets.adapters.machine.leases.time.time", lambda: real + 3 * 86_400)
    await store.close()
    store = MachineLeases(tmp_path / "leases.sqlite")
    assert (await store.claim("done", "w", LONG)).token > lease.token  # type: ignore[union-attr]
    tally = await store.tally()
    assert (tally.completed, tally.failed, tally.held) == (1, 1, 1)
    assert tally.completion_ratio == pytest.approx(1 / 3)
    await store.close()


async def test_a_store_that_cannot_be_reached_says_so(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    for store in (
        MachineLeases(blocked / "leases.sqlite"),
        RedisLeases("redis://u:hidden@127.0.0.1:1/0"),
        HttpLeases("http://u:hidden@127.0.0.1:1/prefix"),
    ):
        with pytest.raises(LeaseStoreUnavailable) as said:
            await store.claim("k", "w", LONG)
        assert "hidden" not in str(said.value)
        await store.close()
