"""Many things at once: all of them, or the first error once all have ended."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from seamless_assets.aio.gather import gather, map_bounded
from seamless_assets.testing import run_on_virtual_time

Both = Callable[[Callable[[float], Awaitable[float]], list[float]], Awaitable[list[float]]]


async def gathered(work: Callable[[float], Awaitable[float]], items: list[float]) -> list[float]:
    async def one(item: float) -> float:
        return await work(item)

    return await gather(one(item) for item in items)


async def bounded(work: Callable[[float], Awaitable[float]], items: list[float]) -> list[float]:
    return await map_bounded(work, items, 3)


class Work:
    """Sleeps as long as it is told; knows what is under way, and how each ended."""

    def __init__(self) -> None:
        self.under_way, self.most = 0, 0
        self.ended: list[str] = []

    async def __call__(self, seconds: float) -> float:
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        try:
            await asyncio.sleep(abs(seconds))
        except asyncio.CancelledError:
            await asyncio.sleep(1)
            self.ended.append("cleaned up")
            raise
        finally:
            self.under_way -= 1
        if seconds < 0:
            raise ValueError(str(seconds))
        return seconds


@pytest.mark.parametrize("both", [gathered, bounded])
def test_results_come_in_the_order_of_what_was_asked(both: Both) -> None:
    async def main() -> None:
        work = Work()
        items = [5.0, 1.0, 4.0, 2.0, 3.0]
        assert await both(work, items) == items and await both(work, []) == []
        assert work.most == (3 if both is bounded else 5)

    run_on_virtual_time(main)


@pytest.mark.parametrize("both", [gathered, bounded])
def test_the_first_error_comes_out_as_it_is_when_the_rest_has_ended(both: Both) -> None:
    async def main() -> None:
        work = Work()
        with pytest.raises(ValueError, match=r"-1\.0"):
            await both(work, [9.0, -1.0, 9.0, -2.0])
        assert work.under_way == 0 and len(work.ended) in (2, 3)

    run_on_virtual_time(main)


@pytest.mark.parametrize("both", [gathered, bounded])
def test_a_cancelled_caller_leaves_nothing_behind(both: Both) -> None:
    async def main() -> None:
        work = Work()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.5):
                await both(work, [9.0, 9.0])
        assert work.under_way == 0 and work.ended == ["cleaned up"] * 2

    run_on_virtual_time(main)


@pytest.mark.parametrize("both", [gathered, bounded])
def test_a_cancellation_goes_before_an_error_that_it_meets(both: Both) -> None:
    async def main() -> None:
        work = Work()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1.5):
                await both(work, [9.0, -1.0])
        assert work.under_way == 0

    run_on_virtual_time(main)
