"""What every budget store promises, and that the script in Redis does the same sums as the core."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any
from uuid import uuid4

import pytest
from redis.asyncio import Redis
from support.services import RedisServer

from seamless_assets.adapters.machine.budget import MachineBudget
from seamless_assets.adapters.machine.clock import SystemClock
from seamless_assets.adapters.redis.budget import RedisBudget
from seamless_assets.aio.priority import on_its_own
from seamless_assets.core.sharing import token_bucket as arithmetic
from seamless_assets.core.sharing.token_bucket import LONGEST_COOL_DOWN_S, Bucket, Budget, Place
from seamless_assets.errors import BudgetUnavailable
from seamless_assets.flows.sharing.gate import UNRESERVED_MARK, RateGate
from seamless_assets.testing import InMemoryBudgetStore, RecordingObserver

BUDGET = Budget(tokens_per_interval=10, interval_ms=100_000, burst=4)
RESERVING = replace(BUDGET, reserved_share=0.25)
NUMBERS = [name for name in Bucket.__dataclass_fields__ if name != "free"]
OpenBudget = Callable[[], Any]


async def seed(url: str, key: str, budget: Budget) -> Bucket:
    """A full bucket in Redis, as it is once the server has run for a while."""
    client = Redis.from_url(url, decode_responses=True)
    run = (await client.info("server"))["run_id"]
    seconds, micros = await client.time()
    now = seconds + micros / 1_000_000
    bucket = arithmetic.full(budget, now)
    state = {name: repr(getattr(bucket, name)) for name in NUMBERS}
    await client.hset(key, mapping={**state, "free": "", "run": run})
    await client.aclose()
    return bucket


@pytest.fixture
def key() -> str:
    return f"rl:ccxt:{uuid4()}"


@pytest.fixture(params=["memory", "machine", "redis"])
async def open_budget(request: pytest.FixtureRequest, tmp_path: Path, key: str) -> AsyncIterator[OpenBudget]:
    """Opens the store anew, as another process would; closed with the test."""
    opened: list[Any] = []
    if request.param == "redis":
        server: RedisServer = request.getfixturevalue("redis_server")
        await seed(server.url, key, BUDGET)
        await seed(server.url, key + UNRESERVED_MARK, RESERVING.unreserved)

    in_memory = InMemoryBudgetStore(SystemClock())
    kinds: dict[str, OpenBudget] = {
        "memory": lambda: in_memory,
        "machine": lambda: MachineBudget(tmp_path / "budget.sqlite"),
        "redis": lambda: RedisBudget(server.url),
    }

    def build() -> Any:
        opened.append(kinds[request.param]())
        return opened[-1]

    yield build
    for store in opened:
        await store.close()


async def test_all_processes_queue_in_one_line(open_budget: OpenBudget, key: str) -> None:
    stores = [open_budget() for _ in range(4)]
    places = await asyncio.gather(*(store.take(key, BUDGET, 1) for store in stores * 6))
    waits = sorted(place.wait for place in places)
    assert waits[:4] == [0] * 4 and {place.number for place in places} == set(range(1, 25))
    assert waits[4:] == pytest.approx([10 * turn for turn in range(1, 21)], abs=4)


@pytest.mark.parametrize("open_budget", ["machine", "redis"], indirect=True)
async def test_what_is_free_is_told_and_takes_nothing(open_budget: OpenBudget, key: str) -> None:
    store, other = open_budget(), open_budget()
    assert await store.left(f"{key}-never-used", BUDGET) is None
    await store.take(key, BUDGET, 3)
    for _ in range(3):
        assert await other.left(key, BUDGET) == pytest.approx(1.0, abs=0.5)
    await store.take(key, BUDGET, 3)
    assert await other.left(key, BUDGET) == 0.0
    await store.cool_down(key, BUDGET, 60)
    assert await other.left(key, BUDGET) == 0.0


async def test_a_place_that_is_given_back_goes_to_the_next(open_budget: OpenBudget, key: str) -> None:
    store, other = open_budget(), open_budget()
    places = [await store.take(key, BUDGET, 4) for _ in range(4)]
    await other.give_back(key, BUDGET, places[2])
    kept = await other.take(key, BUDGET, 4)
    assert places[1].wait < kept.wait < places[3].wait
    await other.give_back(key, BUDGET, places[3])
    again = await other.take(key, BUDGET, 4)
    assert kept.wait < again.wait <= places[3].wait and again.number == kept.number + 1


@pytest.mark.parametrize("order", [1, -1])
async def test_cancelled_waiters_hold_up_nobody(open_budget: OpenBudget, key: str, order: int) -> None:
    store, other = open_budget(), open_budget()
    places = [await store.take(key, BUDGET, 4) for _ in range(20)]
    for place in places[1:][::order]:
        await other.give_back(key, BUDGET, place)
    assert (await other.take(key, BUDGET, 4)).wait <= places[1].wait


async def test_what_is_reserved_is_there_for_who_waits_whoever_presses(
    open_budget: OpenBudget, key: str
) -> None:
    """The first of the budget's four go to two processes that press, and the reserved one to a reader."""
    budget = RESERVING
    gates = [RateGate(SystemClock(), RecordingObserver(), open_budget()) for _ in range(3)]
    pressing = [asyncio.create_task(gate.acquire(key, budget, 1)) for gate in gates[:2] for _ in range(8)]
    while sum(task.done() for task in pressing) < 3:
        await asyncio.wait(
            [task for task in pressing if not task.done()], return_when=asyncio.FIRST_COMPLETED
        )
    await asyncio.create_task(gates[2].acquire(key, budget, 1), context=on_its_own(is_urgent=True)[1])
    # All others wait, each for more seconds than the machine needs for this.
    assert sum(task.done() for task in pressing) == 3
    for task in pressing:
        task.cancel()
    await asyncio.wait(pressing)
    # Four went out, and whoever comes now waits for the budget to be refilled.
    assert (await open_budget().take(key, budget, 1)).wait == pytest.approx(10, abs=4)


