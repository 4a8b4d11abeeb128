"""The rate gate on virtual time: the budget holds through outages, bans and cancellations."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from itertools import pairwise
from random import Random

import pytest

from seamless_assets.adapters.redis.budget import GRACE_S
from seamless_assets.core.sharing.events import CoordinationEvent, DroppedRequest
from seamless_assets.core.sharing.token_bucket import Bucket, Budget, Place
from seamless_assets.errors import BudgetUnavailable, RateLimited
from seamless_assets.flows.sharing.gate import RateGate
from seamless_assets.flows.sharing.process_budget import ProcessBudget
from seamless_assets.testing import RecordingObserver, VirtualClock, run_on_virtual_time

BUDGET = Budget(tokens_per_interval=40, interval_ms=10_000, burst=20)
KEY = "rl:ccxt:binance"
Admitted = list[tuple[float, float]]


class SharedBudget(ProcessBudget):
    """A budget of the cluster in memory: it can be away, and forget when it starts again."""

    def __init__(self) -> None:
        super().__init__(VirtualClock())
        self.is_away = False
        self.asked = 0

    def restart(self) -> None:
        now = self._clock.now()
        self.is_away = False
        # As the one in Redis begins when the server has just started.
        self._buckets = {KEY: Bucket(0.0, now, now, cool_until=now + GRACE_S)}

    async def take(self, key: str, budget: Budget, cost: float) -> Place:
        await self._answer()
        return await super().take(key, budget, cost)

    async def moved(self, key: str, budget: Budget, place: Place) -> Place | None:
        await self._answer()
        return await super().moved(key, budget, place)

    async def cool_down(self, key: str, budget: Budget, seconds: float) -> None:
        await self._answer()
        await super().cool_down(key, budget, seconds)

    async def settle(self, key: str, budget: Budget, cost: float, born: float | None) -> None:
        await self._answer()
        await super().settle(key, budget, cost, born)

    async def _answer(self) -> None:
        self.asked += 1
        await asyncio.sleep(0.002)
        if self.is_away:
            raise BudgetUnavailable("away")


class Away(ProcessBudget):
    """A machine's file that cannot be used."""

    async def take(self, key: str, budget: Budget, cost: float) -> Place:
        raise BudgetUnavailable("no file")

    async def settle(self, key: str, budget: Budget, cost: float, born: float | None) -> None:
        raise BudgetUnavailable("no file")


def now() -> float:
    return asyncio.get_running_loop().time()


def check_windows(admitted: Admitted) -> None:
    admitted = sorted(admitted)
    for first, _ in admitted:
        inside = [cost for at, cost in admitted if first <= at < first + 9.99]
        assert sum(inside) <= 40 + 20 + 1e-6, (first, sum(inside))


async def work_on(gate: RateGate, admitted: Admitted, until: float, rng: Random) -> None:
    """Ask without end; now and then lose patience, or ask for something heavy."""
    while now() < until:
        cost = rng.choice([1, 1, 1, 1, 3, 20])
        with suppress(TimeoutError):
            async with asyncio.timeout(rng.choice([1000, 1000, 0.3])):
                await gate.acquire(KEY, BUDGET, cost)
                admitted.append((now(), cost))
        await asyncio.sleep(rng.random() * 0.1)


@pytest.mark.parametrize("luck", range(6))
def test_no_window_admits_too_much_while_the_shared_budget_comes_and_goes(luck: int) -> None:
    async def main() -> None:
        rng, admitted = Random(luck), Admitted()
        shared, machine = SharedBudget(), ProcessBudget(VirtualClock())
        gates = [RateGate(VirtualClock(), RecordingObserver(), machine, shared) for _ in range(4)]
        workers = [
            asyncio.create_task(work_on(gate, admitted, 300, Random(rng.random())))
            for gate in gates
            for _ in range(3)
        ]
        while now() < 300:
            await asyncio.sleep(rng.random() * 30)
            shared.is_away = True
            await asyncio.sleep(rng.random() * 20)
            shared.restart()
        await asyncio.wait(workers)
        check_windows(admitted)
        assert sum(cost for _, cost in admitted) > 0.5 * 4 * 300

    run_on_virtual_time(main)


