"""When bars are stored that were told before: once no more of them come, and after a while all the same."""

from __future__ import annotations

import asyncio

import pytest

from seamless_assets.aio.timing import monotonic
from seamless_assets.flows.live.burst import LONGEST_S, QUIET_S, Burst
from seamless_assets.testing import run_on_virtual_time


@pytest.mark.parametrize(
    ("pauses", "after_first"),
    [([], QUIET_S), ([0.2, 0.2, 0.2], 0.6 + QUIET_S), ([0.2] * 30, LONGEST_S)],
    ids=["one", "few", "many"],
)
def test_nothing_is_stored_while_more_is_told(pauses: list[float], after_first: float) -> None:
    async def work() -> None:
        burst, resumed = Burst(), list[float]()
        began = monotonic()
        burst.hold(lambda: resumed.append(monotonic() - began))
        held = 1
        for pause in pauses:
            await asyncio.sleep(pause)
            if resumed:
                break
            burst.hold(lambda: resumed.append(monotonic() - began))
            held += 1
        await asyncio.sleep(LONGEST_S)
        assert resumed == pytest.approx([after_first] * held)

    run_on_virtual_time(work)


def test_the_next_ones_are_held_anew() -> None:
    async def work() -> None:
        burst, resumed = Burst(), list[float]()
        for _ in range(3):
            began = monotonic()
            burst.hold(lambda at=began: resumed.append(monotonic() - at))
            await asyncio.sleep(10)
        assert resumed == pytest.approx([QUIET_S] * 3)

    run_on_virtual_time(work)
