"""The share of a rate budget that is kept for those who wait: they go first, and the bound stays."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from random import Random
from typing import Any

import pytest

from seamless_assets.aio.priority import Urgency, on_its_own
from seamless_assets.core.sharing.token_bucket import Budget
from seamless_assets.flows.sharing.gate import RateGate
from seamless_assets.flows.sharing.process_budget import ProcessBudget
from seamless_assets.testing import InMemoryBudgetStore, RecordingObserver, VirtualClock, run_on_virtual_time

KEY = "rl:test"
RATE, BURST, INTERVAL_S = 40, 20, 10.0
SHARE = 0.25
BUDGET = Budget(RATE, INTERVAL_S * 1000, BURST, reserved_share=SHARE)
Sent = list[tuple[float, float]]


def now() -> float:
    return asyncio.get_running_loop().time()


def start(work: Coroutine[Any, Any, Any], *, urgent: bool) -> tuple[asyncio.Task[Any], Urgency]:
    urgency, context = on_its_own(is_urgent=urgent)
    return asyncio.create_task(work, context=context), urgency


def check_windows(sent: Sent) -> None:
    sent = sorted(sent)
    for first, _ in sent:
        inside = [cost for at, cost in sent if first <= at < first + INTERVAL_S - 0.01]
        assert sum(inside) <= RATE + BURST + 1e-6, (first, sum(inside))


def gates(kind: str, many: int) -> list[RateGate]:
    """Of many processes: on one machine, or on one each with a budget that all share."""
    clock = VirtualClock()
    shared, machine = InMemoryBudgetStore(clock), ProcessBudget(clock)
    if kind == "machine":
        return [RateGate(clock, RecordingObserver(), machine) for _ in range(many)]
    if kind == "away":
        shared.is_away = True
        return [RateGate(clock, RecordingObserver(), machine, shared) for _ in range(many)]
    return [RateGate(clock, RecordingObserver(), ProcessBudget(clock), shared) for _ in range(many)]


async def press(gate: RateGate, sent: Sent, rng: Random, until: float, budget: Budget) -> None:
    """Ask without end, as a backfill of years does."""
    while now() < until:
        cost = rng.choice([1, 1, 1, 2])
        await gate.acquire(KEY, budget, cost)
        sent.append((now(), cost))


@pytest.mark.parametrize("kind", ["machine", "shared"])
@pytest.mark.parametrize("luck", range(3))
def test_who_waits_never_queues_behind_backfills_and_no_window_admits_more(kind: str, luck: int) -> None:
    async def main() -> None:
        rng, sent, waits = Random(luck), Sent(), []
        opened = gates(kind, 3)
        pressing = [
            start(press(gate, sent, Random(rng.random()), 300.0, BUDGET), urgent=False)[0]
            for gate in opened
            for _ in range(5)
        ]

        async def read() -> None:
            """Readers who together ask for no more than what is reserved, at times in bursts."""
            while now() < 300.0:
                burst = rng.choice([1, 1, 3, int(SHARE * BURST)])
                began = now()
                for _ in range(burst):
                    await rng.choice(opened).acquire(KEY, BUDGET, 1)
                    sent.append((now(), 1))
                waits.append(now() - began)
                await asyncio.sleep(burst * INTERVAL_S / (SHARE * RATE) * (1 + rng.random()))

        reader, _ = start(read(), urgent=True)
        await asyncio.gather(reader, *pressing)
        check_windows(sent)
        assert max(waits) <= 1e-6 and len(waits) > 50
        # What is not reserved is used.
        assert sum(cost for _, cost in sent) >= 0.95 * (1 - SHARE) * RATE * 300 / INTERVAL_S

    run_on_virtual_time(main)


@pytest.mark.parametrize("kind", ["machine", "shared"])
def test_background_work_alone_leaves_what_is_reserved(kind: str) -> None:
    async def main() -> None:
        sent = Sent()
        for gate in gates(kind, 2):
            start(press(gate, sent, Random(1), 100.0, BUDGET), urgent=False)
        await asyncio.sleep(100.0)
        used = sum(cost for _, cost in sent)
        assert used == pytest.approx((1 - SHARE) * (RATE * 100 / INTERVAL_S + BURST), abs=4)

    run_on_virtual_time(main)


@pytest.mark.parametrize(
    ("kind", "budget", "longest"),
    [
        # A pause of the process, and a pace without bursts while the cluster's budget is away: there whoever
        # waits comes next.
        ("machine", Budget(RATE, INTERVAL_S * 1000, BURST, 500.0, SHARE), 1.0),
        ("away", BUDGET, 1.5),
        ("away", Budget(RATE, INTERVAL_S * 1000, BURST, 500.0, SHARE), 2.0),
    ],
)
def test_one_at_a_time_the_urgent_is_next(kind: str, budget: Budget, longest: float) -> None:
    async def main() -> None:
        (gate,) = gates(kind, 1)
        sent = Sent()
        pressing = [start(press(gate, sent, Random(n), 60.0, budget), urgent=False)[0] for n in range(30)]
        for _ in range(10):
            await asyncio.sleep(5.0)
            began = now()
            reading, _ = start(gate.acquire(KEY, budget, 1), urgent=True)
            await reading
            # The one that is on its way out goes before, and no other of the thirty.
            assert now() - began <= longest + 1e-6
        await asyncio.gather(*pressing)

    run_on_virtual_time(main)


def test_a_fill_that_somebody_begins_to_wait_for_is_held_back_no_longer() -> None:
    async def main() -> None:
        (gate,) = gates("machine", 1)
        waiting = [start(gate.acquire(KEY, BUDGET, 1), urgent=False) for _ in range(40)]
        await asyncio.sleep(0)
        await asyncio.sleep(0.01)
        assert [task.done() for task, _ in waiting] == [True] * 15 + [False] * 25
        task, urgency = waiting[-1]
        urgency.rise()
        await asyncio.sleep(0.01)
        assert task.done() and not any(other.done() for other, _ in waiting[15:-1])
        # Its place in the line is given back, and nobody's wait grew longer.
        await asyncio.gather(*(other for other, _ in waiting))
        assert now() == pytest.approx(24 / ((1 - SHARE) * RATE / INTERVAL_S), abs=0.05)

    run_on_virtual_time(main)


def test_after_a_cool_down_the_urgent_still_go_first() -> None:
    async def main() -> None:
        (gate,) = gates("machine", 1)
        sent = Sent()
        pressing = [start(press(gate, sent, Random(n), 90.0, BUDGET), urgent=False)[0] for n in range(30)]
        await asyncio.sleep(20.0)
        await gate.cool_down(KEY, BUDGET, 30.0)
        await asyncio.sleep(10.0)
        reading, _ = start(gate.acquire(KEY, BUDGET, 1), urgent=True)
        await reading
        assert now() == pytest.approx(50.0, abs=0.01)
        assert not [at for at, _ in sent if 20.0 < at < 50.0]
        await asyncio.gather(*pressing)
        check_windows(sent)

    run_on_virtual_time(main)


def test_without_a_reserve_all_are_in_one_line() -> None:
    async def main() -> None:
        (gate,) = gates("machine", 1)
        budget = Budget(RATE, INTERVAL_S * 1000, BURST)
        waiting = [start(gate.acquire(KEY, budget, 1), urgent=False)[0] for _ in range(40)]
        await asyncio.sleep(0.01)
        assert sum(task.done() for task in waiting) == BURST
        reading, _ = start(gate.acquire(KEY, budget, 1), urgent=True)
        await reading
        assert all(task.done() for task in waiting)

    run_on_virtual_time(main)