@pytest.mark.parametrize("luck", range(3))
def test_one_that_hung_and_remembers_learns_what_went_past_it(luck: int) -> None:
    async def main() -> None:
        rng, admitted = Random(luck), Admitted()
        shared = SharedBudget()
        gate = RateGate(VirtualClock(), RecordingObserver(), ProcessBudget(VirtualClock()), shared)
        workers = [asyncio.create_task(work_on(gate, admitted, 300, Random(rng.random()))) for _ in range(6)]
        while now() < 300:
            await asyncio.sleep(rng.random() * 30)
            shared.is_away = not shared.is_away
        shared.is_away = False
        await asyncio.wait(workers)
        check_windows(admitted)

    run_on_virtual_time(main)


def test_an_outage_is_said_once_and_the_way_back_is_found() -> None:
    async def main() -> None:
        shared, heard, admitted = SharedBudget(), RecordingObserver(), Admitted()
        gate = RateGate(VirtualClock(), heard, ProcessBudget(VirtualClock()), shared)
        workers = [asyncio.create_task(work_on(gate, admitted, 200, Random(n))) for n in range(5)]
        await asyncio.sleep(50)
        shared.is_away = True
        before = len(admitted)
        await asyncio.sleep(15)
        assert len(admitted) > before
        asked = shared.asked
        await asyncio.sleep(100)
        assert shared.asked - asked <= 102
        shared.is_away = False
        await asyncio.wait(workers)
        outages = [event for event in heard.events if isinstance(event, CoordinationEvent)]
        changes = [(event.service, event.is_available) for event in outages]
        assert changes == [("rate_limiter", False), ("rate_limiter", True)]

    run_on_virtual_time(main)


@pytest.mark.parametrize("file", [True, False], ids=["with its file", "without its file"])
def test_the_minimum_interval_of_a_process_holds_while_the_shared_budget_is_away(file: bool) -> None:
    async def main() -> None:
        clock, shared, admitted = VirtualClock(), SharedBudget(), Admitted()
        shared.is_away = True
        slow = Budget(40, 10_000, 20, min_interval_ms=2_000)
        gate = RateGate(clock, RecordingObserver(), ProcessBudget(clock) if file else Away(clock), shared)

        async def ask() -> None:
            await gate.acquire(KEY, slow, 1)
            admitted.append((now(), 1))

        await asyncio.gather(*(ask() for _ in range(10)))
        times = sorted(at for at, _ in admitted)
        assert all(later - sooner >= 1.99 for sooner, later in pairwise(times))

    run_on_virtual_time(main)


@pytest.mark.parametrize("shared", [True, False], ids=["shared", "of the machine"])
@pytest.mark.parametrize("burst", [1, 20])
def test_the_minimum_interval_of_a_process_holds_beside_any_budget(shared: bool, burst: int) -> None:
    async def main() -> None:
        clock, admitted = VirtualClock(), dict[int, list[float]]()
        budget = Budget(40, 10_000, burst, min_interval_ms=700)
        machine, cluster = ProcessBudget(clock), SharedBudget()
        gates = [RateGate(clock, RecordingObserver(), machine, cluster if shared else None) for _ in range(3)]

        async def ask(number: int) -> None:
            await gates[number].acquire(KEY, budget, 1)
            admitted.setdefault(number, []).append(now())

        asked = [asyncio.create_task(ask(number % 3)) for number in range(60)]
        await asyncio.sleep(3.0)
        await gates[0].cool_down(KEY, budget, 5.0)
        asked[40].cancel()
        await asyncio.wait(asked)
        for times in admitted.values():
            assert all(later - sooner >= 0.699 for sooner, later in pairwise(times))
            # Nor does it take longer than the interval and the budget make it take.
            assert len(times) >= 19 and times[-1] < 5.0 + max(20 * 0.8, 60 * 0.25 + 1)

    run_on_virtual_time(main)


