"""Single flight: one run for all who want the same, whoever of them is cancelled."""

from __future__ import annotations

import asyncio

import pytest

from seamless_assets.aio.single_flight import SingleFlight
from seamless_assets.testing import run_on_virtual_time


class Work:
    """Counts its runs and how they ended."""

    def __init__(self, error: Exception | None = None) -> None:
        self.runs, self.cancelled, self._error = 0, 0, error

    async def __call__(self) -> int:
        self.runs += 1
        run = self.runs
        try:
            await asyncio.sleep(1)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        if self._error:
            raise self._error
        return run


def flights(ttl: float = 60.0) -> SingleFlight:
    return SingleFlight(asyncio.get_running_loop().time, ttl)


def test_all_who_want_the_same_share_one_run_and_later_ones_start_anew() -> None:
    async def main() -> None:
        work, single = Work(), flights()
        assert await asyncio.gather(*(single.do("k", work) for _ in range(5))) == [1] * 5
        assert await asyncio.gather(single.do("k", work), single.do("other", work)) == [2, 3]

    run_on_virtual_time(main)


@pytest.mark.parametrize("cancelled", [0, 1, 2])
def test_a_cancelled_rider_leaves_the_run_to_the_others(cancelled: int) -> None:
    async def main() -> None:
        work, single = Work(), flights()
        riders = [asyncio.create_task(single.do("k", work)) for _ in range(3)]
        await asyncio.sleep(0.5)
        riders[cancelled].cancel()
        outcomes = await asyncio.gather(*riders, return_exceptions=True)
        assert [outcome for outcome in outcomes if outcome == 1] == [1, 1]
        assert isinstance(outcomes[cancelled], asyncio.CancelledError)
        assert (work.runs, work.cancelled) == (1, 0)

    run_on_virtual_time(main)


def test_the_last_rider_cancelled_ends_the_run_before_it_leaves() -> None:
    async def main() -> None:
        work, single = Work(), flights()
        riders = [asyncio.create_task(single.do("k", work)) for _ in range(3)]
        await asyncio.sleep(0.5)
        for rider in riders:
            rider.cancel()
        await asyncio.wait(riders)
        assert (work.runs, work.cancelled) == (1, 1)
        assert await single.do("k", work) == 2
        assert len(asyncio.all_tasks()) == 1

    run_on_virtual_time(main)


def test_errors_are_shared_and_not_kept() -> None:
    async def main() -> None:
        work, single = Work(ValueError("no")), flights()
        outcomes = await asyncio.gather(*(single.do("k", work) for _ in range(3)), return_exceptions=True)
        assert all(isinstance(outcome, ValueError) for outcome in outcomes) and work.runs == 1
        assert await single.do("k", Work()) == 1

    run_on_virtual_time(main)


def test_a_run_that_hangs_is_not_joined_for_ever() -> None:
    async def main() -> None:
        work, single = Work(), flights(ttl=0.5)
        first = asyncio.create_task(single.do("k", work))
        await asyncio.sleep(0.6)
        second = asyncio.create_task(single.do("k", work))
        await first
        third = asyncio.create_task(single.do("k", work))
        assert await asyncio.gather(second, third) == [2, 2] and work.runs == 2

    run_on_virtual_time(main)