async def test_a_cool_down_holds_up_everybody(open_budget: OpenBudget, key: str) -> None:
    store, other = open_budget(), open_budget()
    await store.take(key, BUDGET, 4)
    waiting = await store.take(key, BUDGET, 1)
    await other.cool_down(key, BUDGET, 30.0)
    await other.cool_down(key, BUDGET, 10.0)
    moved = await store.moved(key, BUDGET, waiting)
    assert moved.wait == pytest.approx(30, abs=4)
    assert (await store.moved(key, BUDGET, moved)).wait == 0
    late = await store.take(key, BUDGET, 1)
    assert late.wait == pytest.approx(30 + 2 * 10, abs=4)
    assert late.cooling == pytest.approx(30, abs=4) and moved.cooling == moved.wait


async def test_what_went_out_past_it_is_counted(open_budget: OpenBudget, key: str) -> None:
    store = open_budget()
    await store.settle(key, BUDGET, 1000, None)
    assert (await store.take(key, BUDGET, 4)).wait == pytest.approx(40, abs=4)


async def test_a_cancelled_call_breaks_nothing(open_budget: OpenBudget, key: str) -> None:
    store = open_budget()
    for number in range(30):
        call = asyncio.create_task(store.take(key, BUDGET, 0.01))
        for _ in range(number % 5):
            await asyncio.sleep(0.000_3)
        call.cancel()
        with suppress(asyncio.CancelledError):
            await call
    assert isinstance(await store.take(key, BUDGET, 1), Place)