class SetClock(VirtualClock):
    """A clock that somebody sets while it is used."""

    ahead = 0.0

    def now(self) -> float:
        return super().now() + self.ahead


@pytest.mark.parametrize("days", [40, -40, 3_650, 1 / 24])
@pytest.mark.parametrize("is_set_right", [True, False], ids=["set right", "set wrong"])
def test_a_clock_that_is_set_holds_no_request_up(days: float, is_set_right: bool) -> None:
    async def main() -> None:
        clock, shared = SetClock(), SharedBudget()
        gate = RateGate(clock, RecordingObserver(), ProcessBudget(clock), shared)
        budget = Budget(40, 10_000, 1, min_interval_ms=500)
        clock.ahead = days * 86_400 if is_set_right else 0.0
        shared.is_away = True
        await gate.cool_down(KEY, budget, 30.0)
        await asyncio.sleep(3.0)
        clock.ahead = 0.0 if is_set_right else days * 86_400
        shared.is_away = False
        began = now()
        for _ in range(4):
            await gate.acquire(KEY, budget, 1)
        assert now() - began <= 30.0 + 4 * 0.6 + 2.0

    run_on_virtual_time(main)


@pytest.mark.parametrize("away", [None, "at the time", "later"])
def test_a_cool_down_stops_all_workers_together(away: str | None) -> None:
    async def main() -> None:
        shared, machine, admitted = SharedBudget(), ProcessBudget(VirtualClock()), Admitted()
        gates = [RateGate(VirtualClock(), RecordingObserver(), machine, shared) for _ in range(3)]
        workers = [
            asyncio.create_task(work_on(gate, admitted, 150, Random(number)))
            for number, gate in enumerate(gates)
        ]
        shared.is_away = away == "at the time"
        await asyncio.sleep(50)
        await gates[0].cool_down(KEY, BUDGET, 60)
        cooled_at = now()
        await asyncio.sleep(20)
        shared.is_away = away == "later"
        if away == "at the time":
            shared.restart()
        await asyncio.wait(workers)
        assert not [at for at, _ in admitted if cooled_at < at < 109.9]
        assert len([at for at, _ in admitted if at > 110]) > 10

    run_on_virtual_time(main)


@pytest.mark.parametrize("away", [None, False, True], ids=["one machine", "shared", "shared, and away"])
def test_a_ban_that_is_not_waited_out_reaches_everybody(away: bool | None) -> None:
    async def main() -> None:
        shared, machine = SharedBudget(), ProcessBudget(VirtualClock())
        gates = [
            RateGate(VirtualClock(), RecordingObserver(), machine, None if away is None else shared)
            for _ in range(2)
        ]
        shared.is_away = bool(away)
        waiters = [asyncio.create_task(gates[1].acquire(KEY, BUDGET, 1)) for _ in range(60)]
        await asyncio.sleep(1)
        await gates[0].cool_down(KEY, BUDGET, 7_200)
        done, waiting = await asyncio.wait(waiters, timeout=60)
        assert not waiting
        errors = [error for task in done if (error := task.exception()) is not None]
        assert len(errors) >= 20 and all(isinstance(error, RateLimited) for error in errors)
        with pytest.raises(RateLimited, match="without requests") as said:
            await gates[1].acquire(KEY, BUDGET, 1)
        assert 7_100 < said.value.retry_after <= 7_200
        await asyncio.sleep(7_200)
        await gates[1].acquire(KEY, BUDGET, 1)
        assert now() < 7_300

    run_on_virtual_time(main)


def test_a_cancelled_waiter_leaves_its_place_to_the_next() -> None:
    async def main() -> None:
        machine = ProcessBudget(VirtualClock())
        gate = RateGate(VirtualClock(), RecordingObserver(), machine)
        await gate.acquire(KEY, BUDGET, 20)
        waiters = [asyncio.create_task(gate.acquire(KEY, BUDGET, 1)) for _ in range(100)]
        await asyncio.sleep(0.1)
        for waiter in reversed(waiters):
            waiter.cancel()
        await asyncio.wait(waiters)
        began = now()
        await gate.acquire(KEY, BUDGET, 1)
        assert now() - began < 0.3

    run_on_virtual_time(main)


