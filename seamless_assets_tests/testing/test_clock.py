"""Virtual time: it leaps, keeps its order, and goes on however far it went."""

from __future__ import annotations

import asyncio

import pytest

from seamless_assets.testing import DAY, START, VirtualClock, run_on_virtual_time


@pytest.mark.parametrize("days", [0.5, 1, 193, 195, 365, 40_000])
def test_a_wait_ends_at_its_time_however_long_it_is(days: float) -> None:
    async def wait() -> float:
        clock = VirtualClock()
        await clock.sleep(days * DAY)
        await clock.sleep(0.25)
        return clock.now() - START

    assert run_on_virtual_time(wait) == pytest.approx(days * DAY + 0.25, abs=1e-4)


def test_waits_of_years_end_in_order() -> None:
    async def wait() -> list[int]:
        ended: list[int] = []

        async def one(days: int) -> None:
            await asyncio.sleep(days * DAY)
            ended.append(days)

        await asyncio.gather(*map(one, (4_000, 1, 365, 366, 200)))
        return ended

    assert run_on_virtual_time(wait) == [1, 200, 365, 366, 4_000]