@pytest.mark.parametrize("luck", range(6))
async def test_the_script_does_the_same_sums_as_the_core(
    redis_server: RedisServer, key: str, luck: int
) -> None:
    rng = Random(luck)
    budget = Budget(rng.choice([3, 7, 1200]), rng.choice([700, 60_000]), rng.choice([1, 4, 200]))
    bucket, places = await seed(redis_server.url, key, budget), list[Place]()
    store = RedisBudget(redis_server.url)
    for _ in range(250):
        op, cost = (
            rng.choice(["take", "take", "take", "moved", "give_back", "cool_down", "settle"]),
            rng.random() * 9,
        )
        if op in ("moved", "give_back"):
            if not places:
                continue
            place = places.pop(-1 if rng.random() < 0.5 else rng.randrange(len(places)))
            more = (place.cost, place.paused, place.born, place.turn)
        elif op == "settle":
            known_as = rng.choice([None, bucket.born, 5.0])
            more = (cost, -1.0 if known_as is None else known_as)
        else:
            more = (cost,)
        reply = await store._run(op, key, budget, *more)
        wait, queued, paused, born, cooling, now, turn = map(float, reply)
        if op == "take":
            bucket, place = arithmetic.take(budget, bucket, now, cost)
            places.append(place)
            assert (wait, queued, paused, born) == (place.wait, place.number, place.paused, place.born)
            assert (cooling, turn) == (place.cooling, place.turn)
        elif op == "moved":
            moved = arithmetic.moved(bucket, place)
            assert moved is not None and (wait, paused) == (moved.wait, moved.paused)
        elif op == "give_back":
            bucket = arithmetic.give_back(budget, bucket, now, place)
        elif op == "cool_down":
            bucket = arithmetic.cool_down(budget, bucket, now, cost)
        else:
            bucket = arithmetic.settle(budget, bucket, now, cost, known_as)
    await store.close()
    client = Redis.from_url(redis_server.url, decode_responses=True)
    state = await client.hgetall(key)
    left = await client.pttl(key)
    await client.aclose()
    assert {name: float(state[name]) for name in NUMBERS} == pytest.approx(
        {name: getattr(bucket, name) for name in NUMBERS}, abs=1e-9
    )
    free = list(map(float, state["free"].split()))
    assert list(zip(free[::2], free[1::2], strict=True)) == [pytest.approx(turn) for turn in bucket.free]
    until_full = (budget.burst - bucket.tokens) / budget.tokens_per_second + max(0, bucket.cool_until - now)
    assert left > 1000 * until_full


@pytest.mark.parametrize(
    "spoiled",
    [
        {"tokens": "x"},
        {"tokens": "nan"},
        {"tokens": "-1e300"},
        {"at": "inf"},
        {"cool_until": "95617584000"},
        {"spare": "-5"},
        {"refilled": "nan", "queued": "many"},
        {"free": "1 2 3"},
        {"free": "x y"},
        {"run": ""},
    ],
    ids=repr,
)
async def test_a_bucket_in_redis_that_cannot_be_is_one_that_was_lost(
    redis_server: RedisServer, key: str, spoiled: dict[str, str]
) -> None:
    await seed(redis_server.url, key, BUDGET)
    client = Redis.from_url(redis_server.url)
    await client.hset(key, mapping=spoiled)
    await client.aclose()
    store = RedisBudget(redis_server.url)
    first = await store.take(key, BUDGET, 1)
    assert 0 <= first.wait <= LONGEST_COOL_DOWN_S + 100
    await store.give_back(key, BUDGET, first)
    assert await store.moved(key, BUDGET, await store.take(key, BUDGET, 1)) is not None
    await store.close()


async def test_a_restarted_server_starts_empty_and_voids_old_places(own_redis: RedisServer, key: str) -> None:
    store = RedisBudget(own_redis.url)
    await seed(own_redis.url, key, BUDGET)
    place = await store.take(key, BUDGET, 4)
    assert place.wait == 0
    own_redis.kill()
    with pytest.raises(BudgetUnavailable, match="cannot be reached"):
        await store.take(key, BUDGET, 1)
    own_redis.start()
    assert await store.moved(key, BUDGET, place) is None
    fresh = await store.take(key, BUDGET, 1)
    assert fresh.wait > 1.0 and fresh.born > place.born
    await store.give_back(key, BUDGET, place)
    assert (await store.take(key, BUDGET, 1)).number == 2
    await store.close()


async def test_a_server_that_hangs_is_given_up_soon(own_redis: RedisServer, key: str) -> None:
    store = RedisBudget(own_redis.url)
    await store.take(key, BUDGET, 1)
    own_redis.signal(signal.SIGSTOP)
    began = time.monotonic()
    with pytest.raises(BudgetUnavailable):
        await store.take(key, BUDGET, 1)
    assert time.monotonic() - began < 10
    own_redis.signal(signal.SIGCONT)
    await store.take(key, BUDGET, 1)
    await store.close()


async def test_a_store_that_cannot_be_used_says_so(tmp_path: Path, key: str) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    for store in (MachineBudget(blocked / "b.sqlite"), RedisBudget("redis://u:hidden@127.0.0.1:1/0")):
        with pytest.raises(BudgetUnavailable) as said:
            await store.take(key, BUDGET, 1)
        assert "hidden" not in str(said.value)
        await store.close()
