"""When bars are stored that were told before: once no more of them come, and after a while all the same."""

from __future__ import annotations

import asyncio
import gc

import pytest

from seamless_assets.aio.timing import monotonic
from seamless_assets.flows.live.burst import LONGEST_S, MOMENT_S, QUIET_S, Burst
from seamless_assets.testing import run_on_virtual_time


def _nothing() -> None:
    """What a told bar asks for beside its storing, here."""


@pytest.mark.parametrize(
    ("pauses", "after_first"),
    [([], QUIET_S), ([0.2, 0.2, 0.2], 0.6 + QUIET_S), ([0.2] * 30, LONGEST_S)],
    ids=["one", "few", "many"],
)
def test_nothing_is_stored_while_more_is_told(pauses: list[float], after_first: float) -> None:
    async def work() -> None:
        burst, resumed = Burst(), list[float]()
        began = monotonic()
        burst.hold(lambda: resumed.append(monotonic() - began), _nothing)
        held = 1
        for pause in pauses:
            await asyncio.sleep(pause)
            if resumed:
                break
            burst.hold(lambda: resumed.append(monotonic() - began), _nothing)
            held += 1
        await asyncio.sleep(LONGEST_S)
        assert resumed == pytest.approx([after_first] * held)

    run_on_virtual_time(work)


def test_the_next_ones_are_held_anew() -> None:
    async def work() -> None:
        burst, resumed = Burst(), list[float]()
        for _ in range(3):
            began = monotonic()
            burst.hold(lambda at=began: resumed.append(monotonic() - at), _nothing)
            await asyncio.sleep(10)
        assert resumed == pytest.approx([QUIET_S] * 3)

    run_on_virtual_time(work)


def test_all_else_is_done_in_a_moment_in_the_order_in_which_bars_were_told() -> None:
    async def work() -> None:
        burst, done = Burst(), list[tuple[int, float]]()
        began = monotonic()
        for number in range(3):
            burst.hold(_nothing, lambda at=number: done.append((at, monotonic() - began)))
        assert not done
        await asyncio.sleep(10)
        assert [number for number, _ in done] == [0, 1, 2]
        assert [at for _, at in done] == pytest.approx([MOMENT_S] * 3)

    run_on_virtual_time(work)


def test_one_that_fails_holds_up_no_other() -> None:
    async def work() -> None:
        burst, done, failed = Burst(), list[str](), list[BaseException]()
        asyncio.get_running_loop().set_exception_handler(lambda _, told: failed.append(told["exception"]))

        def fail() -> None:
            raise ValueError("told")

        burst.hold(fail, fail)
        burst.hold(lambda: done.append("stored"), lambda: done.append("shown"))
        await asyncio.sleep(10)
        assert done == ["shown", "stored"]
        assert [str(error) for error in failed] == ["told", "told"]

    run_on_virtual_time(work)


def test_who_waits_twice_is_resumed_once_and_leaves_at_once() -> None:
    async def work() -> None:
        burst, resumed = Burst(), list[str]()

        def resume() -> None:
            resumed.append("stored")

        for _ in range(2):
            burst.hold(resume, _nothing)
        await asyncio.sleep(10)
        assert resumed == ["stored"]
        for _ in range(2):
            burst.hold(resume, _nothing)
        await asyncio.sleep(QUIET_S / 2)
        burst.leave(resume)
        assert gc.isenabled()

    run_on_virtual_time(work)


def test_a_loop_that_ends_while_bars_wait_ends_the_pause() -> None:
    burst = Burst()

    async def work() -> None:
        burst.go_on()
        await asyncio.sleep(2 * MOMENT_S)
        assert not gc.isenabled()

    run_on_virtual_time(work)
    assert gc.isenabled()


@pytest.mark.parametrize("left", [0, 1, 2])
def test_no_cycles_are_looked_for_while_bars_wait(left: int) -> None:
    async def work() -> None:
        burst, resumed = Burst(), list[int]()
        resumes = [lambda at=at: resumed.append(at) for at in range(2)]
        for resume in resumes:
            burst.hold(resume, _nothing)
        await asyncio.sleep(QUIET_S / 2)
        assert not gc.isenabled()
        for resume in resumes[:left]:
            burst.leave(resume)
        assert gc.isenabled() is (left == 2)
        await asyncio.sleep(QUIET_S)
        assert gc.isenabled()
        assert resumed == list(range(left, 2))

    run_on_virtual_time(work)


def test_no_cycles_are_looked_for_while_bars_are_stored_and_told() -> None:
    async def work() -> None:
        burst, found = Burst(), list[bool]()
        for _ in range(3):
            burst.go_on()
            await asyncio.sleep(QUIET_S - MOMENT_S)
            found.append(gc.isenabled())
        await asyncio.sleep(QUIET_S)
        assert found == [False] * 3 and gc.isenabled()

    run_on_virtual_time(work)
