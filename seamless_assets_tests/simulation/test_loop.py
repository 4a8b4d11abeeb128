"""The ground that the simulation stands on: order, time, and a crash that runs no clean-up."""

from __future__ import annotations

import asyncio
from random import Random

import pytest

from seamless_assets.errors import StoreError
from seamless_assets_tests.simulation.fate import Fate, Odds, Trace, Wire, Worker
from seamless_assets_tests.simulation.loop import SimLoop, Stalled


def stage(seed: int, odds: Odds | None = None) -> tuple[SimLoop, Fate, list[Worker]]:
    loop = SimLoop(Random(seed), 1000.0)
    fate = Fate(loop, Random(seed), odds or Odds(), Trace(None))
    return loop, fate, [Worker(loop, number, f"w{number}", Random(seed), 0.0) for number in range(3)]


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

    async def tick(worker: Worker) -> None:
        while True:
            await asyncio.sleep(1.0)
            seen[worker.name].append(loop.time())

    frozen.start(tick(frozen))
    free.start(tick(free))
    loop.freeze(frozen, 1005.5)
    loop.run_until(lambda: loop.time() >= 1008.0, 2000.0)
    loop.bury()
    assert seen["w0"][0] == 1006.5 and seen["w1"][:4] == [1001.0, 1002.0, 1003.0, 1004.0]


def test_who_waits_for_ever_is_told() -> None:
    loop, _, workers = stage(1)
    workers[0].start(asyncio.Event().wait())
    with pytest.raises(Stalled):
        loop.run_until(lambda: False, 1e9)
    loop.bury()


def test_a_crash_runs_no_cleanup_and_its_ports_stay_shut() -> None:
    loop, fate, (worker, *_) = stage(1, Odds(crash=1.0))
    done: list[str] = []
    wire = Wire(worker, fate, "store", StoreError)

    async def journey() -> None:
        try:
            await wire("write", lambda: done.append("written"))
        finally:
            done.append("clean-up began")
            await wire("release", lambda: done.append("released"))
            done.append("clean-up ended")

    worker.start(journey())
    loop.run_until(lambda: not worker.is_alive, 2000.0)
    with pytest.raises(Stalled):
        loop.run_until(lambda: False, 1e9)
    assert done == []
    loop.bury()
    assert "written" not in done and "released" not in done and "clean-up ended" not in done
    assert loop.mishaps == []


def test_a_lost_answer_leaves_the_effect_and_a_refusal_does_not() -> None:
    for odds, expected in ((Odds(lose=1.0), ["written"]), (Odds(refuse=1.0), [])):
        loop, fate, (worker, *_) = stage(1, odds)
        done: list[str] = []
        wire = Wire(worker, fate, "store", StoreError)
        task = worker.start(wire("write", lambda done=done: done.append("written")))
        loop.run_until(task.done, 2000.0)
        assert isinstance(task.exception(), StoreError) and done == expected
