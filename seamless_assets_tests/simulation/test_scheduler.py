"""The scheduler and fault injection: order, time, and a crash that runs no clean-up."""

from __future__ import annotations

import asyncio
from random import Random

import pytest

from seamless_assets.errors import StoreError
from seamless_assets_tests.simulation.faults import Channel, FaultInjector, FaultRates, Trace
from seamless_assets_tests.simulation.process import Machine, Process
from seamless_assets_tests.simulation.scheduler import SeededLoop, Stalled


def stage(seed: int, rates: FaultRates | None = None) -> tuple[SeededLoop, FaultInjector, list[Process]]:
    loop = SeededLoop(Random(seed), 1000.0)
    injector = FaultInjector(loop, Random(seed), rates or FaultRates(), Trace(None))
    machine = Machine(loop)
    return loop, injector, [Process(loop, machine, n, f"w{n}", Random(seed)) for n in range(3)]


def order_of(seed: int) -> list[str]:
    loop, _, workers = stage(seed)
    said: list[str] = []
    for worker in workers:
        for turn in "abc":
            worker.start(_say(said, f"{worker.name}{turn}"))
    loop.run_until(lambda: len(said) == 9, 2000.0)
    return said


async def _say(said: list[str], word: str) -> None:
    said.append(word)


def test_a_worker_keeps_its_order_and_the_seed_decides_between_workers() -> None:
    orders = {tuple(order_of(seed)) for seed in range(30)}
    assert len(orders) > 20
    for order in orders:
        for worker in ("w0", "w1", "w2"):
            assert [word[2] for word in order if word.startswith(worker)] == ["a", "b", "c"]
    assert order_of(5) == order_of(5)


def test_time_leaps_to_the_next_timer_and_never_waits() -> None:
    loop, _, workers = stage(1)
    seen: list[float] = []

    async def wait() -> None:
        for _ in range(3):
            await asyncio.sleep(86_400)
            seen.append(loop.time())

    workers[0].start(wait())
    loop.run_until(lambda: len(seen) == 3, 1e9)
    assert seen == [1000.0 + day * 86_400 for day in (1, 2, 3)]


def test_a_frozen_worker_stands_still_while_others_go_on() -> None:
    loop, _, (frozen, free, _) = stage(1)
    seen: dict[str, list[float]] = {"w0": [], "w1": []}

    async def tick(worker: Process) -> None:
        while True:
            await asyncio.sleep(1.0)
            seen[worker.name].append(loop.time())

    frozen.start(tick(frozen))
    free.start(tick(free))
    loop.freeze(frozen, 1005.5)
    loop.run_until(lambda: loop.time() >= 1008.0, 2000.0)
    loop.abandon()
    assert seen["w0"][0] == 1006.5 and seen["w1"][:4] == [1001.0, 1002.0, 1003.0, 1004.0]


def test_who_waits_for_ever_is_reported() -> None:
    loop, _, workers = stage(1)
    workers[0].start(asyncio.Event().wait())
    with pytest.raises(Stalled):
        loop.run_until(lambda: False, 1e9)
    loop.abandon()


def test_a_crash_runs_no_cleanup_and_its_ports_stay_shut() -> None:
    loop, injector, (worker, *_) = stage(1, FaultRates(crash=1.0))
    done: list[str] = []
    channel = Channel(worker, injector, "store", StoreError)

    async def journey() -> None:
        try:
            await channel.call("write", lambda: _say(done, "written"))
        finally:
            done.append("clean-up began")
            await channel.call("release", lambda: _say(done, "released"))
            done.append("clean-up ended")

    worker.start(journey())
    loop.run_until(lambda: not worker.is_alive, 2000.0)
    with pytest.raises(Stalled):
        loop.run_until(lambda: False, 1e9)
    assert done == []
    loop.abandon()
    assert "written" not in done and "released" not in done and "clean-up ended" not in done
    assert loop.unhandled == []


def test_a_lost_answer_leaves_the_effect_and_a_refusal_does_not() -> None:
    for rates, expected in ((FaultRates(lose=1.0), ["written"]), (FaultRates(refuse=1.0), [])):
        loop, injector, (worker, *_) = stage(1, rates)
        done: list[str] = []
        channel = Channel(worker, injector, "store", StoreError)
        task = worker.start(channel.call("write", lambda done=done: _say(done, "written")))
        loop.run_until(task.done, 2000.0)
        assert isinstance(task.exception(), StoreError) and done == expected