class StoppedClock(VirtualClock):
    """The clock of a process that is stopped until `until`: whoever wakes before, wakes then."""

    def __init__(self, until: float) -> None:
        super().__init__()
        self._until = until

    async def sleep(self, seconds: float) -> None:
        await super().sleep(max(seconds, self._until - now()))


def test_a_process_that_was_stopped_does_not_send_all_at_once_what_was_due_meanwhile() -> None:
    async def main() -> None:
        machine, admitted = ProcessBudget(VirtualClock()), Admitted()
        stopped = RateGate(StoppedClock(60.0), RecordingObserver(), machine)
        running = RateGate(VirtualClock(), RecordingObserver(), machine)

        async def ask(gate: RateGate) -> None:
            await gate.acquire(KEY, BUDGET, 1)
            admitted.append((now(), 1))

        asked = [asyncio.create_task(ask(gate)) for _ in range(100) for gate in (stopped, running)]
        await asyncio.sleep(55)
        asked += [asyncio.create_task(ask(running)) for _ in range(100)]
        await asyncio.wait(asked)
        check_windows(admitted)
        assert len(admitted) == 300

    run_on_virtual_time(main)


async def test_without_a_shared_budget_a_broken_file_is_an_error() -> None:
    gate = RateGate(VirtualClock(), RecordingObserver(), Away(VirtualClock()))
    with pytest.raises(BudgetUnavailable):
        await gate.acquire(KEY, BUDGET, 1)


def test_a_request_that_is_given_up_is_reported_and_one_that_waits_is_not() -> None:
    async def main() -> None:
        heard = RecordingObserver()
        gate = RateGate(VirtualClock(), heard, ProcessBudget(VirtualClock()), SharedBudget())
        await asyncio.gather(*(gate.acquire(KEY, BUDGET, 20) for _ in range(3)))
        with suppress(TimeoutError):
            async with asyncio.timeout(0.1):
                await gate.acquire(KEY, BUDGET, 20)
        await gate.cool_down(KEY, BUDGET, 7_200)
        with pytest.raises(RateLimited):
            await gate.acquire(KEY, BUDGET, 1)
        impatient, banned = (event for event in heard.events if isinstance(event, DroppedRequest))
        assert (impatient.reason, impatient.waited_ms) == ("cancelled", pytest.approx(100, abs=5))
        assert "without requests" in banned.reason and banned.key == impatient.key == KEY

    run_on_virtual_time(main)


@pytest.mark.parametrize("after", [0.001, 0.003])
def test_who_is_cancelled_while_the_shared_budget_is_settled_takes_nothing_away(after: float) -> None:
    """What went past it, and a ban that it has not heard of, are handed over by whoever asks next."""

    async def main() -> None:
        shared, clock = SharedBudget(), VirtualClock()
        gate = RateGate(clock, RecordingObserver(), ProcessBudget(clock), shared)
        shared.is_away = True
        await gate.acquire(KEY, BUDGET, 1)
        await gate.cool_down(KEY, BUDGET, 30)
        shared.is_away = False
        await asyncio.sleep(2)
        impatient = asyncio.create_task(gate.acquire(KEY, BUDGET, 1))
        await asyncio.sleep(after)
        impatient.cancel()
        await asyncio.wait({impatient})
        await gate.acquire(KEY, BUDGET, 1)
        assert now() >= 30

    run_on_virtual_time(main)


def test_who_is_cancelled_while_the_shared_budget_is_away_leaves_nothing_behind() -> None:
    async def main() -> None:
        shared, clock = SharedBudget(), VirtualClock()
        gate = RateGate(clock, RecordingObserver(), ProcessBudget(clock), shared)
        shared.is_away = True
        for _ in range(3):
            with suppress(TimeoutError):
                async with asyncio.timeout(0.2):
                    await gate.acquire(KEY, BUDGET, 20)
        await asyncio.sleep(0)
        assert asyncio.all_tasks() == {asyncio.current_task()}

    run_on_virtual_time(main)
